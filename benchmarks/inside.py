"""What looking inside costs: python -m benchmarks.inside

CPU seconds of an optimizer step, in one process that trains blocks of steps in turn: never looked into, and looked
into at every step. And the microseconds that a step which is not looked into spends on finding that out.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.monitoring import LARGE, After, told

BLOCKS, STEPS = 6, 3


def main() -> None:
    """Print the medians and what follows from them."""
    import torch

    from pretrain.parallel.process import join_world

    torch.set_num_threads(1)
    world = join_world()
    with tempfile.TemporaryDirectory() as folder:
        plain, looked, idle = measure(world, Path(folder))
    world.done()
    print("| CPU milliseconds of a step, one thread | median | from - to |\n|---|---|---|")
    for name, found in {"plain": plain, "looked into": looked}.items():
        print(f"| {name} | {told(found, 1000)} |")
    share = median(looked) / median(plain) - 1
    print(f"\na look adds {share:.1%} to its step, {share / 100:.3%} to a run with `every: 100 steps`")
    between = idle / median(plain)
    verdict = "ok" if between <= 0.01 else "MISSED"
    print(f"a step between two looks spends {1e6 * idle:.1f} us on it, {between:.4%}, wanted <= 1%: {verdict}")


def measure(world: Any, folder: Path) -> tuple[list[float], list[float], float]:
    """CPU seconds per step of plain blocks and of those looked into; seconds of `Insight` for a step between."""
    from pretrain.checkpoint.save import Saver
    from pretrain.config.load import merge
    from pretrain.config.monitoring import Inside
    from pretrain.config.run import Run
    from pretrain.data.vocabulary import with_vocabulary
    from pretrain.monitoring.metrics import Metrics
    from pretrain.monitoring.sinks import make_sinks
    from pretrain.shards.manifest import load_manifest
    from pretrain.training import loop
    from pretrain.training.inside import Insight
    from pretrain.training.record import Record
    from pretrain.training.setup import first_state, open_session
    from tests.example import small_run
    from tests.synthetic import make_corpus

    changes: dict[str, Any] = {
        "train": {"tokens": "100M"},
        "model": {**LARGE, "dropout": 0.0},
        "batch": {"global_batch_size": 4, "micro_batch_size": 2},
        "monitoring": {"terminal": "none"},
    }
    manifest = load_manifest(make_corpus(folder))
    run = with_vocabulary(Run.parse(merge(small_run(folder / "manifest.json", folder / "run"), changes)), manifest)
    (folder / "run" / "logs").mkdir(parents=True)
    plain = open_session(run, manifest, world)
    inside = run.monitoring.model_copy(update={"inside": Inside.parse({"every": "1 steps"})})
    looking = replace(plain, run=run.model_copy(update={"monitoring": inside}))
    metrics = Metrics(make_sinks(run, folder / "run", "x", 0, run.train.tokens, {}))
    Saver.save = lambda *arguments, **named: None  # type: ignore[method-assign, assignment]
    record, state = Record(world), first_state(plain, "x")
    record.open(folder / "run")
    spent: tuple[list[float], list[float]] = ([], [])
    for block in range(2 * BLOCKS + 2):
        which = (block + block // 2) % 2
        session, started = (plain, looking)[which], time.process_time()
        stop: Any = After(STEPS, None)
        ended = loop.train_until_done(session, state, metrics, folder, lambda path: None, stop, record)
        state = ended.state
        if block >= 2:
            spent[which].append((time.process_time() - started) / STEPS)
    seldom = run.monitoring.model_copy(update={"inside": Inside.parse({"every": "1000000 steps"})})
    insight = Insight(replace(plain, run=run.model_copy(update={"monitoring": seldom})))
    started = time.process_time()
    for _ in range(1000):
        insight.begin(state)
        insight.row(state)
    return *spent, (time.process_time() - started) / 1000


if __name__ == "__main__":
    main()
