"""Fuzzy deduplication: speed, and planted near-duplicates found: python -m benchmarks.duplicates

Real documents come from PRETRAIN_TEST_DATA/corpus. Of edited copies 2%, 5%, 10%, 20% of the words are replaced.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

RUNS = 3
SHARES = (0.02, 0.05, 0.10, 0.20)
DOCUMENTS = 2000
"""Originals for each share."""


def main() -> None:
    """Measure in cold processes and print the tables."""
    if "PRETRAIN_TEST_DATA" not in os.environ:
        print("skipped: set PRETRAIN_TEST_DATA to a folder with corpus/*.jsonl.gz")
        return
    results = [measure() for _ in range(RUNS)]
    print("| what | median | target |\n|---|---|---|")
    for name, target in (("signatures", ""), ("clusters", ""), ("both", ">= 15 with 2 workers")):
        speeds = [result["megabytes"] / result[name] for result in results]
        print(f"| {name}, MB per processor second of one process | {statistics.median(speeds):.1f} | {target} |")
    print(f"| largest memory, MB | {statistics.median(result['memory'] for result in results):,.0f} | |\n")
    print("| words edited | similarity of 5-grams, mean | recall | precision | of pairs at or above 0.7, found |")
    print("|---|---|---|---|---|")
    for row in measure("planted")["rows"]:
        print("| {share:.0%} | {similarity:.2f} | {recall:.3f} | {precision} | {above} |".format(**row))


def measure(what: str = "speed") -> dict[str, Any]:
    """One measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.duplicates", what], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def texts() -> list[str]:
    """About 80 MB."""
    folder = Path(os.environ["PRETRAIN_TEST_DATA"], "corpus")
    found = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path) as lines:
            found += [json.loads(line)["text"] for line in lines]
    return found


def speed() -> dict[str, float]:
    """Processor seconds of both parts on all documents."""
    import resource

    import numpy as np

    from pretrain.config.across import Fuzzy
    from pretrain.corpus.across.fuzzy import drop_similar
    from pretrain.corpus.across.marks import Wanted
    from pretrain.corpus.document import Document
    from pretrain.corpus.selected import Selected
    from pretrain.corpus.spill import TRAIN, Run, RunWriter

    documents = texts()
    spent: list[float] = []
    wanted = Wanted(fuzzy=Fuzzy())

    def timed(some: list[str]) -> Any:
        started = time.process_time()
        marks = wanted.of(some)
        spent.append(time.process_time() - started)
        return marks

    with tempfile.TemporaryDirectory() as folder:
        writer = RunWriter(Path(folder), sort=True, marks=timed)
        size = 0
        for number, text in enumerate(documents):
            encoded = text.encode()
            size += len(encoded)
            writer.add(Document(text, "benchmark", number), encoded)
        writer.flush()
        runs = [Run(path) for path in writer.runs]
        keep = [np.full(len(run.keys), TRAIN, dtype=np.uint8) for run in runs]
        started = time.process_time()
        drop_similar(Fuzzy(), [Selected("all", runs, keep)])
        clusters = time.process_time() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    signatures = sum(spent)
    both = signatures + clusters
    return {"megabytes": size / 1e6, "signatures": signatures, "clusters": clusters, "both": both, "memory": memory}


def planted() -> dict[str, list[dict[str, Any]]]:
    """Recall: planted copies that are in the cluster of their original. Precision: of the copies of the last share, and
    of originals, those that are in a cluster with something that is no copy of them count as wrong."""
    chance = random.Random(0)
    originals = _originals(chance)
    return {"rows": [_plant(originals, share, chance) for share in SHARES]}


def _originals(chance: random.Random) -> list[list[str]]:
    """Documents of 100 words and more of which none is similar to another."""
    long = [words for words in map(str.split, texts()) if 100 <= len(words) <= 3000]
    chance.shuffle(long)
    labels = _clusters([" ".join(words) for words in long], threshold=0.3)
    seen = Counter(labels)
    return [words for words, label in zip(long, labels, strict=True) if seen[label] == 1][:DOCUMENTS]


def _plant(originals: list[list[str]], share: float, chance: random.Random) -> dict[str, Any]:
    copies = []
    for words in originals:
        copies.append(list(words))
        for place in chance.sample(range(len(words)), round(share * len(words))):
            copies[-1][place] = f"edited{chance.random()}"
    labels = _clusters([" ".join(words) for words in originals + copies], threshold=0.7)
    count = len(originals)
    found = [labels[i] == labels[i + count] for i in range(count)]
    joined = sum(label != number for number, label in enumerate(labels))
    similar = [_jaccard(*pair) for pair in zip(originals, copies, strict=True)]
    above = [hit for hit, value in zip(found, similar, strict=True) if value >= 0.7]
    return {
        "share": share,
        "similarity": statistics.mean(similar),
        "recall": sum(found) / count,
        "precision": f"{sum(found) / joined:.3f}" if joined else "nothing found",
        "above": f"{sum(above) / len(above):.3f} of {len(above):,}" if above else "there is none",
    }


def _jaccard(one: list[str], other: list[str]) -> float:
    """Of the words as they are compared: without case and punctuation."""
    plain = [["".join(c for c in word.lower() if c.isalnum()) for word in words] for words in (one, other)]
    sets = [{tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in ([w for w in p if w] for p in plain)]
    return len(sets[0] & sets[1]) / max(1, len(sets[0] | sets[1]))


def _clusters(documents: list[str], threshold: float) -> list[int]:
    """The number of the first document of each one's cluster."""
    import numpy as np

    from pretrain.config.across import Fuzzy
    from pretrain.corpus.across.fuzzy import Documents, cluster
    from pretrain.corpus.across.marks import Wanted
    from pretrain.corpus.document import Document
    from pretrain.corpus.spill import Run, RunWriter

    config = Fuzzy(threshold=threshold)
    with tempfile.TemporaryDirectory() as folder:
        writer = RunWriter(Path(folder), sort=False, marks=Wanted(fuzzy=config).of)
        for number, text in enumerate(documents):
            writer.add(Document(text, "benchmark", number), text.encode())
        writer.flush()
        runs = [Run(path) for path in writer.runs]
        return [int(label) for label in cluster(Documents(runs, [np.arange(len(run.keys)) for run in runs]), config)]


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        print(json.dumps(speed() if sys.argv[1] == "speed" else planted()))
