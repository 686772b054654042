"""What watching a run costs: python -m benchmarks.monitoring

CPU seconds of an optimizer step, in one process that trains blocks of steps in turn with and without everything that
watches: metrics into all local sinks, heartbeats, stop requests, pace, spikes. The watching threads run all the time:
their own processor time is read apart and added. Of a model of 10M parameters, whose steps vary by more than what is
looked for; and of one so small that it shows. What watching adds to a step does not depend on the model.
"""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

LARGE = {"layers": 5, "d_model": 384, "heads": 6, "context": 256}
SMALL = {"layers": 1, "d_model": 32, "heads": 2, "context": 32}


class After:
    """Asks to stop after some steps."""

    def __init__(self, steps: int, real: Any) -> None:
        self._left, self._real = steps, real

    def look(self) -> Any:
        """What StopFlag.look says, and a request at the last step."""
        from pretrain.resilience.stop import StopRequest

        self._left -= 1
        return StopRequest("enough", "end", 0.0) if self._left <= 0 else self._real and self._real.look()


def thread_seconds() -> float:
    """Processor time of the threads that watch."""
    watching = [thread for thread in threading.enumerate() if thread.name in ("watch", "watchman") and thread.ident]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0)) for thread in watching)


@dataclass
class Figures:
    """CPU seconds per step, for each pair of blocks."""

    parameters: int
    bare: list[float] = field(default_factory=list)
    watched: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)
    """Of the watching threads, per second on the clock."""

    @property
    def extra(self) -> list[float]:
        """What watching adds to a step, without the threads."""
        return [after - before for before, after in zip(self.bare, self.watched, strict=True)]


def main() -> None:
    """Print the medians and their ratio."""
    import torch

    from pretrain.parallel.process import join_world

    torch.set_num_threads(1)
    world = join_world()
    with tempfile.TemporaryDirectory() as folder:
        large = measure(world, Path(folder) / "large", LARGE, blocks=10, steps=4)
        small = measure(world, Path(folder) / "small", SMALL, blocks=20, steps=100)
    world.done()
    print("| CPU milliseconds per step, one thread | median | from - to |\n|---|---|---|")
    for figures in (large, small):
        for name, found in {"bare": figures.bare, "watched": figures.watched, "difference": figures.extra}.items():
            print(f"| {figures.parameters / 1e6:.2f}M parameters, {name} | {told(found, 1000)} |")
    print(f"| watching threads, in a second on the clock | {told(large.threads, 1000)} |")
    step, threads = median(large.bare), median(large.threads)
    added = median(small.extra) / step
    verdict = "ok" if added + threads <= 0.01 else "MISSED"
    print(
        f"\nof a step of {large.parameters / 1e6:.1f}M parameters: {added:.2%} in it, {threads:.2%} beside it; in all ",
        end="",
    )
    print(f"{added + threads:.2%}, wanted <= 1%: {verdict}")


def told(values: list[float], scale: float) -> str:
    """Median and range."""
    return f"{median(values) * scale:.2f} | {min(values) * scale:.2f} - {max(values) * scale:.2f}"


def measure(world: Any, folder: Path, model: dict[str, Any], blocks: int, steps: int) -> Figures:
    """Train `blocks` pairs of blocks of `steps` steps, after one pair that does not count."""
    from pretrain.checkpoint.save import Saver
    from pretrain.config.load import merge
    from pretrain.config.run import Run
    from pretrain.data.vocabulary import with_vocabulary
    from pretrain.monitoring.metrics import Metrics
    from pretrain.monitoring.sinks import make_sinks
    from pretrain.resilience.signals import StopFlag
    from pretrain.shards.manifest import load_manifest
    from pretrain.training import loop
    from pretrain.training.record import Record
    from pretrain.training.setup import first_state, open_session
    from tests.example import small_run
    from tests.synthetic import make_corpus

    changes: dict[str, Any] = {
        "train": {"tokens": "100M"},
        "model": model,
        "batch": {"global_batch_size": 4, "micro_batch_size": 2},
        "monitoring": {"terminal": "none", "tensorboard": True},
    }
    folder.mkdir()
    manifest = load_manifest(make_corpus(folder))
    run = with_vocabulary(Run.parse(merge(small_run(folder / "manifest.json", folder / "run"), changes)), manifest)
    (folder / "run" / "logs").mkdir(parents=True)
    session = open_session(run, manifest, world)
    record = Record(world)
    record.open(folder / "run")
    blind = replace(session, mesh=replace(session.mesh, world=replace(world, watch=None)))
    metrics = Metrics(make_sinks(run, folder / "run", "x", 0, run.train.tokens, {}))
    Saver.save = lambda *arguments, **named: None  # measured by benchmarks.checkpoints
    state = first_state(session, "x")
    figures = Figures(sum(p.numel() for p in session.engine.module.parameters()))
    with StopFlag(folder / "run") as stop:
        for block in range(2 * blocks + 2):
            watched = (block + block // 2) % 2 == 1
            used, sinks = (session, metrics) if watched else (blind, Metrics())
            clock, started, beside = time.perf_counter(), time.process_time(), thread_seconds()
            asked: Any = After(steps, stop if watched else None)
            state = loop.train_until_done(used, state, sinks, folder, lambda path: None, asked, record).state
            beside = thread_seconds() - beside
            if block >= 2:
                spent = (time.process_time() - started - beside) / steps
                (figures.watched if watched else figures.bare).append(spent)
                figures.threads.append(beside / (time.perf_counter() - clock))
    return figures


if __name__ == "__main__":
    main()
