"""What a framework keeps in memory, where that is not in the run."""

from __future__ import annotations

from dataclasses import dataclass

from pretrain.config.run import Run
from pretrain.config.widths import Widths, widths_held
from pretrain.planning.memory.activations import Storing, storing


@dataclass(frozen=True)
class Keeping:
    """The defaults are ours; other values are for published figures (benchmarks/planner_memory.py)."""

    widths: Widths | None = None
    """Bytes per parameter. None: what our engine holds for the run's precision and ZeRO stage."""
    bucket: float | None = None
    """Bytes of the buffers of the data axis's exchange. None: what our DeepSpeed JSON gives."""
    softmax: int = 4
    """Bytes of a number that a written-out softmax keeps: ours works in fp32."""
    fused_norm: bool = True
    """Whether a norm is one kernel; else RMSNorm keeps two fp32 copies of its input, as PyTorch's operators do."""
    logit: float = 0
    """Bytes at the loss of each logit at its peak, its gradient included. 0: ours, which works in chunks."""
    gathers_logits: bool = False
    """Whether each tensor rank has all columns of the logits at the loss."""
    products: bool = False
    """Whether selective recompute keeps every other product, and not all but attention's core."""
    in_pieces: bool = True
    """Whether the allocator's memory is in pieces; with PyTorch's `expandable_segments` it is not."""

    def storing(self, run: Run, written_out: bool) -> Storing:
        """What is kept of a layer."""
        if not run.cluster.gpus:
            return storing(run, on_gpu=False)
        return storing(run)._replace(
            softmax=self.softmax,
            fused_rms=self.fused_norm,
            written_out=written_out,
            whole_logits=self.logit > 0,
            products=self.products,
        )

    def widths_of(self, run: Run) -> Widths:
        """Bytes per parameter."""
        return self.widths or widths_held(run)


OURS = Keeping()
"""Of our own engine."""
