"""One verification: the scaled run on one process, then in each layout, and how they compare."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pretrain.config.precision import Format
from pretrain.config.run import Run
from pretrain.verification.compare import TOLERANCE, Tolerance, Verdict, compare
from pretrain.verification.layouts import Trial, chosen_trials, default_trials, reference, settle, small_axes
from pretrain.verification.processes import Before, DiedError, run_trial
from pretrain.verification.result import Result
from pretrain.verification.scale import small_run


@dataclass(frozen=True)
class Plan:
    """What a verification will run; nothing has been started."""

    run: Run
    """As it was asked for."""
    small: Run
    trials: list[Trial]
    steps: int


@dataclass(frozen=True)
class Outcome:
    """What became of one layout."""

    trial: Trial
    tolerance: Tolerance
    seconds: float
    verdict: Verdict | None
    """None where a process died."""
    died: str = ""
    """What is known of it then."""

    @property
    def passed(self) -> bool:
        """Whether the layout gives what one process gives."""
        return self.verdict is not None and self.verdict.passed


def make_plan(run: Run, specs: Sequence[str] = (), processes: int = 8, steps: int = 20, every: bool = False) -> Plan:
    """The layouts that `specs` name, else the requested one and its neighbours; `every`: all of them, not four.

    Raises ConfigError when the run, or a layout that was named, breaks a rule.
    """
    settled = settle(run)
    axes = small_axes(settled, processes)
    small = small_run(settled, axes, steps)
    if specs:
        trials = chosen_trials(small, specs, processes)
    else:
        trials = default_trials(small, axes, processes, run.precision.compute, None if every else 4)
    return Plan(run, small, trials, steps)


def run_plan(plan: Plan, before: Before | None = None) -> Iterator[Outcome]:
    """The outcome of each layout as it ends, compared with one process in the same number format.

    Every process calls `before` first. Raises DiedError when that one process dies.
    """
    alone: dict[Format, Result] = {}
    with tempfile.TemporaryDirectory(prefix="pretrain-verify-") as name:
        directory = Path(name)
        for number, trial in enumerate(plan.trials):
            compute = trial.run.precision.compute
            if compute not in alone:
                one = reference(plan.small, compute)
                alone[compute] = run_trial(one, plan.steps, directory / compute, before)
            yield _outcome(trial, plan.steps, directory / str(number), alone[compute], before)


def _outcome(trial: Trial, steps: int, directory: Path, alone: Result, before: Before | None) -> Outcome:
    started = time.monotonic()
    tolerance = TOLERANCE[trial.run.precision.compute]
    try:
        verdict = compare(alone, run_trial(trial, steps, directory, before), tolerance)
    except DiedError as error:
        return Outcome(trial, tolerance, time.monotonic() - started, None, str(error))
    return Outcome(trial, tolerance, time.monotonic() - started, verdict)
