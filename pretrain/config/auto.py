"""`parallel: auto` where the hardware is not known: a layout by a rule that can be told in a sentence.

Where it is known, the planner searches (planning/layouts/settle.py).

Of all layouts that satisfy the constraint table and whose model states fit, the one with the fewest processes per copy
of the model; of those the one with the most on the tensor axis, inside a node, and the fewest in the pipeline; of those
the lowest ZeRO stage from 1 on. ZeRO 3 comes last: it gathers every layer over the data axis in each micro-batch.
"""

from __future__ import annotations

from math import ceil

from pretrain.config.constraints import find_problems
from pretrain.config.constraints.rule import divisors
from pretrain.config.counts import parameter_count
from pretrain.config.errors import ConfigError, Problem
from pretrain.config.layout import layout_of
from pretrain.config.parallel import Parallel
from pretrain.config.run import Run
from pretrain.config.units import size
from pretrain.config.widths import Widths, widths_held

STATES_BUDGET = 48e9
"""Bytes that model states may take on a process: 60% of an A100's 80 GB. Activations and buffers have the rest."""
NODE_SIZE = 8
"""Processes of a node where nobody says: the GPUs of a DGX."""
VOCABULARY = 50_257
"""GPT-2's, for the estimate while the tokenizer is not known."""
MORE_PROCESSES = 128
"""How many times the processes are tried when a model does not fit, to name a number on which it does."""


def choose_layout(run: Run, processes: int, node_size: int | None = None) -> Run:
    """The run with its layout settled for `processes`, `node_size` of them on a node: as given, or chosen where auto.

    A layout that is given is not checked here (`check_run`); a chosen one satisfies every rule. Raises ConfigError with
    what is wrong with the nearest layout when there is none.
    """
    if not run.parallel.auto:
        return run
    if chosen := _first_valid(run, processes, node_size):
        return chosen
    fitting = [candidate for candidate in _candidates(run, processes, node_size) if _fits(candidate, processes)]
    if not fitting:
        raise ConfigError([_too_large(run, processes, node_size)])
    fewest = min((find_problems(candidate, processes, node_size) for candidate in fitting), key=len)
    raise ConfigError(fewest)


def state_bytes(run: Run, processes: int, widths: Widths | None = None) -> float:
    """Bytes of parameters, gradients and optimizer state on the process that holds most.

    Rajbhandari et al. 2020, section 3: stage 1 divides the optimizer state by the data axis, 2 also the gradients, 3
    all. Parameters of a process are its blocks and, to be on
    the safe side, the whole embedding and head, over the tensor axis. What is offloaded takes none.
    """
    parallel = run.parallel
    weight, gradient, state = widths or widths_held(run)
    weight = 0 if parallel.offload == "all" else weight
    state = 0 if parallel.offload != "none" else state
    data = layout_of(parallel, processes).data
    share = [1 / data if parallel.zero >= stage else 1.0 for stage in (1, 2, 3)]
    return _parameters(run) * (state * share[0] + gradient * share[1] + weight * share[2])


def _parameters(run: Run) -> float:
    model = run.model if run.model.vocab_size else run.model.model_copy(update={"vocab_size": VOCABULARY})
    count = parameter_count(model)
    blocks = count.blocks / model.layers * ceil(model.layers / run.parallel.pipe)
    return (blocks + count.stored - count.blocks) / run.parallel.tensor


def _first_valid(run: Run, processes: int, node_size: int | None) -> Run | None:
    for candidate in _candidates(run, processes, node_size):
        if _fits(candidate, processes) and not find_problems(candidate, processes, node_size):
            return candidate
    return None


def _candidates(run: Run, processes: int, node_size: int | None) -> list[Run]:
    """All layouts with the fields that were given, best first: tensor divides a node, and the grid the processes."""
    given = run.parallel
    fixed: dict[str, list[int]] = {name: [getattr(given, name)] for name in given.model_fields_set}
    layouts = [
        given.model_copy(update={"auto": False, "tensor": tensor, "pipe": pipe, "zero": zero})
        for tensor in fixed.get("tensor", [n for n in divisors(node_size or NODE_SIZE) if processes % n == 0])
        for pipe in fixed.get("pipe", divisors(max(1, processes // tensor)))
        for zero in fixed.get("zero", [1, 2, 3])
    ]
    return [run.model_copy(update={"parallel": layout}) for layout in sorted(layouts, key=_order)]


def _order(parallel: Parallel) -> tuple[bool, int, int, int]:
    return parallel.zero == 3, parallel.tensor * parallel.pipe, parallel.pipe, parallel.zero


def _fits(run: Run, processes: int) -> bool:
    return state_bytes(run, processes) <= STATES_BUDGET


def _too_large(run: Run, processes: int, node_size: int | None) -> Problem:
    """Said of the layout that needs least, with the smallest multiple of the processes that is enough."""
    least = min(_candidates(run, processes, node_size), key=lambda candidate: state_bytes(candidate, processes))
    needed = size(state_bytes(least, processes))
    layout = f"{layout_of(least.parallel, processes)}, ZeRO {least.parallel.zero}"
    rule = f"model states must fit into {size(STATES_BUDGET)} a process; {layout} needs {needed}"
    fixes = ["give tensor, pipe and zero"]
    offloaded = run.model_copy(update={"parallel": run.parallel.model_copy(update={"offload": "optimizer"})})
    if run.parallel.offload == "none" and _first_valid(offloaded, processes, node_size):
        fixes.insert(0, "parallel.offload: optimizer")
    more = (n * processes for n in range(2, MORE_PROCESSES) if _first_valid(run, n * processes, node_size))
    if enough := next(more, None):
        fixes.insert(0, f"{enough} processes")
    return Problem("parallel", "auto", rule, ", or ".join(fixes))
