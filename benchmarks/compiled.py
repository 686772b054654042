"""What torch.compile costs and saves in one process: python -m benchmarks.compiled

6 layers, d_model 384, 256 tokens, vocabulary 8,192, micro-batches of 4, fp32, one thread. Cold processes in turn: not
compiled, compiled into an empty cache of torch's compiler, compiled from the cache of the process before.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

RUNS, STEPS, WARM = 5, 5, 1
WAYS = {"as it is": False, "compiled, empty cache": True, "compiled, from the cache": True}
MODEL = {"layers": 6, "d_model": 384, "heads": 6, "context": 256, "vocab_size": 8192}
SAMPLES = 4
TOKENS = SAMPLES * 256


def main() -> None:
    """Print the table."""
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as cache:
            for way, compiled in WAYS.items():
                found[way].append(measure(compiled, cache))
    print(
        "| | first step: s | first step: CPU s | later steps: tokens per CPU s | to as it is |\n|---|---|---|---|---|"
    )
    eager = [steady for _, _, steady in found["as it is"]]
    for way, rows in found.items():
        first, cpu, steady = (statistics.median(column) for column in zip(*rows, strict=True))
        ratio = statistics.median(e / row[2] for e, row in zip(eager, rows, strict=True))
        print(f"| {way} | {first:.1f} | {cpu:.1f} | {TOKENS / steady:,.0f} | {ratio:.2f}x |")


def measure(compiled: bool, cache: str) -> tuple[float, float, float]:
    """One process: seconds and CPU seconds of its first step, the median CPU seconds of later ones."""
    command = [sys.executable, "-m", "benchmarks.compiled", str(int(compiled))]
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    first, cpu, steady = json.loads(done.stdout.splitlines()[-1])
    return first, cpu, steady


def time_steps(compiled: bool) -> tuple[float, float, float]:
    """In this process."""
    import torch

    from pretrain.parallel.process import join_world
    from tests.parallel.counted import make, micro_batch

    torch.set_num_threads(1)
    run, _, runner = make(plain(compiled), join_world())
    given = [micro_batch(run, 0, 0)]

    def step() -> None:
        runner.accumulate(given, 1, 1 / TOKENS)
        runner.reduce()
        runner.update()

    started, used = time.perf_counter(), cpu_seconds()
    step()
    first, cpu = time.perf_counter() - started, cpu_seconds() - used
    seconds = []
    for _ in range(WARM + STEPS):
        begun = time.process_time()
        step()
        seconds.append(time.process_time() - begun)
    return first, cpu, statistics.median(seconds[WARM:])


def plain(compiled: bool) -> dict[str, object]:
    """The run; its data are not read."""
    return {
        "name": "compiled",
        "train": {"tokens": "1M", "compile": compiled},
        "model": MODEL,
        "data": {"manifest": "none"},
        "batch": {"global_batch_size": SAMPLES, "micro_batch_size": SAMPLES},
        "optimizer": {"learning_rate": 1e-3},
        "precision": {"compute": "fp32"},
    }


def cpu_seconds() -> float:
    """Of this process and of those that it started and that ended: the compiler's too."""
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, kinds))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(time_steps(sys.argv[1] == "1")))
    else:
        main()
