"""What is said when no layout will do: the rule that all break, or the part that is too big and what would hold it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from pretrain.config.constraints import CONSTRAINTS, Case, find_problems
from pretrain.config.constraints.rule import divisors
from pretrain.config.counts import parameter_count
from pretrain.config.errors import ConfigError, Problem
from pretrain.config.hardware import Hardware
from pretrain.config.run import Run
from pretrain.config.summary import layout_line
from pretrain.config.units import size
from pretrain.config.widths import widths_of
from pretrain.planning.job import Job
from pretrain.planning.layouts.candidates import Space, candidates
from pretrain.planning.layouts.plan import memory_of
from pretrain.planning.layouts.search import job_of, with_vocabulary
from pretrain.planning.memory.stage import StageMemory, host_bytes, host_holds

NEAR = 33
"""Nodes by which a number differs that is named where none is valid."""
MOST_NODES = 256
"""Nodes up to which a number that is enough is looked for."""


def nothing_found(space: Space, hardware: Hardware) -> ConfigError:
    """Why `search` found nothing."""
    space = space._replace(run=with_vocabulary(space.run))
    if valid := list(_valid(_frugal(space))):
        return ConfigError([_too_big(space, hardware, valid)])
    return ConfigError(_broken(space))


def too_big(job: Job, stages: tuple[StageMemory, ...]) -> str | None:
    """The fullest stage and its biggest part in words, where it does not fit; or what the host is too small for."""
    hardware, pipe = job.hardware, max(range(len(stages)), key=lambda place: stages[place].total)
    fullest = stages[pipe]
    if fullest.total <= hardware.memory:
        if host_holds(job):
            return None
        held, whole = size(host_bytes(job)), size(hardware.host_memory or 0)
        return f"what is offloaded must fit into the {whole} of a node's own memory; it needs {held}"
    part = max(fullest._fields, key=lambda name: float(getattr(fullest, name)))
    needed = f"stage {pipe} needs {size(fullest.total)}, of that {size(getattr(fullest, part))} {part}"
    return f"each stage must fit into the {size(hardware.memory)} of one {hardware.gpu}; {needed}"


def smallest_enough(space: Space, hardware: Hardware) -> int | None:
    """The smallest number of GPUs, whole nodes where more than one, on which the run fits; None up to MOST_NODES."""
    node = space.node_size
    widths = widths_of(space.run)
    width = sum(widths) if space.run.parallel.offload == "none" else 0
    least = parameter_count(space.run.model).stored * width / hardware.memory  # ZeRO 3 at its best

    def first(counts: Iterable[int]) -> int | None:
        enough = (
            count for count in counts if count >= least and fits_somehow(space._replace(processes=count), hardware)
        )
        return next(enough, None)

    doubled = first((*divisors(node), *(node << power for power in range(1, MOST_NODES.bit_length()))))
    return first(range(doubled // 2 + node - doubled // 2 % node, doubled, node)) or doubled if doubled else None


def enough_in_words(space: Space, hardware: Hardware) -> str:
    """What would do: more GPUs, or fewer of them with the optimizer on the host."""
    enough = smallest_enough(space, hardware)
    fixes = [f"{enough} GPUs"] if enough else []
    if "offload" not in space.run.parallel.model_fields_set:
        parallel = space.run.parallel.model_copy(update={"offload": "optimizer"})
        with_host = smallest_enough(space._replace(run=space.run.model_copy(update={"parallel": parallel})), hardware)
        fixes += [f"{with_host} GPUs with parallel.offload: optimizer"] if with_host and with_host != enough else []
    return ", or ".join(fixes) or "a GPU with more memory, a smaller micro_batch_size, or a smaller model"


def _frugal(space: Space) -> Space:
    """Only what saves most memory, of what is not given."""
    given = space.run.parallel.model_fields_set
    saving = {"recompute": "full", "offload": "none", "schedule": "1f1b", "sequence_parallel": None}
    update = {name: value for name, value in saving.items() if name not in given}
    run = space.run.model_copy(update={"parallel": space.run.parallel.model_copy(update=update)})
    if space.free_micro_batch:
        run = run.model_copy(update={"batch": run.batch.model_copy(update={"micro_batch_size": 1})})
    return Space(run, space.processes, space.node_size)


def _valid(space: Space) -> Iterator[Run]:
    """Layouts that satisfy the constraint table."""
    return (run for run in candidates(space) if not find_problems(run, space.processes, space.together))


def fits_somehow(space: Space, hardware: Hardware) -> bool:
    """Whether one of the layouts that save most memory fits: much sooner known than which is the fastest."""
    space = _frugal(space._replace(run=with_vocabulary(space.run)))
    jobs = (job_of(run, space, hardware) for run in _valid(space))
    return any(too_big(job, memory_of(job)) is None for job in jobs)


def _too_big(space: Space, hardware: Hardware, valid: list[Run]) -> Problem:
    rule = why_too_big(space, hardware, valid)
    return Problem("GPUs", space.processes, rule, enough_in_words(space, hardware))


def why_too_big(space: Space, hardware: Hardware, valid: list[Run]) -> str:
    """Of the layout that needs least."""
    jobs = [job_of(run, space, hardware) for run in valid]
    job, stages = min(((job, memory_of(job)) for job in jobs), key=lambda pair: max(part.total for part in pair[1]))
    layout = layout_line(job.run.parallel, space.processes)
    return f"{too_big(job, stages)}, with the least that there is: {layout}"


def why_nothing(space: Space, hardware: Hardware) -> str:
    """The rule alone, for a line of a table."""
    space = space._replace(run=with_vocabulary(space.run))
    if valid := list(_valid(_frugal(space))):
        return why_too_big(space, hardware, valid)
    return _broken(space)[0].rule


def _broken(space: Space) -> list[Problem]:
    """The rules that the nearest layout breaks, with their reasons."""
    runs = list(candidates(space)) or [_as_given(space)]
    nearest = min(runs, key=lambda run: len(find_problems(run, space.processes, space.together)))
    case = Case(nearest, space.processes, space.together)
    found = [
        replace(problem, rule=f"{problem.rule}: {constraint.reason}")
        for constraint in CONSTRAINTS
        for problem in constraint.violations(case)
    ]
    if not (counts := _counts_near(space)):
        return found
    others = f"{found[0].fix}; or {' or '.join(map(str, counts))} GPUs"
    return [replace(found[0], fix=others), *found[1:]]


def _counts_near(space: Space) -> list[int]:
    """The nearest numbers of whole nodes below and above for which some layout is valid."""
    nodes = space.processes // space.node_size
    ways = (range(nodes, max(0, nodes - NEAR), -1), range(nodes + 1, nodes + NEAR))
    there = ((space._replace(processes=count * space.node_size) for count in way) for way in ways)
    found = (next((other.processes for other in way if any(_valid(_frugal(other)))), None) for way in there)
    return [count for count in found if count]


def _as_given(space: Space) -> Run:
    return space.run.model_copy(update={"parallel": space.run.parallel.model_copy(update={"auto": False})})
