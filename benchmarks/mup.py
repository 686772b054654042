"""Whether the best learning rate of a narrow model is that of a wide one, with muP and without.

    python -m benchmarks.mup [--steps 60]

Trains each width with each learning rate on the quickstart's corpus (`make quickstart` makes it), one process and fp32,
and prints the mean loss of the last ten steps, after Yang et al. 2022, figure 1. Takes about 15 CPU minutes.
"""

from __future__ import annotations

import argparse
import math
from statistics import fmean

import torch

from pretrain.config.run import Run
from pretrain.coordinates.check import first_batches
from pretrain.coordinates.measure import start, step
from pretrain.coordinates.widths import run_at
from pretrain.data.batch import Batch
from pretrain.entry import checked

RATES = [2.0**power for power in range(-11, -4)]
WIDTHS = (64, 128, 256)
OVERRIDES = ("model.d_model=64", "model.heads=2", "batch.micro_batch_size=8")


def final_loss(run: Run, batches: list[Batch], width: int, rate: float) -> float:
    """Mean loss of the last ten steps; infinite where it is no number."""
    fields = run.plain() | {"optimizer": run.optimizer.plain() | {"learning_rate": rate}}
    model, optimizer = start(run_at(Run.parse(fields), width), torch.device("cpu"))
    loss = fmean([step(model, optimizer, batch) for batch in batches][-10:])
    return loss if math.isfinite(loss) else math.inf


def main() -> None:
    """Two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    for title, mup in (("without muP", ()), ("muP, base_d_model 64", ("model.mup.base_d_model=64",))):
        run, manifest = checked("configs/runs/quickstart.yaml", (*OVERRIDES, *mup))
        batches = first_batches(run, manifest, steps)
        print(f"\n{title}: loss after {steps} steps of {len(batches[0].tokens)} x {run.sequence_length} tokens")
        print("| d_model | " + " | ".join(f"{rate:.1e}" for rate in RATES) + " | best |")
        print("|---" * (len(RATES) + 2) + "|")
        for width in WIDTHS:
            losses = [final_loss(run, batches, width, rate) for rate in RATES]
            best = RATES[losses.index(min(losses))]
            print(f"| {width} | " + " | ".join(f"{loss:.3f}" for loss in losses) + f" | {best:.1e} |", flush=True)


if __name__ == "__main__":
    main()
