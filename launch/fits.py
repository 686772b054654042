"""Whether the run fits into the memory of its GPUs, asked on the login node. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launch.checks import Case, Check, DoubtError, settled
from pretrain.config.errors import ConfigError
from pretrain.config.hardware import Hardware
from pretrain.config.parallel import Parallel
from pretrain.config.summary import layout_line
from pretrain.config.units import size

if TYPE_CHECKING:
    from pretrain.planning.layouts.candidates import Space


def checks_of_memory(case: Case) -> list[Check]:
    """One, where the GPUs are known."""
    hardware = case.run.cluster.hardware
    return [("memory", lambda case: _memory(case, hardware))] if hardware else []


def _memory(case: Case, hardware: Hardware) -> str:
    """Every stage fits."""
    from pretrain.planning.error import MEMORY_ERROR
    from pretrain.planning.layouts.candidates import Space
    from pretrain.planning.layouts.nothing import too_big
    from pretrain.planning.layouts.plan import memory_of
    from pretrain.planning.layouts.search import job_of, with_vocabulary

    run = with_vocabulary(settled(case.run, case.run.cluster.nodes))
    space = Space(run, case.processes, run.cluster.gpus_per_node)
    job = job_of(run, space, hardware)
    stages = memory_of(job)
    if rule := too_big(job, stages):
        raise ConfigError.of("parallel", layout_line(run.parallel, case.processes), rule, _what_fits(space, hardware))
    most = max(stage.total for stage in stages)
    told = f"{size(most)} +-{MEMORY_ERROR:.0%} planned on the fullest GPU, {size(hardware.memory)} there"
    if most * (1 + MEMORY_ERROR) > hardware.memory:
        raise DoubtError(told)
    return told


def _what_fits(space: Space, hardware: Hardware) -> str:
    """The fastest layout on these GPUs that fits, or how many would be enough."""
    from pretrain.planning.layouts.nothing import enough_in_words
    from pretrain.planning.layouts.search import search

    free = space._replace(run=space.run.model_copy(update={"parallel": Parallel(auto=True)}))
    if plans := search(free, hardware, top=1):
        return f"this fits: {layout_line(plans[0].run.parallel, space.processes)}; or parallel: auto"
    return enough_in_words(free, hardware)
