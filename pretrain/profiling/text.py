"""A profile on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pretrain.config.units import short
from pretrain.monitoring.throughput import Throughput
from pretrain.profiling.profile import Profile
from pretrain.profiling.split import SHOWN, Split

MOST_OPERATORS = 15


def show(profile: Profile, console: Console) -> None:
    """Print the split, the speed and the dearest operators."""
    for line in heading_lines(profile):
        console.out(line, highlight=False)
    for headings, rows in (split_table(profile), operator_table(profile)):
        table = Table(box=None, pad_edge=False)
        for number, heading in enumerate(headings):
            table.add_column(heading, justify="right" if number else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print()
        console.print(table, highlight=False, markup=False)


def heading_lines(profile: Profile) -> list[str]:
    """Which steps, how fast, how much memory."""
    first, last = profile.steps[0], profile.steps[-1]
    count = len(profile.splits)
    lines = [
        f"{profile.run}: steps {first:,} to {last:,} of {profile.total_steps:,}, {profile.layout}, {profile.device}",
        f"profiled: {speed_line(profile.speed)}",
    ]
    if profile.unprofiled:
        lines.append(f"without the profiler: {speed_line(profile.unprofiled)}")
    most = max(profile.peak_bytes)
    where = f" (rank {profile.peak_bytes.index(most)})" if count > 1 else ""
    lines.append(f"peak memory{' allocated' if profile.on_gpu else ', resident'}: {most / 1e9:.2f} GB{where}")
    return lines


def speed_line(speed: Throughput) -> str:
    """FLOPs are the model's, without what is computed again."""
    rate = f"{short(speed.tokens_per_second)} tokens/s"
    return f"{rate}, {speed.tflops:.3g} TFLOP/s per device, MFU {100 * speed.mfu:.1f}%"


def split_table(profile: Profile) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: each part of a step, the mean of steps and ranks; with several ranks the extremes."""
    split, ranks = profile.mean, profile.ranks
    step = sum(split.values())
    headings = ["part", "seconds", "share"] + ["least", "most"] * (len(ranks) > 1)
    rows = []
    for name in SHOWN:
        row = [name, f"{split[name]:.4f}", f"{split[name] / step:.1%}"]
        if len(ranks) > 1:
            row += [_rank(pick(range(len(ranks)), key=lambda r: ranks[r][name]), ranks, name) for pick in (min, max)]
        rows.append(row)
    return headings, [*rows, ["step", f"{step:.4f}", "100.0%"] + [""] * (len(headings) - 3)]


def _rank(rank: int, ranks: list[Split], name: str) -> str:
    return f"{ranks[rank][name]:.4f} (rank {rank})"


def operator_table(profile: Profile) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the dearest operators of rank 0, per step; the share is of its step."""
    steps, step = len(profile.steps), sum(profile.ranks[0].values())
    with_shapes = any(operator.shapes for operator in profile.operators)
    headings = ["operator", *["shapes"] * with_shapes, "calls", *["GPU s"] * profile.on_gpu, "CPU s", "share", "MB"]
    rows = []
    for one in profile.operators[:MOST_OPERATORS]:
        spent = (one.cuda_seconds if profile.on_gpu else one.cpu_seconds) / steps
        gpu = [f"{spent:.4f}"] * profile.on_gpu
        megabytes = round(one.bytes / steps / 1e6, 1) + 0.0  # no -0.0
        cells = [f"{one.cpu_seconds / steps:.4f}", f"{spent / step:.1%}", f"{megabytes:,.1f}"]
        rows.append([one.name, *[one.shapes] * with_shapes, f"{one.calls / steps:,.0f}", *gpu, *cells])
    return headings, rows
