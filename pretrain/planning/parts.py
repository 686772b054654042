"""How many parameters one rank holds: of its pipeline stages' layers, its part over the tensor axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pretrain.config.counts import block_matrices, block_norms, mlp_matrices, mlp_vectors, norm_size
from pretrain.config.model import Model
from pretrain.config.run import Run
from pretrain.config.stages import stages_of


class Parts(NamedTuple):
    """Parameters of one rank, padded vocabulary rows included."""

    matrices: int
    """Cut over the tensor axis; with weight decay."""
    vectors: int
    """Biases that are cut over the tensor axis."""
    repeated: int
    """Norms and row biases: the same on every tensor rank."""
    padding: int
    """Of the matrices, rows that round the vocabulary up, spread evenly over the tensor axis."""

    @property
    def total(self) -> int:
        """All that the rank holds."""
        return self.matrices + self.vectors + self.repeated

    def __add__(self, other: object) -> Parts:
        """Elementwise."""
        assert isinstance(other, Parts)
        return Parts(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, count: int) -> Parts:
        """Of `count` such."""
        return Parts(*(part * count for part in self))


def inner_width(model: Model) -> float:
    """d_ff; of an own MLP that of the usual one with as many matrix entries, for what it computes and keeps."""
    if model.mlp is None:
        return model.mlp_width
    return mlp_matrices(model) / ((3 if model.activation == "swiglu" else 2) * model.d_model)


def parts_of(run: Run, pipe: int) -> Parts:
    """What a rank at place `pipe` of the pipe axis holds; all its tensor and data ranks hold as much."""
    return parts_in(run.model, run.parallel.tensor, list(stage_layers(run, pipe).values()))


def parts_in(model: Model, tensor: int, stages: Sequence[range]) -> Parts:
    """What the layers `stages` of [embedding, blocks, head] are to one of `tensor` ranks that hold them."""
    firsts, head = [stage.start for stage in stages], model.layers + 1
    total = _block(model, tensor).times(blocks_in(model, stages))
    if 0 in firsts:
        total += _embedding(model, tensor)
    if any(stage.stop > head for stage in stages):
        total += _head(model, tensor, has_own_table=not (model.tied_embeddings and 0 in firsts))
    return total


def blocks_in(model: Model, stages: Sequence[range]) -> int:
    """Blocks among the layers `stages`."""
    return sum(len(range(max(1, stage.start), min(stage.stop, model.layers + 1))) for stage in stages)


def layers_of(run: Run, pipe: int) -> list[int]:
    """Indices into [embedding, blocks, head] of the layers at place `pipe`; DualPipeV has two stages there."""
    return [layer for stage in stage_layers(run, pipe).values() for layer in stage]


def stage_layers(run: Run, pipe: int) -> dict[int, range]:
    """By stage at place `pipe`: its layers."""
    stages = stages_of(run.model, run.parallel, run.sequence_length)
    mine = sorted({pipe, len(stages) - 1 - pipe}) if len(stages) > run.parallel.pipe else [pipe]
    return {stage: stages[stage] for stage in mine}


def _block(model: Model, tensor: int) -> Parts:
    qkv = (model.heads + 2 * model.key_heads) * model.head_width
    row = model.d_model if model.bias else 0  # of the attention's and of the MLP's last matrix
    columns = mlp_vectors(model) - row + (qkv if model.bias else 0)
    return Parts(block_matrices(model) // tensor, columns // tensor, 2 * row + block_norms(model), 0)


def _embedding(model: Model, tensor: int) -> Parts:
    positions = model.context if model.positions == "learned" else 0
    return Parts((model.padded_vocabulary + positions) * model.d_model // tensor, 0, 0, _padding(model, tensor))


def _head(model: Model, tensor: int, has_own_table: bool) -> Parts:
    if not has_own_table:
        return Parts(0, 0, norm_size(model), 0)
    return Parts(model.padded_vocabulary * model.d_model // tensor, 0, norm_size(model), _padding(model, tensor))


def _padding(model: Model, tensor: int) -> int:
    return (model.padded_vocabulary - model.vocabulary) * model.d_model // tensor
