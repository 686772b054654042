"""A run that `pretrain launch` started on the cluster: what became of its attempts, and what a fault cost it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pretrain.config.load import merge
from pretrain.resilience.attempts import Attempt, read_attempts
from tests.cluster.faults import Fault, read_steps, when_it_happened, write_site
from tests.cluster.slurm import Cluster, wait_for
from tests.cluster.training import Training, make_training, nothing_left

EVERY = 4
"""Steps between two checkpoints."""
MOST = EVERY + 2
"""Steps that may be redone: training goes on for two while a checkpoint is written, which does not count yet."""
SILENCE = 5
"""resilience.stall.silence, in seconds."""
SURVIVING: dict[str, Any] = {
    "checkpoint": {"every": f"{EVERY} steps", "keep_last": 2},
    "resilience": {"stall": {"silence": SILENCE}},
}
PATIENT = {"stall": {"silence": 60}}
"""For runs that are to be done in one attempt: while libraries are loaded, a rank may say nothing for SILENCE."""
LONG = 240.0
"""Seconds after which a run with some restarts is taken to hang."""


@dataclass(frozen=True)
class Moment:
    """When something was done to the run."""

    time: float
    """Unix seconds."""
    step: int
    """That rank 0 had done by then."""


@dataclass(frozen=True)
class Cost:
    """What a fault cost."""

    seconds: float
    """From the fault to the end of the next training step."""
    slurm: float
    """Of these, SLURM's: from asking for a new start, or from the fault where SLURM is who notices, to that start."""
    redone: int
    """Steps computed again."""

    @property
    def figures(self) -> dict[str, float]:
        """For the fault table."""
        return asdict(self)


@dataclass(frozen=True)
class Launched(Training):
    """Started with `--on slurm`, by the user's own command."""

    @property
    def site(self) -> Path:
        return self.directory.parent / "site"

    def submit(self, *options: str) -> str:
        """`pretrain launch --on slurm`; returns the job. Raises AssertionError with what it said."""
        done = self.pretrain("launch", str(self.path), "--on", "slurm", *options)
        assert done[0] == 0, done[1]
        found = re.search(r"queued as job ([\d, ]+):", done[1])
        assert found, done[1]
        return found[1].split(", ")[-1]

    def pretrain(self, *words: str) -> tuple[int, str]:
        """The exit code and the output of one of the project's commands."""
        done = self.cluster.login.run(["pretrain", *words], self.environment)
        return done.returncode, done.stdout + done.stderr

    # ---- what became of it

    def attempts(self) -> list[Attempt]:
        return read_attempts(self.directory)

    def outcomes(self) -> list[str | None]:
        return [attempt.outcome for attempt in self.attempts()]

    def until(self, happened: Callable[[], object], what: str, seconds: float = LONG) -> None:
        """Wait for it. Raises AssertionError with all that was said when it does not come, or cannot come any more."""

        def happened_or_over() -> bool:
            return bool(happened()) or (bool(self.attempts()) and self.attempts()[-1].gave_up != "")

        try:
            wait_for(happened_or_over, seconds, what, every=0.2)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.story()}") from None
        assert happened(), f"given up before {what}\n{self.story()}"

    def until_step(self, step: int, attempt: int = 1) -> Moment:
        """Wait until `attempt` has done `step`."""
        self.until(lambda: len(self.attempts()) >= attempt, f"attempt {attempt} to begin")
        begun = self.attempts()[attempt - 1].started or 0
        self.until(lambda: any(at > begun and done >= step for at, done in self.steps()), f"step {step}")
        return self.now()

    def until_finished(self, attempts: int | None = None) -> list[Attempt]:
        """Wait for the run's end, after so many attempts, and for its job's; nothing may be left of it."""
        self.until(lambda: "finished" in self.outcomes(), "the end of the run")
        self.until_gone()
        found = self.attempts()
        assert attempts in (None, len(found)), self.story()
        return found

    def until_gone(self) -> None:
        """Wait until no job is left in the queue, and no process on any machine."""
        wait_for(lambda: not self.cluster.squeue(), 60, "an empty queue", every=0.2)
        nothing_left(self.cluster)

    def story(self) -> str:
        """Everything that was said, for a failure's message."""
        logs, last = self.directory / "logs", f"attempt-{max(1, len(self.attempts())):03d}*"
        parts = [self.told()] if self.output.exists() else []
        for path in [self.directory / "attempts.jsonl", *sorted(logs.glob("job-*")), *sorted(logs.glob(last))]:
            if path.exists():
                parts.append(f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-12:]))
        for words in (
            ["squeue", "--states=all", "-o", "%i %T %r %N"],
            ["sinfo", "-N", "-p", "train", "-o", "%N %T %E"],
        ):
            said = self.cluster.client(*words)
            parts.append(f"--- {words[0]}\n{said.stdout}{said.stderr}")
        return "\n".join(parts)

    # ---- what it cost

    def steps(self) -> list[tuple[float, int]]:
        return read_steps(self.site)

    def now(self) -> Moment:
        steps = self.steps()
        return Moment(time.time(), steps[-1][1] if steps else 0)

    def when(self) -> Moment:
        """When the planted fault happened. Raises AssertionError when it did not."""
        self.until(lambda: when_it_happened(self.site), "the planted fault")
        at = when_it_happened(self.site)
        assert at is not None
        return Moment(at, max((step for done, step in self.steps() if done <= at), default=0))

    def cost(self, fault: Moment, attempt: int = 2, most: int = MOST) -> Cost:
        """Of what happened at `fault`, after which `attempt` went on. Raises AssertionError if it redid more steps."""
        went_on = self.attempts()[attempt - 1]
        assert went_on.started is not None and went_on.first_step is not None
        resumed = next(at for at, _ in self.steps() if at > went_on.started)
        reached = max(step for at, step in self.steps() if at < went_on.started)
        redone = max(0, reached - went_on.first_step)
        assert redone <= most, f"{redone} steps were redone"
        return Cost(resumed - fault.time, self._slurm(fault, attempt), redone)

    def _slurm(self, fault: Moment, attempt: int) -> float:
        """Seconds between asking for the job that made `attempt`, and its start."""
        before, after = self.attempts()[attempt - 2 : attempt]
        if not after.job:
            return 0.0
        started = _unix(self.cluster.job(int(after.job))["StartTime"])
        log = self.directory / "logs" / f"job-{before.job}.log"
        requeued = re.findall(r"CANCELLED AT (\S+) DUE TO JOB REQUEUE", log.read_text() if log.exists() else "")
        asked = [at for at in map(_unix, requeued) if fault.time - 1 <= at <= started]
        if not asked and before.ended and before.ended <= started and before.job != after.job:
            asked = [before.ended]  # another job was submitted
        return max(0.0, started - max(asked[-1] if asked else fault.time, fault.time))


def make_launched(
    cluster: Cluster,
    corpus: Path,
    name: str,
    nodes: int = 2,
    fault: Fault | None = None,
    step_seconds: float = 0.3,
    where: dict[str, Any] | None = None,
    **changes: Any,
) -> Launched:
    """The small run, one process on each node, with a checkpoint every EVERY steps. `where`: its cluster section."""
    made = make_training(cluster, corpus, name, **merge(SURVIVING, changes))
    section = merge({"nodes": nodes, "gpus": False, "cpus_per_gpu": 1}, where or {})
    site = write_site(made.directory.parent / "site", step_seconds, fault)
    return Launched(cluster, {**made.run, "cluster": section}, {**made.environment, "PYTHONPATH": site})


def _unix(text: str) -> float:
    """SLURM's local time in unix seconds."""
    return datetime.fromisoformat(text).timestamp() if text[:1].isdigit() else 0.0
