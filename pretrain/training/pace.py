"""Slow ranks among this run's: each tells how long it computed, rank 0 hears who stays behind."""

from __future__ import annotations

from pretrain.monitoring.pace import ComputeTimer
from pretrain.training.setup import Session


class PaceKeeper:
    """Tells this rank's computing time once in a window of steps."""

    def __init__(self, session: Session) -> None:
        self._watch, self._window = session.world.watch, session.run.resilience.stragglers.window
        alone = session.world.size == 1 or self._watch is None
        self._stage = session.mesh.at.pipe
        self._timer = None if alone else ComputeTimer(session.engine.module, session.world.device)

    def after(self, step: int) -> list[str]:
        """Call after each step; on rank 0, what there is to tell about slow ranks."""
        if self._timer is None or self._watch is None:
            return []
        if step % self._window == 0:
            self._watch.computed(step // self._window, self._timer.take(), self._stage)
        pace = self._watch.watchman.pace if self._watch.watchman else None
        return [pace.news.pop(0) for _ in range(len(pace.news))] if pace else []

    def close(self) -> None:
        """Time no more: another keeper may follow in this process."""
        if self._timer:
            self._timer.close()
