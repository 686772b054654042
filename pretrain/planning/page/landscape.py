"""Layouts around a plan, also those that do not fit: what the map of layouts shows."""

from __future__ import annotations

from dataclasses import replace

from pretrain.config.constraints import find_problems
from pretrain.config.layout import layout_of
from pretrain.config.parallel import Parallel
from pretrain.planning.layouts.candidates import Space, candidates
from pretrain.planning.layouts.plan import Plan, plan_of

MOST = 120
"""Layouts, evenly taken from all, so that a page takes a second."""


def landscape(best: Plan) -> list[Plan]:
    """Other sizes of tensor, pipe and micro-batch, and other recompute, on as many GPUs as `best` has."""
    job = best.job
    given = {"sequence_parallel": None, "offload": best.run.parallel.offload}
    run = best.run.model_copy(update={"parallel": Parallel.model_validate(given)})
    space = Space(run, job.layout.processes, job.node_size, free_micro_batch=True)
    found = [one for one in candidates(space) if not find_problems(one, space.processes, space.together)]
    every = max(1, -(-len(found) // MOST))
    return [plan_of(replace(job, run=one, layout=layout_of(one.parallel, space.processes))) for one in found[::every]]
