"""The constraint table: what a run and a number of processes must satisfy together, as data.

Each rule gives its condition, its reason and, where it is broken, the nearest valid settings. Runs in milliseconds,
without torch. `pretrain config constraints` prints the table; docs/constraints.md is that page.
"""

from __future__ import annotations

from pretrain.config.constraints.batch import BATCH
from pretrain.config.constraints.layout import LAYOUT
from pretrain.config.constraints.monitoring import MONITORING
from pretrain.config.constraints.own import OWN
from pretrain.config.constraints.rule import Case, Constraint
from pretrain.config.constraints.settings import SETTINGS
from pretrain.config.constraints.tensor import TENSOR
from pretrain.config.constraints.update import UPDATE
from pretrain.config.errors import ConfigError, Problem
from pretrain.config.run import Run

__all__ = ["CONSTRAINTS", "Case", "Constraint", "check_run", "find_problems"]

CONSTRAINTS: tuple[Constraint, ...] = (*LAYOUT, *TENSOR, *BATCH, *UPDATE, *SETTINGS, *OWN, *MONITORING)


def check_run(run: Run, processes: int, node_size: int | None = None) -> None:
    """Apply every rule to `run` on `processes` processes, `node_size` of them on each node where that is known.

    The layout must be settled (`choose_layout`). Raises one ConfigError with all that is broken.
    """
    if run.parallel.auto:
        rule = f"must be settled for {processes} processes before the rules can be applied"
        raise ConfigError.of("parallel.auto", True, rule, "call choose_layout first, or give tensor, pipe and zero")
    if problems := find_problems(run, processes, node_size):
        raise ConfigError(problems)


def find_problems(run: Run, processes: int, node_size: int | None = None) -> list[Problem]:
    """What is wrong with `run`, in the order of the table; empty where it is valid."""
    case = Case(run, processes, node_size)
    return [problem for constraint in CONSTRAINTS for problem in constraint.violations(case)]
