"""Rules about parts of one's own: the path leads to a class, its arguments fit, and it can do what is asked of it."""

from __future__ import annotations

from pretrain.config import own
from pretrain.config.constraints.rule import Case, Constraint, Violations
from pretrain.config.counts import own_mlp
from pretrain.config.errors import ConfigError, Problem
from pretrain.config.own import Own
from pretrain.config.run import Run

CUT_BY_NAME = {("pretrain.model.layers", "MLP"), ("pretrain.model.layers", "GatedMLP")}


def _parts(run: Run) -> dict[str, tuple[Own, own.Seam, tuple[str, ...]]]:
    """Field -> part, where it goes, and the fields of the section that stand beside it."""
    found: dict[str, tuple[Own, own.Seam, tuple[str, ...]]] = {
        f"monitoring.sinks.{n}": (sink, own.SINK, ()) for n, sink in enumerate(run.monitoring.sinks)
    }
    for field in ("optimizer", "schedule"):
        section, seam = getattr(run, field), getattr(own, field.upper())
        if section.own:
            found[field] = (section.own, seam, tuple(section.keys() - set(section.OF_OTHERS)))
    if run.model.mlp:
        found["model.mlp"] = (run.model.mlp, own.MLP, ())
    return found


def _loads(case: Case) -> Violations:
    for field, (part, seam, known) in _parts(case.run).items():
        yield from part.problems(field, seam, known)


def _moments(case: Case) -> Violations:
    optimizer = case.run.optimizer
    if optimizer.own is None or optimizer.moments is not None:
        return
    if list(optimizer.own.problems("optimizer", own.OPTIMIZER)):
        return  # told by the rule above
    if not hasattr(optimizer.own.load("optimizer"), "moments"):
        rule = f"must say what {optimizer.own.path} keeps of each weight: the class has no attribute `moments`"
        yield Problem("optimizer.moments", None, rule, "moments: [exp_avg], or [] where it keeps nothing")


def _mlp_whole(case: Case) -> Violations:
    part, tensor = case.run.model.mlp, case.run.parallel.tensor
    if part is None or tensor == 1 or list(part.problems("model.mlp", own.MLP)):
        return
    bases = {(base.__module__, base.__name__) for base in getattr(part.load("model.mlp"), "__mro__", ())}
    if not bases & CUT_BY_NAME:
        rule = "must derive from pretrain.model.layers.MLP or GatedMLP to be cut over the tensor axis"
        yield Problem("model.mlp.class", part.path, rule, "parallel.tensor: 1, or derive from one of them")


def _mlp_parameters(case: Case) -> Violations:
    part = case.run.model.mlp
    if part is None or list(part.problems("model.mlp", own.MLP)):
        return
    try:
        buffers = [name for name, _ in own_mlp(case.run.model).named_buffers()]
    except ConfigError as error:
        yield from error.problems
        return
    if buffers:
        rule = f"must keep nothing but parameters, has the buffers {', '.join(buffers)}"
        yield Problem("model.mlp.class", part.path, rule, "make it an nn.Parameter, or compute it in forward")


OWN = (
    Constraint(
        "own-parts",
        "the path of an own part leads to a class that takes its arguments",
        "it is imported on each process, after the queue",
        _loads,
    ),
    Constraint(
        "own-optimizer-moments",
        "the moments of an own optimizer are known by name",
        "checkpoints hold them, and give them back under another layout",
        _moments,
    ),
    Constraint(
        "own-mlp-whole",
        "tensor > 1 => an own MLP derives from ours",
        "only layers named gate, up and down are known to be cut into columns and rows",
        _mlp_whole,
    ),
    Constraint(
        "own-mlp-parameters",
        "an own MLP is a torch module without buffers",
        "checkpoints hold parameters alone, and initial weights follow from their names",
        _mlp_parameters,
    ),
)
