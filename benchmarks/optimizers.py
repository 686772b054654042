"""What an update costs: python -m benchmarks.optimizers

CPU seconds of one optimizer step, one thread: torch's three ways of AdamW on the flat fp32 tensors that ZeRO hands over
(one of matrices, one of biases and norms) and on whole parameters (ZeRO 0), and every algorithm of this project on
whole parameters. They take turns in one process; medians. `same bits`: after all steps, as the loop over parameters.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from pretrain.config.run import Run
from pretrain.model.transformer import Transformer
from pretrain.training.optimizer import ALGORITHMS, make_optimizer

MODELS = {
    "quickstart": {"layers": 4, "d_model": 128, "heads": 4, "context": 128, "vocab_size": 2048},
    "6 x 384": {"layers": 6, "d_model": 384, "heads": 6, "context": 256, "vocab_size": 8192},
}
ROUNDS, WARM = 25, 3
WAYS: dict[str, dict[str, Any]] = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}

Made = dict[str, tuple[torch.optim.Optimizer, list[Tensor]]]
"""By name: an optimizer and what it updates."""


def main() -> None:
    """Print one table."""
    torch.set_num_threads(1)
    print("| model | tensors | update | CPU ms a step | from - to | same bits |\n|---|---|---|---|---|---|")
    for model, fields in MODELS.items():
        shapes = [tuple(p.shape) for p in Transformer(run_of(fields, "adamw").model).parameters()]
        table(model, "flat", ways(flat(shapes)))
        table(model, "whole", ways(shapes))
        table(
            model, "whole", {f"{name}, as made here": algorithm(fields, name) for name in ALGORITHMS if name != "own"}
        )


def run_of(model: dict[str, Any], optimizer: str) -> Run:
    """A run with this model and optimizer."""
    return Run.parse(
        {
            "name": "optimizers",
            "train": {"tokens": 1},
            "model": model,
            "data": {"manifest": "none"},
            "batch": {"global_batch_size": 1},
            "optimizer": {"name": optimizer, "learning_rate": 1e-3},
            "precision": {"compute": "fp32"},
        }
    )


def ways(shapes: list[tuple[int, ...]]) -> Made:
    """torch's AdamW over equal weights."""
    weights = {way: draw(shapes) for way in WAYS}
    return {way: (torch.optim.AdamW(weights[way], lr=1e-3, **options), weights[way]) for way, options in WAYS.items()}


def algorithm(model: dict[str, Any], name: str) -> tuple[torch.optim.Optimizer, list[Tensor]]:
    """An optimizer as training makes it."""
    run = run_of(model, name)
    transformer = Transformer(run.model)
    return make_optimizer(transformer, run), list(transformer.parameters())


def flat(shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """All matrices in one, all vectors in another."""
    sizes = [sum(torch.Size(s).numel() for s in shapes if (len(s) > 1) == matrix) for matrix in (True, False)]
    return [(size,) for size in sizes]


def draw(shapes: Iterable[tuple[int, ...]]) -> list[Tensor]:
    """The same normals whenever it is called."""
    generator = torch.Generator().manual_seed(0)
    return [(0.02 * torch.randn(shape, generator=generator)).requires_grad_() for shape in shapes]


def table(model: str, tensors: str, made: Made) -> None:
    """Measure and print a row each."""
    for name, found in measure(made).items():
        same = ""
        if "loop" in made:
            equal = all(map(torch.equal, made[name][1], made["loop"][1]))
            same = "yes" if equal else "no"
        low, high, middle = 1e3 * min(found), 1e3 * max(found), 1e3 * statistics.median(found)
        print(f"| {model} | {tensors} | {name} | {middle:.2f} | {low:.2f} - {high:.2f} | {same} |", flush=True)


def measure(made: Made) -> dict[str, list[float]]:
    """CPU seconds of each step, in turn, on the same gradients."""
    seconds: dict[str, list[float]] = {name: [] for name in made}
    gradients = [g.detach() for g in draw(tuple(weight.shape) for weight in next(iter(made.values()))[1])]
    for number in range(WARM + ROUNDS):
        for name in sorted(made, reverse=number % 2 == 1):
            optimizer, weights = made[name]
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient.clone()
            started = time.process_time()
            optimizer.step()
            seconds[name].append(time.process_time() - started)
    return {name: found[WARM:] for name, found in seconds.items()}


if __name__ == "__main__":
    main()
