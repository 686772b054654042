"""What a checkpoint costs: python -m benchmarks.checkpoints [DIRECTORY] [--pairs 5]

A model of 200M parameters trains in fp32 under ZeRO 1 in one process, and saves in turn synchronously
and asynchronously, after each has done so once; before each pair `dd` with conv=fsync writes as many bytes there. After
each the synchronous one is read as plain bytes, checked and loaded, all from the page cache.
The disk of DIRECTORY (default: the temporary one) needs 15 GB, the memory too, and both processors should be idle.
(In bf16 a step takes a minute on processors without AVX-512, whatever is saved.)
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

QUIET = 1
MODEL = {"layers": 12, "d_model": 1152, "heads": 9, "context": 64, "vocab_size": 8192, "dropout": 0.0}
RUN = {
    "name": "checkpoints",
    "train": {"tokens": 10**9},
    "model": MODEL,
    "data": {"manifest": "none"},
    "batch": {"global_batch_size": 1, "micro_batch_size": 1},
    "optimizer": {"learning_rate": 1e-4},
    "parallel": {"zero": 1},
    "precision": {"compute": "fp32"},
}


@dataclass
class Figures:
    """Seconds, one entry per checkpoint or step."""

    sync: list[float] = field(default_factory=list)
    sync_cpu: list[float] = field(default_factory=list)
    blocked_cpu: list[float] = field(default_factory=list)
    sync_written: list[float] = field(default_factory=list)
    blocked: list[float] = field(default_factory=list)
    written: list[float] = field(default_factory=list)
    dd: list[float] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    quiet_cpu: list[float] = field(default_factory=list)
    beside_cpu: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    checked: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)


def main(directory: Path, pairs: int) -> None:
    """Measure and print the table."""
    step, saver_of, load, size = prepare(directory)
    figures, saved = Figures(), []
    ways = {way: saver_of(directory / way, way == "asynchronous", saved.append) for way in ("sync", "asynchronous")}
    for number in range(pairs + 1):
        figures.dd.append(dd(directory, saved[-1].bytes) if saved else 0.0)
        for _ in range(QUIET):
            timed(step, figures.quiet, figures.quiet_cpu)
        busy = time.process_time()
        ways["sync"].save(state(number))
        figures.sync_cpu.append(time.process_time() - busy)
        figures.sync.append(saved[-1].blocked_seconds)
        figures.sync_written.append(saved[-1].write_seconds)
        busy = time.thread_time()
        ways["asynchronous"].save(state(number))
        figures.blocked_cpu.append(time.thread_time() - busy)
        while not follow(ways["asynchronous"]):
            timed(lambda: step(ways["asynchronous"].hold), figures.beside, figures.beside_cpu)
        figures.blocked.append(saved[-1].blocked_seconds)
        figures.written.append(saved[-1].write_seconds)
        newest = max((directory / "sync").glob("step-*[0-9]"))
        read(newest)  # what comes after is in the page cache
        for action, seconds in ((read, figures.read), (check, figures.checked), (load, figures.loaded)):
            timed(partial(action, newest), seconds, [])
        if not number:  # the first allocates
            figures = Figures()
    print(table(figures, size, saved[-1].bytes, pairs))


def prepare(directory: Path) -> tuple[Callable[..., None], Callable[..., Any], Callable[[Path], None], int]:
    """One optimizer step, given what to wait for before the update; what makes a Saver; what loads; the parameters."""
    from pretrain.checkpoint.load import load_as_written
    from pretrain.checkpoint.save import Saver
    from pretrain.config.checkpoint import Checkpoint
    from pretrain.config.run import Run
    from pretrain.parallel.mesh import make_mesh
    from pretrain.parallel.process import join_world
    from pretrain.training.setup import open_runner
    from tests.parallel.counted import micro_batch

    run, world = Run.parse(RUN), join_world()
    runner = open_runner(run, make_mesh(world, run.parallel))
    batch = micro_batch(run, 0, 0)

    def step(hold: Callable[[], None] = lambda: None) -> None:
        runner.accumulate([batch], 1, 1 / batch[1].numel())
        runner.reduce()
        hold()
        runner.update()

    def saver(folder: Path, asynchronous: bool, report: Callable[[Any], None]) -> Any:
        config = Checkpoint(asynchronous=asynchronous, keep_last=1)
        return Saver(runner.engine, folder, config, world, lambda _: None, report, print)

    def load(checkpoint: Path) -> None:
        load_as_written(runner.engine, checkpoint, world)

    step()
    return step, saver, load, sum(p.numel() for p in runner.engine.module.parameters())


def state(number: int) -> Any:
    """A state to save."""
    from pretrain.checkpoint.state import TrainState

    return TrainState("benchmark", number + 1, 0, 0, "", {}, "", "", "", "", {})


def follow(saver: Any) -> bool:
    """What the loop does between two steps; whether nothing is written any more."""
    if not saver.busy:
        saver.settle()
    return saver._now is None


def timed(action: Callable[[], object], wall: list[float], cpu: list[float]) -> None:
    """Run it and note its seconds: on the clock, and of this thread on a processor."""
    started, busy = time.perf_counter(), time.thread_time()
    action()
    wall.append(time.perf_counter() - started)
    cpu.append(time.thread_time() - busy)


def dd(directory: Path, size: int) -> float:
    """Seconds in which dd writes and syncs `size` bytes."""
    target = directory / "dd"
    started = time.perf_counter()
    command = ["dd", "if=/dev/zero", f"of={target}", "bs=16M", f"count={size >> 24}", "conv=fsync", "status=none"]
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds


def read(checkpoint: Path) -> None:
    """All bytes of all files, 16 MB at a time."""
    buffer = bytearray(2**24)
    for path in checkpoint.rglob("*"):
        if path.is_file():
            with open(path, "rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def check(checkpoint: Path) -> None:
    """SHA-256 of all files, as every start does."""
    from pretrain.checkpoint.files import damage

    if wrong := damage(checkpoint):
        raise SystemExit(wrong)


def table(figures: Figures, parameters: int, size: int, pairs: int) -> str:
    """All figures as Markdown."""
    rows = {
        "synchronous checkpoint: training stands still": figures.sync,
        "of which writing the files": figures.sync_written,
        "processor time of all threads": figures.sync_cpu,
        "asynchronous checkpoint: training stands still": figures.blocked,
        "processor time of the training thread": figures.blocked_cpu,
        "until its files are on the disk": figures.written,
        "dd conv=fsync of as many bytes": figures.dd,
        "a step while nothing is written": figures.quiet,
        "a step while a checkpoint is written": figures.beside,
        "processor time of the training thread in a step, quiet": figures.quiet_cpu,
        "the same while a checkpoint is written": figures.beside_cpu,
        "reading the bytes of its files, from the page cache": figures.read,
        "checking them, as every start does": figures.checked,
        "loading them into the engine": figures.loaded,
    }
    ratios = {
        "standing still, asynchronous / synchronous (wanted <= 0.10)": middle_ratio(figures.blocked, figures.sync),
        "throughput, synchronous / dd (wanted >= 0.80)": middle_ratio(figures.dd, figures.sync_written),
        "throughput, asynchronous beside training / dd": middle_ratio(figures.dd, figures.written),
        "throughput, loading / reading (wanted >= 0.50)": middle_ratio(figures.read, figures.loaded),
        "step while written / quiet": statistics.median(figures.beside) / statistics.median(figures.quiet),
    }
    lines = [
        f"| {name} | {statistics.median(found):.3f} | {min(found):.3f} - {max(found):.3f} |"
        for name, found in rows.items()
    ]
    return "\n".join(
        [
            f"{parameters:,} parameters, {size / 1e9:.2f} GB, {pairs} pairs\n",
            "| seconds | median | from - to |\n|---|---|---|",
            *lines,
            "\n| ratio | median of pairs |\n|---|---|",
            *(f"| {name} | {ratio:.3f} |" for name, ratio in ratios.items()),
        ]
    )


def middle_ratio(above: list[float], below: list[float]) -> float:
    """The median ratio of what was measured one after the other."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    asked = parser.parse_args()
    place = Path(tempfile.mkdtemp(dir=asked.directory))
    try:
        main(place, asked.pairs)
    finally:
        shutil.rmtree(place)
