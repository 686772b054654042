"""Rules about parts of one's own: the path leads to a class, its arguments fit, and it can do what is asked of it."""

from __future__ import annotations

from pretrain.config import own
from pretrain.config.constraints.rule import Case, Constraint, Violations
from pretrain.config.errors import Problem
from pretrain.config.own import Own
from pretrain.config.run import Run

CUT_BY_NAME = {("pretrain.model.layers", "MLP"), ("pretrain.model.layers", "GatedMLP")}


def _parts(run: Run) -> dict[str, tuple[Own, own.Seam, tuple[str, ...]]]:
    """Field -> part, where it goes, and the fields of the section that stand beside it."""
    found: dict[str, tuple[Own, own.Seam, tuple[str, ...]]] = {
        f"monitoring.sinks.{n}": (sink, own.SINK, ()) for n, sink in enumerate(run.monitoring.sinks)
    }
    if run.model.mlp:
        found["model.mlp"] = (run.model.mlp, own.MLP, ())
    return found


def _loads(case: Case) -> Violations:
    for field, (part, seam, known) in _parts(case.run).items():
        yield from part.problems(field, seam, known)


def _mlp_whole(case: Case) -> Violations:
    part, tensor = case.run.model.mlp, case.run.parallel.tensor
    if part is None or tensor == 1 or list(part.problems("model.mlp", own.MLP)):
        return
    bases = {(base.__module__, base.__name__) for base in getattr(part.load("model.mlp"), "__mro__", ())}
    if not bases & CUT_BY_NAME:
        rule = "must derive from pretrain.model.layers.MLP or GatedMLP to be cut over the tensor axis"
        yield Problem("model.mlp.class", part.path, rule, "parallel.tensor: 1, or derive from one of them")


OWN = (
    Constraint(
        "own-parts",
        "the path of an own part leads to a class that takes its arguments",
        "it is imported on each process, after the queue",
        _loads,
    ),
    Constraint(
        "own-mlp-whole",
        "tensor > 1 => an own MLP derives from ours",
        "only layers named gate, up and down are known to be cut into columns and rows",
        _mlp_whole,
    ),
)
