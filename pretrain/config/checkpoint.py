"""When a run saves, how, and what it keeps."""

from __future__ import annotations

from pydantic import Field

from pretrain.config.section import Section
from pretrain.config.units import Every


class Checkpoint(Section):
    """When to save and what to keep."""

    every: Every | None = None
    """How often to save; the end of the run and a signal always save. None: only then."""
    asynchronous: bool = True
    """Write in the background from a copy in the host's memory, as large as on the disk. false: training waits."""
    keep_last: int = Field(3, ge=1)
    """The newest checkpoints that are kept."""
    keep_every: Every | None = None
    """Of older checkpoints, the first at or after each multiple of this (steps or tokens) is kept for good."""
    failures: int = Field(3, ge=1)
    """Failed saves in a row, such as on a full disk, after which the run ends; after fewer it is told and goes on."""
