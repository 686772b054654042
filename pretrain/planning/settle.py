"""`parallel: auto` settled by the planner where the cluster's hardware is known, else by the rule of config/auto.py.

A pure function of the run and the numbers of processes, so that the login node and every rank come to the same layout.
"""

from __future__ import annotations

from pretrain.config.auto import choose_layout
from pretrain.config.run import Run


def settle(run: Run, processes: int, node_size: int | None = None) -> Run:
    """The run with its layout for `processes`, `node_size` of them on a node: as given, or chosen where auto.

    A layout that is given is not checked here (`check_run`). Raises ConfigError where none is valid and fits.
    """
    hardware = run.cluster.hardware
    if hardware is None or not run.parallel.auto:
        return choose_layout(run, processes, node_size)
    from pretrain.planning.candidates import Space
    from pretrain.planning.nothing import nothing_found
    from pretrain.planning.search import search

    space = Space(run, processes, node_size or run.cluster.gpus_per_node)
    if not (plans := search(space, hardware, top=1)):
        raise nothing_found(space, hardware)
    return run.model_copy(update={"parallel": plans[0].run.parallel})
