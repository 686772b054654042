"""What a run does when something goes wrong: hangs, restarts, spikes, slow ranks, failing disks."""

from __future__ import annotations

from pydantic import Field

from pretrain.config.section import Section
from pretrain.config.spikes import Spikes
from pretrain.config.units import Bytes, Seconds


class Stall(Section):
    """Seconds in one phase after which a rank is taken to hang: the run stops, stacks are written, ranks are named."""

    start: Seconds = Field(1200.0, ge=1, le=7200)
    """From the start of the processes to the end of the first step: imports, weights, a checkpoint, connections."""
    data: Seconds = Field(300.0, ge=1, le=7200)
    """Waiting for the micro-batches of a step."""
    step: Seconds = Field(600.0, ge=1, le=7200)
    """Forward, backward and update of one step."""
    validation: Seconds = Field(1800.0, ge=1, le=7200)
    """One validation."""
    checkpoint: Seconds = Field(1800.0, ge=1, le=7200)
    """Writing, or snapshotting, one checkpoint."""
    silence: Seconds = Field(60.0, ge=5, le=7200)
    """Nothing heard from a process at all, not even that it waits: frozen, or its machine is gone."""


class Restarts(Section):
    """How often a run is started again by the script that launched it."""

    limit: int = Field(100, ge=0)
    """Restarts after failures and signals in all."""
    same_failure: int = Field(3, ge=2)
    """The same failure at the same step this often in a row ends the run: another try would burn the allocation."""


class Stragglers(Section):
    """When a rank is called slow: by the time of its forward passes against the others'."""

    window: int = Field(50, ge=1)
    """Steps over which times are summed."""
    ratio: float = Field(1.2, gt=1)
    """Above this many times the median a rank is slow in a window."""
    windows: int = Field(3, ge=1)
    """Slow windows in a row after which it is named."""


class Health(Section):
    """What a machine must show before the first step; else it is named, left out, and the job submitted again."""

    check: bool = True
    """Whether to look at all; costs about a second."""
    matmul: float = Field(0.6, ge=0, lt=1)
    """Least share of the others' matmul speed."""
    peak: float = Field(0.4, ge=0, lt=1)
    """Least share of the GPU's peak, where the table has it."""
    bandwidth: float = Field(0.3, ge=0, lt=1)
    """Least share of the others' bandwidth, inside the machine and to both neighbours."""
    memory_free: float = Field(0.9, ge=0, le=1)
    """Least free share of a GPU's memory at the start."""
    disk_free: Bytes = Field(100_000_000, ge=0)
    """Least free bytes for temporary files."""
    clock: Seconds = Field(10.0, gt=0)
    """A clock further off than this is told; it makes no machine unfit."""


class Resilience(Section):
    """What happens when something goes wrong."""

    stall: Stall = Stall()
    """When a rank is taken to hang."""
    restarts: Restarts = Restarts()
    """When the run is started again."""
    health: Health = Health()
    """When a machine is fit to train."""
    stragglers: Stragglers = Stragglers()
    """When a rank is called slow."""
    spikes: Spikes = Spikes()
    """Spikes of the loss, and losses that are no number."""
