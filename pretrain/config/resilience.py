"""What a run does when something goes wrong: hangs, restarts, spikes, slow ranks, failing disks."""

from __future__ import annotations

from pydantic import Field

from pretrain.config.section import Section
from pretrain.config.spikes import Spikes
from pretrain.config.units import Seconds


class Stall(Section):
    """Seconds in one phase after which a rank is taken to hang: the run stops, stacks are written, ranks are named."""

    start: Seconds = Field(1200.0, gt=0)
    """From the start of the processes to the first batch: imports, weights, reading a checkpoint."""
    data: Seconds = Field(300.0, gt=0)
    """Waiting for the micro-batches of a step."""
    step: Seconds = Field(600.0, gt=0)
    """Forward, backward and update of one step."""
    validation: Seconds = Field(1800.0, gt=0)
    """One validation."""
    checkpoint: Seconds = Field(1800.0, gt=0)
    """Writing, or snapshotting, one checkpoint."""
    silence: Seconds = Field(60.0, gt=0)
    """Nothing heard from a process at all, not even that it waits: frozen, or its machine is gone."""


class Restarts(Section):
    """How often a run is started again by the script that launched it."""

    limit: int = Field(100, ge=0)
    """Restarts after failures and signals in all."""
    same_failure: int = Field(3, ge=2)
    """The same failure at the same step this often in a row ends the run: another try would burn the allocation."""


class Resilience(Section):
    """What happens when something goes wrong."""

    stall: Stall = Stall()
    """When a rank is taken to hang."""
    restarts: Restarts = Restarts()
    """When the run is started again."""
    spikes: Spikes = Spikes()
    """Spikes of the loss, and losses that are no number."""
