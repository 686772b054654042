"""What is planned: a run laid over GPUs of one type, and how the framework executes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pretrain.config.hardware import Hardware
from pretrain.config.layout import Layout
from pretrain.config.run import Run
from pretrain.planning.parts import layers_of
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
    accumulated: float = 10.0
    """Bytes moved per parameter and micro-batch when its gradient is added to a sum: read, and a sum in fp32 read and
    written."""
    input_gradients: float = 1.0
    """Exchanges of an input's gradient over the tensor axis, for one where matrices share an input: more where they are
    not one matrix."""
    virtual: int = 1
    """Parts of the model on each pipeline rank: interleaved 1F1B (Narayanan et al. 2021, section 2.2)."""
    hides_gradients: bool = False
    """Whether gradients are exchanged over the data axis while the backward pass goes on."""
    even_stages: bool = False
    """Whether each stage has as many blocks, embedding and head not counted; else they take as long (config.stages)."""
    hides_tensor: Literal["none", "backward", "both"] = "none"
    """In which passes the exchange of a tensor axis goes on beside products."""
    spreads_pipe: bool = False
    """Whether tensor ranks send each a part of the hidden state to the next stage and gather it there."""
    context: int = 1
    """Ranks that share out the tokens of a sample (context parallel), which ours does not."""
    eight_bits: bool = False
    """Products of linear layers in fp8, which ours does not."""
    group: int | None = None
    """Data ranks that ZeRO shares the states out over, where that is not all of them."""


@dataclass(frozen=True)
class Job:
    """A run on `layout.processes` GPUs, `node_size` of them in a node."""

    run: Run
    layout: Layout
    hardware: Hardware
    node_size: int = 8
    practice: Practice = Practice()

    @property
    def tokens(self) -> int:
        """B x T, of a micro-batch."""
        return self.run.batch.micro_batch_size * self.run.sequence_length // self.practice.context

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

    def layers(self, pipe: int) -> list[int]:
        """Indices into [embedding, blocks, head] of what a rank at place `pipe` holds."""
        if not self.practice.even_stages:
            return layers_of(self.run, pipe)
        blocks, stages = self.run.model.layers, self.layout.pipe
        first, last = (blocks * place // stages + 1 for place in (pipe, pipe + 1))
        ends = [0] * (pipe == 0), [blocks + 1] * (pipe == stages - 1)
        return [*ends[0], *range(first, last), *ends[1]]
