"""Pipeline stages under DeepSpeed: 1F1B (Narayanan et al. 2021) or DualPipeV (DeepSeek-AI 2024).

Between stages travel the hidden state and, when documents are masked, their ids as int32: each stage derives positions
and masks from them. The last stage takes its targets from the rank's own reading and gives the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch.distributed as dist
from deepspeed.runtime.pipe.dualpipev import DualPipeVModule
from deepspeed.runtime.pipe.module import PipelineModule
from deepspeed.runtime.pipe.topology import PipeModelDataParallelTopology
from torch import Tensor, nn

from pretrain.config.run import Run
from pretrain.config.stages import stages_of
from pretrain.model.layers import Head
from pretrain.model.loss import Losses
from pretrain.model.sequence import Sequence, describe
from pretrain.parallel.cuts import heads_of
from pretrain.parallel.mesh import Mesh

NamedLayer = tuple[str, nn.Module]
Passed = Tensor | tuple[Tensor, Tensor]
"""Hidden [B, t, C] (token ids [B, T] into the first stage); with masked documents their ids [B, T] beside it."""


class Stages(PipelineModule):  # type: ignore[misc]
    """This rank's stage. Parameters have their canonical names; the tie between embedding and head is kept here."""

    def __init__(self, layers: list[NamedLayer], run: Run, mesh: Mesh) -> None:
        """`layers`: all of the model by name; those of other stages without memory."""
        topology = PipeModelDataParallelTopology(mesh.layout.pipe, mesh.layout.tensor, mesh.layout.data)
        self.run, self.mesh = run, mesh
        super().__init__(layers, topology=topology, partition_method=stages_of(*_sizes(run)))
        self.loss_scale = 1.0
        """The loss of each micro-batch is multiplied with it before the backward pass."""
        self.targets: Iterator[Tensor] = iter(())
        """[B, T] of the micro-batches to come, in the order in which they pass."""
        self.passed: list[Losses] = []
        """Of each micro-batch so far, where the loss is computed."""
        self.is_tied = run.model.tied_embeddings and run.parallel.schedule != "dualpipev"
        """Whether the head is a copy of the embedding. DualPipeV has both ends on one rank: one parameter."""
        if self.is_tied and hasattr(self, "head"):
            self.head.weight.ds_pipe_replicated = True  # the norm counts the first stage's

    def forward(self, given: Passed) -> Passed:
        """Through this stage's layers; the head gives the scaled loss of the next targets."""
        hidden, document = given if isinstance(given, tuple) else (given, None)
        sequence = self._sequence(hidden, document)
        for layer in self.forward_funcs:
            if isinstance(layer, Head):
                return self._loss(layer(hidden, sequence, next(self.targets)))
            hidden = layer(hidden, sequence)
        hidden = hidden.contiguous()  # it is sent as it lies
        return hidden if document is None else (hidden, document)

    def _loss(self, losses: Losses) -> Tensor:
        self.passed.append(losses._replace(total=losses.total.detach()))
        return losses.total * self.loss_scale

    def _sequence(self, hidden: Tensor, document: Tensor | None) -> Sequence:
        batch, tokens = hidden.shape[:2]
        if hidden.is_floating_point() and self.run.parallel.splits_sequence:
            tokens *= self.mesh.layout.tensor
        dtype = next(self.parameters()).dtype
        dropout = self.run.model.dropout if self.training else 0.0
        heads = heads_of(self.run.model, self.mesh.at.tensor, self.mesh.layout.tensor)
        return describe(self.run.model, (batch, tokens), hidden.device, dtype, document, None, dropout, heads)

    # what DeepSpeed calls -------------------------------------------------------------------------------------------

    def get_tied_weights_and_groups(self) -> list[tuple[Tensor, dist.ProcessGroup | None]]:
        """Weights whose gradients are summed over a group before the data-parallel reduction."""
        if self.is_tied and hasattr(self, "embedding"):
            return [(self.embedding.tokens.weight, self.mesh.ends.group)]
        if self.is_tied and hasattr(self, "head"):
            return [(self.head.weight, self.mesh.ends.group)]
        return []

    def _partition_layers(self, method: Any = None) -> None:
        self.parts = [0, *(stage.stop for stage in method)]
        self._set_bounds(self.parts[self.stage_id], self.parts[self.stage_id + 1])

    def _build(self) -> None:
        for name, layer in self._layer_specs[self._local_start : self._local_stop]:
            place, _, number = name.partition(".")
            if number:
                if not hasattr(self, place):
                    self.add_module(place, nn.ModuleDict())
                getattr(self, place)[number] = layer
            else:
                self.add_module(place, layer)
            self.forward_funcs.append(layer)
        for parameter in self.parameters():
            parameter.ds_pipe_replicated = False

    def save_state_dict(self, save_dir: str, checkpoint_engine: Any, exclude_frozen_params: bool = False) -> None:
        """One file per stage and tensor rank, written by the first data rank."""
        if self.mesh.at.data == 0:
            checkpoint_engine.makedirs(save_dir, exist_ok=True)
            checkpoint_engine.save(self._own_state(), self._file(save_dir))

    def load_state_dir(self, load_dir: str, checkpoint_engine: Any, strict: bool = True) -> None:
        """Read what save_state_dict wrote."""
        self.load_state_dict(checkpoint_engine.load(self._file(load_dir)), strict=strict)

    def _own_state(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.state_dict().items()}

    def _file(self, directory: str) -> str:
        return f"{directory}/stage_{self.mesh.at.pipe:03d}_tensor_{self.mesh.at.tensor:02d}_model_states.pt"


class DualStages(DualPipeVModule, Stages):  # type: ignore[misc]
    """The two stages of a DualPipeV rank: out through the first, back through the second."""

    def save_state_dict(self, *arguments: Any, **named: Any) -> None:
        """Both stages in one file."""
        Stages.save_state_dict(self, *arguments, **named)

    def load_state_dir(self, *arguments: Any, **named: Any) -> None:
        """Both stages."""
        Stages.load_state_dir(self, *arguments, **named)


def make_stages(layers: list[NamedLayer], run: Run, mesh: Mesh) -> Stages:
    """The pipeline module of this rank. All ranks call it together."""
    return (DualStages if run.parallel.schedule == "dualpipev" else Stages)(layers, run, mesh)


def _sizes(run: Run) -> tuple[Any, Any, int]:
    return run.model, run.parallel, run.sequence_length
