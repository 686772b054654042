"""The rules for documents beside datatrove's blocks: python -m benchmarks.filters [megabytes]

Both get the same documents of PRETRAIN_TEST_DATA/corpus in a process each, in turn, with the published thresholds:
repair of Unicode, language, Gopher's repetition and quality, C4, personal data. A rule sees what those before it left.
datatrove's splitter of words (spaCy) and its lid.176.bin are not installed: it gets the words between spaces, which
cost nothing, and the quantised model that ours reads too.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

TIMES = 3
SOURCES = ("web", "webtext", "books", "wiki")
RULES = ("unicode", "language", "gopher_repetition", "gopher_quality", "c4", "personal_data")
Step = Callable[[str], "str | None"]
"""What it leaves of a text; None when it drops it."""


def texts(megabytes: float) -> list[str]:
    """Documents of each source up to its part of the size."""
    found = []
    for source in SOURCES:
        size = 0
        with gzip.open(Path(os.environ["PRETRAIN_TEST_DATA"]) / "corpus" / f"{source}.jsonl.gz") as lines:
            for line in lines:
                if size >= megabytes * 1e6 / len(SOURCES):
                    break
                found.append(json.loads(line)["text"])
                size += len(found[-1].encode())
    return found


def ours() -> dict[str, Step]:
    """The project's rules."""
    from pretrain.config.clean import Cleaning
    from pretrain.corpus.clean import Rule, Tallies, rules

    def step(rule: Rule) -> Step:
        return lambda text: left if isinstance(left := rule(text), str) else None

    settings: dict[str, Any] = {name: {} for name in RULES} | {"unicode": True, "language": {"keep": ["en"]}}
    return {name: step(rule) for name, rule in rules(Cleaning.parse(settings), Tallies()).items()}


def datatroves() -> dict[str, Step]:
    """The blocks of datatrove that do the same."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter, LanguageFilter
    from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter
    from datatrove.utils.word_tokenizers import WhitespaceTokenizer

    class Words(WhitespaceTokenizer):  # type: ignore[misc]
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

    def formatted(block: Any) -> Step:
        return lambda text: str(block.format(text))

    def filtered(block: Any) -> Step:
        def step(text: str) -> str | None:
            document = Document(text, "0")
            kept = block.filter(document)
            return document.text if kept is True else None

        return step

    words = Words()
    LanguageFilter._requires_dependencies = []  # other distributions of the same module
    language = LanguageFilter("en")
    language.model._model = _Model()
    blocks = (
        GopherRepetitionFilter(language=words),
        GopherQualityFilter(language=words),
        C4QualityFilter(language=words),
    )
    steps = [formatted(FTFYFormatter()), filtered(language), *map(filtered, blocks), formatted(PIIFormatter())]
    return dict(zip(RULES, steps, strict=True))


class _Model:
    """The model with the arrays that datatrove expects of another distribution of fastText."""

    def __init__(self) -> None:
        from pretrain.corpus.clean.language import _model

        self.model = _model()

    def predict(self, text: str, k: int) -> tuple[tuple[str, ...], Any]:
        import numpy

        labels, scores = self.model.predict(text, k=k)
        return labels, numpy.array(scores)


def measure(chain: str, megabytes: float) -> dict[str, float]:
    """Processor seconds of every step, and of all with imports; documents that are left."""
    read = texts(megabytes)
    started = time.process_time()
    steps = ours() if chain == "ours" else datatroves()
    seconds = {"start": time.process_time() - started}
    left: Iterable[str] = read
    for name, step in steps.items():
        began = time.process_time()
        left = [kept for text in left if (kept := step(text)) is not None]
        seconds[name] = time.process_time() - began
    total = time.process_time() - started
    return {**seconds, "all": total, "kept": len(list(left)), "documents": len(read)}


def main() -> None:
    """Print the medians."""
    if "PRETRAIN_TEST_DATA" not in os.environ:
        print("skipped: set PRETRAIN_TEST_DATA to a folder with corpus/*.jsonl.gz")
        return
    megabytes = sys.argv[1] if len(sys.argv) > 1 else "80"
    code = "import json; from benchmarks.filters import measure; print(json.dumps(measure('{}', {})))"
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "datatrove": []}
    for _ in range(TIMES):
        for chain, done in runs.items():
            done.append(
                json.loads(subprocess.check_output([sys.executable, "-c", code.format(chain, float(megabytes))]))
            )
    print(f"{megabytes} MB, {runs['ours'][0]['documents']:,} documents; datatrove {metadata.version('datatrove')}\n")
    print("| processor seconds | ours | datatrove | ratio |\n|---|---|---|---|")
    for name in ("start", *RULES, "all"):
        here, there = (median(run[name] for run in runs[chain]) for chain in ("ours", "datatrove"))
        print(f"| {name} | {here:.2f} | {there:.2f} | {there / here:.1f} |")
    print(f"| documents left | {runs['ours'][0]['kept']:,} | {runs['datatrove'][0]['kept']:,} | |")


if __name__ == "__main__":
    main()
