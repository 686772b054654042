"""What became of the ranks, told in one line: pure functions of what rank 0 knows about each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pretrain.config.resilience import Stall
from pretrain.parallel.rollcall import name_ranks

DONE = "done"
"""The last words of a rank that ended as it should."""
CUT = "cut"
"""What stands for the last words of a rank that said nothing."""
PHASES = ("start", "data", "step", "validation", "checkpoint", "end")
"""In the order in which a step goes through them."""


@dataclass
class Seen:
    """What is known of one rank. Times are of rank 0's monotonic clock, in seconds."""

    rank: int
    host: str
    heard: float
    """When it last said anything."""
    phase: str = "start"
    step: int = 0
    since: float = 0.0
    """When it entered the phase."""
    words: str | None = None
    """Its last words."""
    waits: bool | None = None
    """Whether it waits for other ranks; None: it was not asked, or did not answer."""
    where: str = ""
    """The line of code at which it stands."""

    @property
    def place(self) -> str:
        """Such as `data at step 17`."""
        return f"{self.phase} at step {self.step}" if self.step else self.phase


def ended(seen: Sequence[Seen], size: int) -> str | None:
    """Ranks whose lines were cut; else the first that said what failed; None where nothing did.

    `seen` is in the order in which the last words were heard.
    """
    failed = [rank for rank in seen if rank.words not in (None, DONE)]
    cut = sorted((rank for rank in failed if rank.words == CUT), key=lambda rank: rank.rank)
    if cut:
        return f"{_names(cut, size)} ended without a word in {cut[0].place} (killed, or out of memory)"
    return f"{_names(failed[:1], size)} failed first, in {failed[0].place}: {failed[0].words}" if failed else None


def silent(seen: Sequence[Seen], size: int, now: float, limits: Stall) -> str | None:
    """Ranks from which nothing has been heard for too long."""
    lost = [rank for rank in seen if rank.words is None and now - rank.heard > limits.silence]
    if not lost:
        return None
    return (
        f"{_names(lost, size)} said nothing for {limits.silence:g} s, last in {lost[0].place} "
        f"(frozen, or the machine is gone)"
    )


def stalled(seen: Sequence[Seen], now: float, limits: Stall) -> bool:
    """Whether a rank has been in one phase for longer than its limit."""
    return any(rank.words is None and now - rank.since > limit_of(rank.phase, limits) for rank in seen)


def hanging(seen: Sequence[Seen], size: int, now: float, limits: Stall) -> str | None:
    """Who keeps the others waiting, after all were asked where they stand; None when nobody is over its limit any more.

    Those that do not wait for others, unless nobody does; then those that are furthest behind.
    """
    if not stalled(seen, now, limits):
        return None
    alive = [rank for rank in seen if rank.words is None]
    culprits = [rank for rank in alive if not rank.waits]
    if len(culprits) in (0, len(alive)):
        first = min((rank.step, PHASES.index(rank.phase)) for rank in alive)
        culprits = [rank for rank in alive if (rank.step, PHASES.index(rank.phase)) == first]
    worst = culprits[0]
    stands = f"stands at {worst.where}" if worst.where else "does not answer"
    return (
        f"{_names(culprits, size)} hangs in {worst.place} for {now - worst.since:.0f} s and {stands}; "
        f"resilience.stall.{worst.phase} is {limit_of(worst.phase, limits):g} s"
    )


def limit_of(phase: str, limits: Stall) -> float:
    """Seconds a rank may stay in `phase`."""
    return float(getattr(limits, phase, limits.start))


def _names(ranks: Sequence[Seen], size: int) -> str:
    """`rank 3 of 8 on node2`, or `ranks 2, 3 of 8 on node1, node2`."""
    hosts = list(dict.fromkeys(rank.host for rank in ranks))
    shown = ", ".join(hosts[:8]) + (f" and {len(hosts) - 8} more" if len(hosts) > 8 else "")
    return f"{name_ranks([rank.rank for rank in ranks])} of {size} on {shown}"
