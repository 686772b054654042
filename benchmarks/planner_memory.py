"""Planned memory against published: states, activations, peaks, and what fitted. Prints the table of errors by source.

    python -m benchmarks.planner_memory DIRECTORY

DIRECTORY has memory.csv and fits-or-oom.csv (columns as in published-runs).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from benchmarks.published import jobs_of, read_rows
from pretrain.config.widths import Widths
from pretrain.planning.job import Job
from pretrain.planning.keeping import Keeping
from pretrain.planning.memory.stage import fits, stage_memory
from pretrain.planning.memory.states import zero_states

Row = dict[str, str]
UNITS = {"GiB": 2.0**30, "GB": 1e9}


@dataclass(frozen=True)
class Framework:
    """What a source ran on."""

    group: str
    """Of benchmarks/published.py."""
    keeps: Keeping
    defaults: tuple[tuple[str, str], ...] = ()
    """Columns that these tables do not have."""


MEGATRON = Keeping(widths=Widths(2, 4, 12), bucket=0, softmax=2, logit=12)
"""Gradients in fp32 in one buffer. Logits in 16 bits, in fp32, less their largest; the gradient in 16 bits."""
MEGATRON_DEEPSPEED = replace(MEGATRON, widths=Widths(2, 2, 18), bucket=1e9)
"""ZeRO 1 in fp16 makes of a rank's part of the gradients a copy in 16 bits and one in fp32 for the update. One bucket
of 5e8 elements."""
DEEPSPEED_FP16 = replace(MEGATRON, widths=Widths(2, 2, 20), bucket=1e9)
"""Without ZeRO: two fp32 copies of all gradients, one by one and end to end."""
DEEPSPEED_BF16 = replace(MEGATRON, widths=Widths(2, 6, 12), bucket=4e9)
"""BF16_Optimizer: gradients in bf16 and in fp32; 5e8 elements and the tensor that exceeds them end to end in fp32."""
ALEPH_ALPHA = Keeping(widths=Widths(2, 2, 12), bucket=0, logit=20, gathers_logits=True)
"""Gradients in bf16. Each tensor rank has all logits: with them in parts 4 x 4 GPUs and 4 samples of 8,192 tokens would
need half of what did not fit. 20 bytes a logit was fitted: two copies in bf16, four in fp32."""
TORCHTITAN = Keeping(widths=Widths(4, 4, 8), logit=16, products=True, in_pieces=False)
"""FSDP 2 with fp32 states. It sets expandable_segments. Logits in bf16, log-softmax and two gradients in fp32, one in
bf16; compiled they are fewer (`_torchtitan`)."""
FRAMEWORKS = {
    "Korthikanti": Framework("korthikanti22_t5", MEGATRON),
    "BigScience": Framework("bigscience_a100", MEGATRON_DEEPSPEED, (("attn_kernel", "fused"),)),
    "Hagemann": Framework("hagemann23", ALEPH_ALPHA, (("mlp", "swiglu"),)),
    "pytorch/torchtitan": Framework("torchtitan", TORCHTITAN, (("mlp", "swiglu"), ("kv_heads", "8"))),
}
"""By the beginning of a row's `source`."""
OTHER = Framework("", MEGATRON)
"""Where nothing is known: the most usual."""


class Figure(NamedTuple):
    """How well a set of published figures is met."""

    source: str
    what: str
    rows: int
    value: float
    """A mean absolute percentage error, or a share of the rows."""
    worst: float | None
    goal: str
    met: bool


def memory_errors(directory: Path) -> list[Figure]:
    """By source and quantity."""
    rows = read_rows(directory / "memory.csv")
    outcomes = read_rows(directory / "fits-or-oom.csv")
    return [*_states(rows), *_korthikanti(rows), *_peaks(rows), *_outcomes(outcomes)]


def job_of(row: Row) -> Job:
    """The job that a row of memory.csv or fits-or-oom.csv is of. Raises ValueError where its GPU is not known."""
    framework = next((known for name, known in FRAMEWORKS.items() if row["source"].startswith(name)), OTHER)
    blank = {"notes": "", "inter_link": "", "gpus_per_node": "8", "mlp": "gelu", **dict(framework.defaults)}
    filled = {**row, "group": framework.group, **{key: row.get(key) or value for key, value in blank.items()}}
    filled |= {"layers": _layers(row), **_context_parallel(row)}
    job = next(jobs_of(filled))
    recompute = {"recompute": row["recompute"].split("(")[0] or "none", "recompute_every": 1}
    run = job.run.model_copy(update={"parallel": job.run.parallel.model_copy(update=recompute)})
    return replace(job, run=run, practice=replace(job.practice, keeps=_keeps(row, framework.keeps)))


def _jobs(rows: list[Row]) -> Iterator[tuple[Row, Job]]:
    """Without rows of GPUs that no cluster file has figures for."""
    for row in rows:
        try:
            yield row, job_of(row)
        except ValueError as error:
            print(f"left out: {row['source']}, {row['model']}: {error}", file=sys.stderr)


def _number(row: Row, key: str, default: int = 1) -> int:
    return int(float(row.get(key) or default))


def _layers(row: Row) -> str:
    """Where a row has none: from the parameters, in stages of whole blocks."""
    if row.get("layers"):
        return row["layers"]
    width, pipe = float(row["hidden"]), _number(row, "pp")
    blocks = (float(row["params_B"]) * 1e9 - float(row["vocab"]) * width) / (12 * width**2)
    return str(pipe * round(blocks / pipe))


def _context_parallel(row: Row) -> Row:
    """Ranks that share a sequence hold a part of its tokens, and ZeRO shares states out over them too."""
    ranks = _number(row, "cp")
    if ranks == 1:
        return {}
    return {"seq": str(_number(row, "seq") // ranks), "dp": str(_number(row, "dp") * ranks), "cp": "1"}


def _keeps(row: Row, keeps: Keeping) -> Keeping:
    """What depends on the row."""
    if keeps is MEGATRON_DEEPSPEED and row["precision"].startswith("bf16"):
        return DEEPSPEED_BF16
    if keeps is MEGATRON_DEEPSPEED and row["zero"] == "0":
        return DEEPSPEED_FP16
    if keeps is ALEPH_ALPHA:
        return replace(keeps, fused_norm="RMS kernel" in row["attn_kernel"])
    return _torchtitan(row) if keeps is TORCHTITAN else keeps


def _torchtitan(row: Row) -> Keeping:
    """Compiled: 12 bytes a logit (fitted); since 2025 the loss is one kernel that reads and writes bf16, 4 bytes."""
    if "2025" in row["where"]:
        return replace(TORCHTITAN, logit=4)
    return replace(TORCHTITAN, logit=12) if "compile" in row["notes"] else TORCHTITAN


def _figure(source: str, what: str, errors: list[float], goal: float) -> Iterator[Figure]:
    if errors:
        sizes = [abs(error) for error in errors]
        yield Figure(source, what, len(errors), mean(sizes), max(sizes), f"<= {goal:.0%}", mean(sizes) <= goal)


def _states(rows: list[Row]) -> Iterator[Figure]:
    """(2 + 2 + K) bytes a parameter, K = 12; printed figures have two or three digits."""
    errors = []
    for row in rows:
        if row["source"].startswith("ZeRO"):
            stage = (
                0
                if row["zero"].startswith("base")
                else int(row["zero"][1] if row["zero"][0] == "z" else row["zero"][0])
            )
            planned = zero_states(float(row["params_B"]) * 1e9, _number(row, "dp"), stage).total
            errors.append(planned / (float(row["value"]) * 1e9) - 1)
    yield from _figure("ZeRO paper, figure 1 and table 1", "states", errors, 0.03)


def _korthikanti(rows: list[Row]) -> Iterator[Figure]:
    states, activations, shares = [], [], []
    whole: dict[str, float] = {}
    for row, job in _jobs([row for row in rows if row["source"].startswith("Korthikanti")]):
        memory, value = stage_memory(job, 0), float(row["value"])
        if row["quantity"].startswith("params"):
            states.append((memory.weights + memory.gradients + memory.optimizer) / (value * UNITS["GiB"]) - 1)
        elif row["unit"] == "GiB":
            activations.append(memory.activations / (value * UNITS["GiB"]) - 1)
        else:
            whole.setdefault(row["model"], memory.activations)  # the first row of a model is its 100%
            shares.append(100 * memory.activations / whole[row["model"]] / value - 1)
    yield from _figure("Korthikanti 2022, figure 1", "states", states, 0.03)
    yield from _figure("Korthikanti 2022, figure 1", "activations", activations, 0.03)
    yield from _figure("Korthikanti 2022, figure 7", "activations", shares, 0.03)


def _peaks(rows: list[Row]) -> Iterator[Figure]:
    """Of the fullest stage."""
    errors: dict[str, list[float]] = {}
    peaks = [row for row in rows if row["quantity"].startswith("peak") and row["source"].startswith(tuple(FRAMEWORKS))]
    for row, job in _jobs(peaks):
        measured = float(row["value"]) * UNITS[row["unit"].split()[0]]
        errors.setdefault(row["source"].split()[0], []).append(fits(job).memory.total / measured - 1)
    for source, found in errors.items():
        yield from _figure(source, "peak", found, 0.08)


def _outcomes(rows: list[Row]) -> Iterator[Figure]:
    """Shares of all rows, and of those of each source."""
    found: dict[str, list[tuple[bool, bool]]] = {}
    for row, job in _jobs(rows):
        pair = fits(job).fits, row["outcome"] == "ok"
        for source in ("all", row["source"].split()[0]):
            found.setdefault(source, []).append(pair)
    for source, pairs in found.items():
        right = mean(planned == happened for planned, happened in pairs)
        wrong = mean(planned and not happened for planned, happened in pairs)
        yield Figure(source, "fits or not: right", len(pairs), right, None, ">= 95%", right >= 0.95)
        yield Figure(source, 'fits or not: false "fits"', len(pairs), wrong, None, "<= 2%", wrong <= 0.02)


def main(directory: str) -> None:
    """Print the table."""
    print("| source | what | rows | mean | worst | goal | |\n|---|---|---|---|---|---|---|")
    for source, what, rows, value, worst, goal, met in memory_errors(Path(directory)):
        last = "" if worst is None else f"{worst:.1%}"
        print(f"| {source} | {what} | {rows} | {value:.1%} | {last} | {goal} | {'ok' if met else '**MISSED**'} |")


if __name__ == "__main__":
    main(sys.argv[1])
