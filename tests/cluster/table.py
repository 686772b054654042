"""All tests on the cluster, and what every fault cost: python -m tests.cluster.table docs/faults.md [times [clusters]]

The tests of faults run `times` times, the others once. A test mostly waits for SLURM: of `clusters` side by side each
takes the next of those that are left; of the last pass the tests that measure a recovery have the machine to
themselves. The page is written after every pass.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.cluster.machine import ROOT

HEAD = """# Faults on a SLURM cluster

Written by `make test-cluster` (root, Linux namespaces, Debian's SLURM 22.05; no GPU). Each row is a test in
[tests/cluster/](../tests/cluster) that does this to a run on a real cluster of four nodes, started with
`pretrain launch`, of two CPU processes over gloo (or four), all of it on one machine of {cores} cores; kills at random
moments and at every call (`tests/training`, `tests/checkpoint`) need no cluster. Unless the row says otherwise the
losses, gradient norms and the hash of the sample order are those of a run to which nothing happened, bit for bit, and
afterwards no process of the run is left on any machine.

- **ours**: seconds from the fault to the end of the next training step, less SLURM's own: finding it, ending what is
  left, imports, loading, the step; where a rank hangs or a machine is gone also the limit, 8 s and 5 s in these runs.
  The target is 20 s: a start is 12 s of processor time for two ranks. Median (worst), of the runs that had the machine
  to themselves, and of those for which several clusters shared its cores.
- **SLURM**: seconds from asking it for a new start, or from the fault where SLURM is who notices it, until it starts.
  The test cluster has SlurmdTimeout 15 (default 300), KillWait 5 (30) and munge's cred_expire 5 (120).
- **redone**: steps computed again, at most. A checkpoint is due every 4 steps.

{passed} of {all} rows passed every time that they ran.

| fault | expected | passed | ours, alone | ours, {clusters} side by side | SLURM | redone | for example |
|---|---|---|---|---|---|---|---|
"""


TAIL = """
`make test-cluster TIMES=5 CLUSTERS=3` does all of it five times and writes this page anew.

## What is left to a person, or to SLURM

- **The batch script's shell is killed with kill -9** while its machine lives on: SLURM fails the job and does not
  requeue it. Nothing is left running; `pretrain launch` again goes on.
- **The first node goes away and comes back before SLURM notices**: the supervisor is gone with it, the other ranks end
  within stall.silence, but the job starts again only when SLURM finds at the node's next registration that its batch
  script is missing: about two minutes here.
- **SLURM 22.05 may keep a requeued job waiting for "Resources" beside idle nodes**: after a requeue with fewer nodes it
  went on, in one of three trials, to count the cores of a job that had ended as taken (its own log: "evaluating JobId=2
  on 1 nodes" of three). `scontrol reconfigure` counts anew; the tests do so before each test.
- **A checkpoint that is being written does not count.** Training goes on for some steps meanwhile; a fault just then
  costs these steps and the interval.
- **The phase of a killed rank** is that of its last sign of life, up to two seconds before; of one that failed by an
  exception it is exact.
"""
ORDER = ("test_deaths", "test_ends", "test_saving", "test_resume", "test_kill", "test_sick", "test_refusals")
"""Modules of faults, as the page has them."""
RANDOM = "tests/training/test_resume.py::test_kill_minus_nine_at_random_moments"
FAULTS = [
    *(f"{RANDOM}[{size}-{size}-20]" for size in (1, 2)),
    "tests/checkpoint/test_kill.py",
    *(f"tests/cluster/{module}.py" for module in ORDER if (ROOT / f"tests/cluster/{module}.py").exists()),
]
"""Where they are; the first three need no cluster."""


@dataclass(frozen=True)
class Row:
    """One test, all times it ran."""

    test: str
    about: str
    runs: list[dict[str, Any]]

    @property
    def passed(self) -> int:
        return sum(run["passed"] for run in self.runs)

    def line(self) -> str:
        """Of the table."""
        costs = [run for run in self.runs if run["passed"] and "seconds" in run]
        alone, beside = ([run["seconds"] - run["slurm"] for run in costs if (run["clusters"] > 1) == b] for b in (0, 1))
        slurm, redone = [run["slurm"] for run in costs], max((run["redone"] for run in costs), default="")
        note = (
            next((run["note"] for run in reversed(self.runs) if run.get("note")), "")
            .replace("|", "/")
            .replace("\n", " ")
        )
        passed = f"{self.passed} of {len(self.runs)}"
        cells = [_words(self.test), self.about, passed, *map(_spread, (alone, beside, slurm)), redone, note[:160]]
        return "| " + " | ".join(map(str, cells)) + " |"


def rows_of(lines: Sequence[str]) -> Iterator[Row]:
    """What conftest.py wrote, gathered by test, in the order of ORDER and then of their first run."""
    runs = sorted(map(json.loads, lines), key=lambda run: ORDER.index(run["module"]))
    for test in dict.fromkeys(run["test"] for run in runs):
        mine = [run for run in runs if run["test"] == test]
        yield Row(test, " ".join(mine[-1]["about"].split()), mine)


def main(output: str, times: str = "1", clusters: str = "1") -> int:
    """0 when all passed."""
    with tempfile.TemporaryDirectory() as scratch:
        table, codes = Path(scratch) / "table.jsonl", []
        for turn in range(int(times)):
            side = ["-n", clusters, "--dist", "worksteal"]
            timed = timed_tests(table) if turn == int(times) - 1 else []
            others = [f"--deselect={test}" for test in timed]
            faults = FAULTS if turn else [*FAULTS[:3], "tests/cluster"]
            for tests in [timed, [*faults, *others, *side]] if timed else [[*faults, *side]]:
                command = [sys.executable, "-m", "pytest", *tests, "-m", "", f"--fault-table={table}"]
                codes.append(subprocess.run(command, cwd=ROOT).returncode)
            write(table.read_text().splitlines(), Path(output), int(clusters))
    return max(codes)


def timed_tests(table: Path) -> list[str]:
    """Those that said what a recovery costs, in the passes before."""
    rows = map(json.loads, table.read_text().splitlines()) if table.exists() else ()
    return list(dict.fromkeys(row["id"] for row in rows if "seconds" in row))


def write(lines: Sequence[str], output: Path, clusters: int) -> None:
    """The page."""
    rows = list(rows_of(lines))
    passed = sum(row.passed == len(row.runs) for row in rows)
    head = HEAD.format(cores=len(os.sched_getaffinity(0)), passed=passed, all=len(rows), clusters=clusters)
    output.write_text(head + "\n".join(row.line() for row in rows) + "\n" + TAIL, encoding="utf-8")


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.0f} ({max(values):.0f})" if values else ""


def _words(test: str) -> str:
    return test.removeprefix("test_").replace("_", " ").replace("[", " [")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
