"""All rows of the layout table, trained and written down: python -m tests.training.layout_table docs/layouts.md"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.synthetic import make_corpus
from tests.training.compare import TOLERANCE, Difference, Trained, difference, exceeds, train_reference, train_row
from tests.training.layouts import ROWS, Row

HEAD = """# Layouts against one process

Written by `make test-layouts`: every row of [the table](../tests/training/layouts.py) trained for 20 steps in real gloo
processes and compared with one fp32 process (ZeRO 0, one pass a step): all training and validation losses, per source
too (largest absolute difference, nats), the gradient norm of every step (relative), and the whole gradient of every
parameter at step 1 (relative to that parameter's largest entry). The numbers inside the model (docs/inside.md) at two
steps must agree as gradients do, shares and attention scores absolutely. Tolerances: fp32 {fp32}; bf16 {bf16}.
Learning rate 1e-3, a batch ramp, a change of mixture and a clip that bites. {passed} of {rows} rows hold; {slow} of
them are left out of `make test`.

| row | processes | layout | loss | norm | gradient | seconds | |
|---|---|---|---|---|---|---|---|
"""


def main(output: str) -> int:
    """Train all rows one after the other; 0 when all hold."""
    references: dict[str, Trained] = {}
    lines, failed = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        (directory / "corpus").mkdir()
        corpus = make_corpus(directory / "corpus")
        for name, row in ROWS.items():
            if (key := str(row.objective)) not in references:
                references[key] = train_reference(row, corpus, directory / f"reference-{len(references)}")
            started = time.monotonic()
            found = difference(train_row(row, corpus, directory / name), references[key])
            line = _line(name, row, found, time.monotonic() - started)
            failed += "MISSED" in line
            print(line, flush=True)
            lines.append(line)
    slow = sum(row.slow for row in ROWS.values())
    allowed = {compute: ", ".join(f"{value:.0e}" for value in wanted[:3]) for compute, wanted in TOLERANCE.items()}
    head = HEAD.format(**allowed, passed=len(lines) - failed, rows=len(lines), slow=slow)
    Path(output).write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    return int(failed > 0)


def _line(name: str, row: Row, found: Difference, seconds: float) -> str:
    layout = ", ".join(f"{key} {value}" for key, value in row.parallel.items())
    wrong = exceeds(found, TOLERANCE[row.compute])
    verdict = f"MISSED: {', '.join(wrong)} ({found.parameter})" if wrong else "ok"
    differences = f"{found.loss:.1e} | {found.norm:.1e} | {found.gradient:.1e}"
    return f"| {name} | {row.processes} | {layout} | {differences} | {seconds:.0f} | {verdict} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
