"""A runner that looks inside while one step passes through it: gradients, weights, activations, attention.

Every number is a sum of what each rank has, so that it does not depend on the layout. The step is what it would be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pretrain.config.run import Run
from pretrain.model.transformer import Transformer, layer_names
from pretrain.monitoring.noise import Gradients
from pretrain.parallel.engine import loss_scale
from pretrain.parallel.mesh import Mesh
from pretrain.parallel.owned import counted_parameters, own_gradient, own_weight
from pretrain.parallel.passing import Passing
from pretrain.parallel.runner import MicroBatch, Runner
from pretrain.parallel.tally import Tally

OF_PART = ("gradient", "weight", "update")
OF_LAYER = ("activation", "activations", "activation_max")
OF_BLOCK = ("entropy", "entropies", "entropy_min", "logit_max", "zero", "units")
OF_NOISE = ("noise/whole", "noise/parts", "noise/tokens", "noise/squares")


class Seen(NamedTuple):
    """What one step looked like inside, the same on every rank."""

    columns: dict[str, float]
    """By name and place, such as `grad_norm/blocks.3.mlp`."""
    gradients: Gradients
    """For the noise scale."""


def part_of(name: str) -> str:
    """The part of the model that a parameter belongs to: blocks.3.attention.qkv.weight -> blocks.3.attention."""
    names = name.split(".")
    return ".".join(names[:3] if names[0] == "blocks" else names[:-1])


class Looking:
    """A Runner around another one, for one step. `total` gives what was seen."""

    def __init__(self, runner: Runner, run: Run, mesh: Mesh) -> None:
        self._runner, self._mesh = runner, mesh
        with torch.device("meta"):
            whole = [name for name, _ in Transformer(run.model).named_parameters()]
        layers = layer_names(run.model)[:-1]
        places = {OF_PART: dict.fromkeys(map(part_of, whole)), OF_LAYER: layers, OF_BLOCK: layers[1:]}
        named = [f"{kind}/{place}" for kinds, where in places.items() for kind in kinds for place in where]
        self._tally = Tally([*named, *OF_NOISE], mesh)
        self._passing = Passing(runner.engine.module, mesh, run.parallel.splits_sequence, self._tally)
        self._tied = {"embedding.tokens.weight", "head.weight"} if run.model.tied_embeddings else set()
        self._updates = False

    def __getattr__(self, name: str) -> Any:
        """Whatever else a runner has."""
        return getattr(self._runner, name)

    def accumulate(self, batches: Sequence[MicroBatch], number: int, scale: float) -> Any:
        """As the runner does, seeing activations and the gradient of each micro-batch."""
        if self._mesh.at.pipe == 0 and self._mesh.at.tensor == 0:
            counts = [float((targets >= 0).sum()) for _, targets, _ in batches]
            self._tally.add("noise/tokens", sum(counts))
            self._tally.add("noise/squares", sum(count * count for count in counts))
        with self._passing.watched(), self._parts_watched():
            return self._runner.accumulate(batches, number, scale)

    def reduce(self) -> None:
        """As the runner does; then gradients are whole."""
        self._runner.reduce()
        self._runner.norm()  # waits for what is still under way
        for name, parameter in counted_parameters(self._runner.engine, self._mesh):
            if (gradient := own_gradient(parameter, self._mesh)) is not None:
                square = _square(gradient) / loss_scale(self._runner.engine) ** 2
                self._tally.add(f"gradient/{part_of(name)}", square)
                if name not in self._tied:
                    self._tally.add("noise/whole", square)

    def update(self) -> float:
        """As the runner does. Meanwhile a copy of this rank's fp32 weights is kept."""
        pieces = {name: piece.clone() for name, piece in self._weights()}
        norm = self._runner.update()
        for name, after in self._weights():
            before, part = pieces.pop(name), part_of(name)
            self._tally.add(f"weight/{part}", _square(before))
            self._tally.add(f"update/{part}", _square(before.sub_(after)))
        self._updates = True
        return norm

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in counted_parameters(self._runner.engine, self._mesh):
            if (piece := own_weight(parameter, self._mesh)) is not None:
                yield name, piece

    def total(self) -> Seen:
        """What was seen. All ranks call it together, once, after the step."""
        found = self._tally.total()
        noise = Gradients(*(found.pop(name) for name in OF_NOISE))
        columns = {name: value for name, value in _columns(found, self._updates) if math.isfinite(value)}
        return Seen(columns, noise)

    @contextmanager
    def _parts_watched(self) -> Iterator[None]:
        """Sum the squared norms of each micro-batch's gradient, before anything is added up.

        Not of a tied embedding: in a pipeline its gradient is made in two places.
        """
        counted = counted_parameters(self._runner.engine, self._mesh)
        # the loss is multiplied with the number of data ranks, over which DeepSpeed takes the mean
        scale = (loss_scale(self._runner.engine) * self._mesh.layout.data) ** 2

        def look(gradient: Tensor) -> None:
            self._tally.add("noise/parts", _square(gradient) / scale)

        hooks = [p.register_hook(look) for name, p in counted if name not in self._tied]  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _square(tensor: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(tensor.detach(), dtype=torch.float32)
    return norm.double().square()


def _columns(found: dict[str, float], updates: bool) -> Iterator[tuple[str, float]]:
    """Norms and means from sums. What nobody saw is left out: an MLP of one's own need not have units."""
    for name, value in found.items():
        kind, _, place = name.partition("/")
        if kind == "gradient":
            yield f"grad_norm/{place}", math.sqrt(value)
        elif kind == "weight" and updates:
            yield f"weight_norm/{place}", math.sqrt(value)
            if value > 0:
                yield f"update_ratio/{place}", math.sqrt(found[f"update/{place}"] / value)
        elif kind == "activation" and found[f"activations/{place}"]:
            yield f"activation_rms/{place}", math.sqrt(value / found[f"activations/{place}"])
        elif kind in ("activation_max", "logit_max"):
            yield (name if kind == "activation_max" else f"attention_logit_max/{place}"), value
        elif kind == "entropy" and found[f"entropies/{place}"]:
            yield f"attention_entropy/{place}", value / found[f"entropies/{place}"]
            yield f"attention_entropy_min/{place}", -found[f"entropy_min/{place}"]
        elif kind == "zero" and found[f"units/{place}"]:
            yield f"mlp_zero/{place}", value / found[f"units/{place}"]
