"""`parallel: auto` settled by the planner where the cluster's hardware is known, else by the rule of config/auto.py.

A pure function of the run and the numbers of processes, so that the login node and every rank come to the same layout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretrain.config.auto import choose_layout
from pretrain.config.constraints import check_run
from pretrain.config.errors import ConfigError
from pretrain.config.run import Run

if TYPE_CHECKING:
    from pretrain.planning.layouts.candidates import Space


def settle(run: Run, processes: int, node_size: int | None = None) -> Run:
    """The run with its layout for `processes`, `node_size` of them on a node: as given, or chosen where auto.

    Chosen is the fastest that fits by more than the planner's error, where there is one: nobody looks at it before it
    runs. A layout that is given is not checked here (`check_run`). Raises ConfigError where none is valid and fits.
    """
    hardware = run.cluster.hardware
    if hardware is None or not run.parallel.auto:
        return choose_layout(run, processes, node_size)
    from pretrain.planning.error import MEMORY_ERROR
    from pretrain.planning.layouts.nothing import nothing_found
    from pretrain.planning.layouts.search import search

    space = _space(run, processes, node_size)
    roomy = hardware.model_copy(update={"memory": int(hardware.memory * (1 - MEMORY_ERROR))})
    if not (plans := search(space, roomy, top=1) or search(space, hardware, top=1)):
        raise nothing_found(space, hardware)
    return run.model_copy(update={"parallel": plans[0].run.parallel})


def can_settle(run: Run, processes: int, node_size: int | None = None) -> bool:
    """Whether there is a layout for `processes`, or the given one is valid; without a search where that is possible."""
    if run.cluster.hardware and run.parallel.auto:
        from pretrain.planning.layouts.nothing import fits_somehow

        if fits_somehow(_space(run, processes, node_size), run.cluster.hardware):
            return True
    try:
        check_run(settle(run, processes, node_size), processes, node_size)
    except ConfigError:
        return False
    return True


def _space(run: Run, processes: int, node_size: int | None) -> Space:
    from pretrain.planning.layouts.candidates import Space

    return Space(run, processes, node_size or run.cluster.gpus_per_node)
