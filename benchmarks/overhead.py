"""What the parallel code path costs one process: python -m benchmarks.overhead

CPU seconds of an optimizer step of the same model under the same DeepSpeed configuration: through parallelize and the
runner, and in a bare loop around DeepSpeed's engine. Cold processes in turn, the first of a pair changing; the median
step of each process, then the median of the pairs' ratios. Needs a machine that does nothing else.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.parallel import GPT, Case

RUNS, STEPS, WARM = 7, 12, 2
MICRO_BATCHES = 2
CASE = Case(1, MICRO_BATCHES, {"zero": 1}, GPT)


def main() -> None:
    """Print both medians and their ratio."""
    seconds: dict[str, list[float]] = {"bare": [], "parallel": []}
    for number in range(RUNS):
        for way in sorted(seconds, reverse=number % 2 == 1):
            seconds[way].append(measure(way))
    ratio = statistics.median(ours / bare for bare, ours in zip(*seconds.values(), strict=True))
    print(f"| CPU seconds per step | median of {RUNS} processes | from - to |\n|---|---|---|")
    for way, found in seconds.items():
        print(f"| {way} | {statistics.median(found):.4f} | {min(found):.4f} - {max(found):.4f} |")
    print(f"| parallel / bare | {ratio:.4f} | wanted <= 1.02: {'ok' if ratio <= 1.02 else 'MISSED'} |")


def measure(way: str) -> float:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.overhead", way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def time_steps(way: str) -> float:
    """The median CPU seconds of STEPS steps in this process."""
    import torch

    torch.set_num_threads(1)
    step = {"bare": bare_step, "parallel": parallel_step}[way]()
    seconds = []
    for _ in range(WARM + STEPS):
        started = time.process_time()
        step()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds[WARM:])


def parallel_step() -> Callable[[], object]:
    """As training does it."""
    from pretrain.parallel.process import join_world
    from tests.parallel.counted import make, micro_batch

    run, _, runner = make(CASE.run(), join_world())
    given = [micro_batch(run, number, 0) for number in range(MICRO_BATCHES)]
    scale = 1 / sum(targets.numel() for _, targets, _ in given)

    def step() -> None:
        runner.accumulate(given, MICRO_BATCHES, scale)
        runner.reduce()
        runner.update()

    return step


def bare_step() -> Callable[[], object]:
    """The shortest loop that does the same: a model that was never cut, and DeepSpeed's engine alone."""
    import deepspeed

    from pretrain.config.deepspeed import deepspeed_config
    from pretrain.config.run import Run
    from pretrain.model.init import initialize
    from pretrain.model.transformer import Transformer
    from pretrain.parallel.engine import prepare_deepspeed
    from pretrain.parallel.process import join_world
    from pretrain.training.optimizer import make_optimizer
    from tests.parallel.counted import micro_batch

    run = Run.parse(CASE.run())
    join_world()
    prepare_deepspeed()
    model = Transformer(run.model)
    initialize(model, run.model, run.train.seed)
    optimizer = make_optimizer(model, run)
    config = deepspeed_config(run, 1)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    given = [micro_batch(run, number, 0) for number in range(MICRO_BATCHES)]
    scale = MICRO_BATCHES / sum(targets.numel() for _, targets, _ in given)  # DeepSpeed divides by their number

    def step() -> float:
        for batch in given:
            engine.backward(engine(*batch).total * scale)
            engine.step()
        return float(engine.get_global_grad_norm())

    return step


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(time_steps(sys.argv[1])))
    else:
        main()
