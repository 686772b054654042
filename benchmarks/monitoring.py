"""What watching a run costs: python -m benchmarks.monitoring

CPU seconds of an optimizer step of a model of 10M parameters, in one process that trains blocks of steps in turn with
and without everything that watches: metrics into all local sinks, heartbeats, stop requests, pace, spikes. The watching
threads run all the time, so their own processor time is read apart and added.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

BLOCKS, STEPS = 30, 4
MODEL = {"layers": 5, "d_model": 384, "heads": 6, "context": 256}


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


def main() -> None:
    """Print the medians and their ratio."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        bare, watched, threads, parameters = measure(Path(folder))
    extra = [(after + beside) / before - 1 for before, after, beside in zip(bare, watched, threads, strict=True)]
    print(f"model of {parameters / 1e6:.1f}M parameters, {BLOCKS} pairs of blocks of {STEPS} steps, one thread")
    print("| CPU seconds per step | median | from - to |\n|---|---|---|")
    for name, found in {"bare": bare, "watched": watched, "watching threads": threads}.items():
        print(f"| {name} | {statistics.median(found):.5f} | {min(found):.5f} - {max(found):.5f} |")
    ratio = statistics.median(extra)
    print(f"| extra, median of pairs | {ratio:+.2%} | wanted <= 1%: {'ok' if ratio <= 0.01 else 'MISSED'} |")


def measure(folder: Path) -> tuple[list[float], list[float], list[float], int]:
    """(bare, watched, watching threads) in CPU seconds per step, for each pair of blocks, and the parameters."""
    from pretrain.checkpoint.save import Saver
    from pretrain.config.load import merge
    from pretrain.config.run import Run
    from pretrain.data.vocabulary import with_vocabulary
    from pretrain.monitoring.metrics import Metrics
    from pretrain.monitoring.sinks import make_sinks
    from pretrain.parallel.process import join_world
    from pretrain.resilience.signals import StopFlag
    from pretrain.shards.manifest import load_manifest
    from pretrain.training import loop
    from pretrain.training.record import Record
    from pretrain.training.setup import first_state, open_session
    from tests.example import small_run
    from tests.synthetic import make_corpus

    changes: dict[str, Any] = {
        "train": {"tokens": "100M"},
        "model": MODEL,
        "batch": {"global_batch_size": 4, "micro_batch_size": 2},
        "monitoring": {"terminal": "none", "tensorboard": True},
    }
    manifest = load_manifest(make_corpus(folder))
    run = with_vocabulary(Run.parse(merge(small_run(folder / "manifest.json", folder / "run"), changes)), manifest)
    (folder / "run" / "logs").mkdir(parents=True)
    world = join_world(run.resilience)
    session = open_session(run, manifest, world)
    record = Record(world)
    record.open(folder / "run")
    blind = replace(session, mesh=replace(session.mesh, world=replace(world, watch=None)))
    metrics = Metrics(make_sinks(run, folder / "run", "x", 0, run.train.tokens, {}))
    Saver.save = lambda *arguments, **named: None  # measured by benchmarks.checkpoints
    state = first_state(session, "x")
    found: dict[str, list[float]] = {"bare": [], "watched": [], "threads": []}
    with StopFlag(folder / "run") as stop:
        for block in range(2 * BLOCKS + 2):
            way = "watched" if (block + block // 2) % 2 else "bare"
            used, sinks = (session, metrics) if way == "watched" else (blind, Metrics())
            started, beside = time.process_time(), thread_seconds()
            real = stop if way == "watched" else None
            ended = loop.train_until_done(used, state, sinks, folder, lambda path: None, After(STEPS, real), record)  # type: ignore[arg-type]
            beside, state = thread_seconds() - beside, ended.state
            if block >= 2:
                found[way].append((time.process_time() - started - beside) / STEPS)
                if way == "watched":
                    found["threads"].append(beside / STEPS)
    world.done()
    return found["bare"], found["watched"], found["threads"], sum(p.numel() for p in session.engine.module.parameters())


if __name__ == "__main__":
    main()
