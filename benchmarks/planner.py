"""How far the planner is from published runs: python -m benchmarks.planner [throughput.csv ...] [--write PAGE.md]

Rows are those of published-runs/throughput.csv below PRETRAIN_TEST_DATA, or of the tables that are named: model,
layout, batch, GPU and the measured seconds of a step (benchmarks/published.py). One parameter set per GPU type, from
configs/clusters/; nothing is fitted to a row. Beside it what a fixed utilisation of 45% would say.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import correlation, mean, median
from typing import NamedTuple

from benchmarks.published import hardware_of, jobs_of, measured_seconds, read_rows
from pretrain.config.counts import flops_per_token
from pretrain.planning.job import Job
from pretrain.planning.timing.step import step_time

GOALS = {
    "korthikanti22_t5": "mean <= 3.5, worst <= 8.5",
    "narayanan21_t1": "mean <= 5",
    "vtrain_multi": "mean <= 10, median <= 7, worst <= 35",
    "vtrain_single": "mean <= 12",
    "hagemann23": "mean <= 8",
    "bigscience_a100": "mean <= 8",
    "llm_foundry": "mean <= 8",
    "internevo": "mean <= 10",
    "torchtitan": "mean <= 10",
    "mcore_h100": "mean <= 10",
}
"""Percent of the step time."""
CALCULON = {"korthikanti22_t5": "3.65 on the 8 rows it was tuned on", "vtrain_multi": "15.4, worst 70, on 109 rows"}
"""What is known of calculon (Isaev et al. 2023): mean error of step time in percent."""
FIXED = 0.45
"""Utilisation of the peak that a rule of thumb assumes."""
LAYOUT = ("tp", "pp", "vpp", "cp", "dp", "zero", "mbs", "seq_parallel")
"""Rows of a sweep that agree in these too are the same layout, measured more than once."""
SWEEP = ("group", "model", "n_gpus", "seq", "gbs", "recompute", "attn_kernel", "vocab")
"""Rows that agree in these differ in their layout alone."""
SHARES = (0.8, 0.95)
"""Of the rows on a GPU. The first is `error` in configs/clusters/."""
RANKS, NEAR = 0.9, 0.03
"""Goals of a sweep: order, and how much slower the chosen layout may be."""
SMALLEST = 5
"""Layouts that make a sweep."""


class Checked(NamedTuple):
    """A row, measured and planned."""

    row: dict[str, str]
    measured: float
    planned: float
    fixed: float

    @property
    def error(self) -> float:
        """Of the planner, relative."""
        return self.planned / self.measured - 1


class Sweep(NamedTuple):
    """Layouts of one model on one cluster."""

    name: str
    layouts: int
    spearman: float
    """Correlation of the ranks by planned and by measured time."""
    regret: float
    """How much slower the layout that the planner likes best is than the best one, as measured."""


def main() -> None:
    """Print both tables; write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", type=Path)
    parser.add_argument("--write", type=Path, help="a page of documentation whose tables are replaced")
    asked = parser.parse_args()
    found = check(row for table in asked.tables or [_shared()] for row in read_rows(table))
    text = "\n".join([*error_table(found), "", *gpu_table(found), "", *sweep_table(sweeps(found))])
    print(text)
    if asked.write:
        write_between(asked.write, "errors", text)


def _shared() -> Path:
    data = os.environ.get("PRETRAIN_TEST_DATA")
    if not data:
        raise SystemExit("name a table, or set PRETRAIN_TEST_DATA to the directory above published-runs/")
    return Path(data) / "published-runs" / "throughput.csv"


def check(rows: Iterable[dict[str, str]]) -> list[Checked]:
    """Plan every row that says enough; rows marked `extra` are of machines and number formats without figures here."""
    found = []
    for row in rows:
        measured = None if row.get("split") == "extra" else measured_seconds(row)
        if measured and (jobs := _jobs(row)):
            planned = as_tuned(jobs)
            found.append(Checked(row, measured, planned, fixed_seconds(jobs[0])))
    return found


def as_tuned(jobs: Sequence[Job]) -> float:
    """Seconds of a step where the authors chose among `jobs`: of those as good as the fastest the one with the smallest
    micro-batch and the fewest parts, which needs least memory."""
    times = [step_time(job).total for job in jobs]
    good = [(job, spent) for job, spent in zip(jobs, times, strict=True) if spent <= (1 + NEAR) * min(times)]
    return min(good, key=lambda pair: (pair[0].run.batch.micro_batch_size, pair[0].practice.virtual))[1]


def _jobs(row: dict[str, str]) -> list[Job]:
    """What a row may be; nothing, and a line that says so, where its GPU is not known."""
    try:
        return list(jobs_of(row))
    except ValueError as error:
        print(f"left out: {row['group']} {row['id']}: {error}", file=sys.stderr)
        return []


def fixed_seconds(job: Job) -> float:
    """By a fixed share of the peak."""
    run = job.run
    flops = flops_per_token(run.model, run.sequence_length) * job.samples * run.sequence_length
    return flops / (FIXED * job.hardware.tflops * 1e12 * job.layout.processes)


def error_table(found: Sequence[Checked]) -> list[str]:
    """By source, in percent of the measured step time."""
    head = ["rows of", "number", "mean", "median", "worst", "goal", "", "at a fixed 45%", "calculon"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for source, rows in by(found, "group").items():
        errors = [100 * abs(row.error) for row in rows]
        goal = GOALS.get(source, "")
        numbers = {"mean": mean(errors), "median": median(errors), "worst": max(errors)}
        cells = [source, str(len(rows)), *(f"{value:.1f}" for value in numbers.values()), goal, verdict(goal, numbers)]
        fixed = mean(100 * abs(row.fixed / row.measured - 1) for row in rows)
        lines.append(f"| {' | '.join([*cells, f'{fixed:.1f}', CALCULON.get(source, '')])} |")
    return lines


def gpu_table(found: Sequence[Checked]) -> list[str]:
    """By GPU, in percent: what a share of the rows is within, each source weighing alike."""
    head = ["GPU", "rows", "sources", *(f"{share:.0%} are within" for share in SHARES)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    by_gpu: dict[str, list[Checked]] = defaultdict(list)
    for row in found:
        by_gpu[hardware_of(row.row).gpu].append(row)
    for gpu, rows in by_gpu.items():
        within = [f"{100 * quantile(rows, share):.1f}" for share in SHARES]
        lines.append(f"| {' | '.join([gpu, str(len(rows)), str(len(by(rows, 'group'))), *within])} |")
    return lines


def quantile(rows: Sequence[Checked], share: float) -> float:
    """The error that `share` of the rows do not exceed, each source weighing alike."""
    sizes = {source: len(of_it) for source, of_it in by(rows, "group").items()}
    passed = 0.0
    for row in sorted(rows, key=lambda row: abs(row.error)):
        passed += 1 / sizes[row.row["group"]] / len(sizes)
        if passed >= share - 1e-9:
            return abs(row.error)
    return 0.0


def verdict(goal: str, numbers: dict[str, float]) -> str:
    """`ok`, or what was missed."""
    if not goal:
        return ""
    parts = [part.split(" <= ") for part in goal.split(", ")]
    missed = [name for name, limit in parts if numbers[name] > float(limit)]
    return f"**missed**: {', '.join(missed)}" if missed else "ok"


def by(found: Iterable[Checked], *columns: str) -> dict[str, list[Checked]]:
    """Rows that agree in `columns`."""
    groups: dict[str, list[Checked]] = defaultdict(list)
    for row in found:
        groups[" ".join(row.row.get(column, "") for column in columns)].append(row)
    return groups


def sweeps(found: Iterable[Checked]) -> list[Sweep]:
    """Every set of layouts of the same work."""
    made = []
    for name, repeated in by(found, *SWEEP).items():
        rows = [middle(same) for same in by(repeated, *LAYOUT).values()]
        if len(rows) >= SMALLEST:
            chosen, best = min(rows, key=lambda row: row.planned), min(row.measured for row in rows)
            spearman = rank_correlation([row.planned for row in rows], [row.measured for row in rows])
            made.append(Sweep(name, len(rows), spearman, chosen.measured / best - 1))
    return made


def middle(rows: Sequence[Checked]) -> Checked:
    """A layout by the medians of its rows."""
    return rows[0]._replace(measured=median(row.measured for row in rows), planned=median(row.planned for row in rows))


def sweep_table(made: Sequence[Sweep]) -> list[str]:
    """By source, with what was missed of RANKS and NEAR."""
    head = ["sweeps of", "number", f"Spearman, median (>= {RANKS})", "lowest"]
    head += [f"chosen / best, median (<= {NEAR:.0%})", "worst", f"within {NEAR:.0%}", ""]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    sources: dict[str, list[Sweep]] = defaultdict(list)
    for sweep in made:
        sources[sweep.name.split(" ")[0]].append(sweep)
    for source, of_it in [*sources.items(), ("all", list(made))]:
        ranks, regrets = [sweep.spearman for sweep in of_it], [sweep.regret for sweep in of_it]
        near = sum(regret <= NEAR for regret in regrets)
        cells = [source, str(len(of_it)), f"{median(ranks):.2f}", f"{min(ranks):.2f}"]
        cells += [f"+{100 * median(regrets):.1f}%", f"+{100 * max(regrets):.1f}%", f"{near} of {len(of_it)}"]
        missed = ["order"] * (median(ranks) < RANKS) + ["choice"] * (median(regrets) > NEAR)
        told = f"**missed**: {', '.join(missed)}" if missed else "ok"
        lines.append(f"| {' | '.join([*cells, told])} |")
    return lines


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's; equal values share their mean rank."""
    ranks = [[mean(place for place, other in enumerate(sorted(values)) if other == value) for value in values]
             for values in (first, second)]  # fmt: skip
    return correlation(*ranks)


def write_between(path: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- end -->` in a page."""
    before, rest = path.read_text(encoding="utf-8").split(f"<!-- {name} -->", 1)
    _, after = rest.split("<!-- end -->", 1)
    path.write_text(f"{before}<!-- {name} -->\n{text}\n<!-- end -->{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
