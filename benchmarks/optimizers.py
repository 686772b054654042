"""What an update costs: python -m benchmarks.optimizers

CPU seconds of one optimizer step, one thread: torch's three ways of AdamW on the flat fp32 tensors that ZeRO hands over
(one of matrices, one of biases and norms) and on whole parameters (ZeRO 0), and the other algorithms beside it on whole
parameters. The ways take turns in one process; medians. `same bits`: after all steps, as the loop over parameters.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from pretrain.config.model import Model
from pretrain.model.transformer import Transformer

MODELS = {
    "quickstart": {"layers": 4, "d_model": 128, "heads": 4, "context": 128, "vocab_size": 2048},
    "6 x 384": {"layers": 6, "d_model": 384, "heads": 6, "context": 256, "vocab_size": 8192},
}
ROUNDS, WARM = 25, 3
WAYS = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def main() -> None:
    """Print one table."""
    torch.set_num_threads(1)
    print("| model | tensors | AdamW | CPU ms a step | from - to | same bits as loop |\n|---|---|---|---|---|---|")
    for model, fields in MODELS.items():
        shapes = [tuple(p.shape) for p in Transformer(Model.parse(fields)).parameters()]
        for layout, sizes in {"flat": flat(shapes), "whole": shapes}.items():
            weights = {way: draw(sizes) for way in WAYS}
            made = {way: torch.optim.AdamW(weights[way], lr=1e-3, **options) for way, options in WAYS.items()}
            seconds = measure({way: optimizer.step for way, optimizer in made.items()}, weights)
            for way, found in seconds.items():
                same = all(map(torch.equal, weights[way], weights["loop"]))
                low, high, middle = 1e3 * min(found), 1e3 * max(found), 1e3 * statistics.median(found)
                print(f"| {model} | {layout} | {way} | {middle:.2f} | {low:.2f} - {high:.2f} | {same} |", flush=True)


def flat(shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """All matrices in one, all vectors in another."""
    sizes = [sum(torch.Size(s).numel() for s in shapes if (len(s) > 1) == matrix) for matrix in (True, False)]
    return [(size,) for size in sizes]


def draw(shapes: Iterable[tuple[int, ...]]) -> list[Tensor]:
    """The same normals whenever it is called."""
    generator = torch.Generator().manual_seed(0)
    return [(0.02 * torch.randn(shape, generator=generator)).requires_grad_() for shape in shapes]


def measure(steps: dict[str, Callable[[], object]], weights: dict[str, list[Tensor]]) -> dict[str, list[float]]:
    """CPU seconds of each step, in turn, on the same gradients."""
    seconds: dict[str, list[float]] = {way: [] for way in steps}
    shapes = [tuple(weight.shape) for weight in next(iter(weights.values()))]
    gradients = [gradient.detach() for gradient in draw(shapes)]
    for number in range(WARM + ROUNDS):
        for way in sorted(steps, reverse=number % 2 == 1):
            for weight, gradient in zip(weights[way], gradients, strict=True):
                weight.grad = gradient.clone()
            started = time.process_time()
            steps[way]()
            seconds[way].append(time.process_time() - started)
    return {way: found[WARM:] for way, found in seconds.items()}


if __name__ == "__main__":
    main()
