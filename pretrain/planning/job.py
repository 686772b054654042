"""What is planned: a run laid over GPUs of one type, and how the framework executes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pretrain.config.hardware import Hardware
from pretrain.config.layout import Layout
from pretrain.config.run import Run
from pretrain.planning.keeping import OURS, Keeping
from pretrain.planning.parts import stage_layers
from pretrain.planning.payload import number_bytes

Attention = Literal["flash", "fused", "plain"]
"""flash: FlashAttention. fused: written-out scores with one kernel for scale, mask and softmax (Megatron-LM's). plain:
written out with an operator for each."""


@dataclass(frozen=True)
class Practice:
    """How a framework executes a step, where that is not in the run: ours, or the one that a published figure is of."""

    attention: Attention = "flash"
    flash_speed: float = 1.0
    """Of its FlashAttention by the second one (Dao 2023): the first was slower."""
    fused: bool = False
    """Whether norms, rotations and gates are one kernel each; else PyTorch's operators (docs/planning.md)."""
    loss: Literal["chunks", "steps", "kernel"] = "chunks"
    """Of some tokens at a time, ours; an operator for each step, in fp32; or one kernel, which flash-attn has."""
    accumulated: float = 10.0
    """Bytes moved per parameter and micro-batch when its gradient is added to a sum: read, and a sum in fp32 read and
    written."""
    input_gradients: float = 1.0
    """Exchanges of an input's gradient over the tensor axis, for one where matrices share an input: more where they are
    not one matrix."""
    waits: float = 2.3e-4
    """Seconds that tensor ranks wait for one another at an exchange (fitted, docs/planning-errors.md)."""
    fetches: Literal["deepspeed", "fsdp"] = "deepspeed"
    """Whose ZeRO 3 it is."""
    in_turn: float = 0.0
    """Seconds for each data rank where ZeRO's ranks send their parameters one after the other, not in one gather."""
    virtual: int = 1
    """Parts of the model on each pipeline rank: interleaved 1F1B (Narayanan et al. 2021, section 2.2)."""
    sums_whole: bool = False
    """Whether ZeRO 1 sums gradients by an all-reduce, as DeepSpeed's bf16 optimizer does (docs/accounting.md)."""
    hides_gradients: bool = False
    """Whether gradients are exchanged over the data axis while the backward pass goes on."""
    hides_tensor: Literal["none", "backward", "both"] = "none"
    """In which passes the exchange of a tensor axis goes on beside products."""
    redoes_last: bool = False
    """Whether recompute does the last product of a block too, whose result nothing needs; PyTorch's stops before it."""
    spreads_pipe: bool = False
    """Whether tensor ranks send each a part of the hidden state to the next stage and gather it there."""
    context: int = 1
    """Ranks that share out the tokens of a sample (context parallel), which ours does not."""
    product_speed: float = 1.0
    """Of linear layers by 16 bits: fp8, which ours does not have, with its scaling."""
    group: int | None = None
    """Data ranks that ZeRO shares the states out over, where that is not all of them."""
    cut: Literal["cost", "blocks", "ends"] = "cost"
    """How stages are cut: by the cost of their layers, ours; by blocks; by blocks, embedding and head counted as one
    each (BLOOM's)."""
    keeps: Keeping = OURS
    """What it holds in memory."""


@dataclass(frozen=True)
class Job:
    """A run on `layout.processes` GPUs, `node_size` of them in a node."""

    run: Run
    layout: Layout
    hardware: Hardware
    node_size: int = 8
    practice: Practice = Practice()

    def layers_at(self, pipe: int) -> dict[int, range]:
        """By stage at place `pipe` of the pipe axis: its layers of [embedding, blocks, head]."""
        if self.practice.cut == "cost" and self.practice.virtual == 1:
            return stage_layers(self.run, pipe)
        last, ends = self.run.model.layers + 1, self.practice.cut == "ends"
        start, end = ((place * (last + 1 if ends else last - 1)) // self.layout.pipe for place in (pipe, pipe + 1))
        if ends:
            return {pipe: range(start, end)}
        is_last = pipe == self.layout.pipe - 1
        return {pipe: range(start + 1 if pipe else 0, end + 2 if is_last else end + 1)}

    @property
    def tokens(self) -> int:
        """B x T, of a micro-batch."""
        return self.run.batch.micro_batch_size * self.run.sequence_length // self.practice.context

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """What the run computes on."""
        return "cuda" if self.run.cluster.gpus else "cpu"

    @property
    def width(self) -> int:
        """Bytes of a number in forward and backward."""
        return number_bytes(self.run)

    @property
    def peak(self) -> float:
        """FLOPs per second of products in the run's number format."""
        hardware = self.hardware
        return 1e12 * (hardware.tflops if self.width == 2 else hardware.fp32_tflops)

    @property
    def samples(self) -> int:
        """Of a step."""
        return self.run.batch.global_batch_size.samples(self.run.sequence_length)

    @property
    def micro_batches(self) -> float:
        """Of a step and data rank; published batches are not always whole ones."""
        return max(1.0, self.samples * self.practice.context / (self.run.batch.micro_batch_size * self.layout.data))
