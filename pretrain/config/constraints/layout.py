"""Rules about the grid of processes, the pipeline, ZeRO and what saves memory."""

from __future__ import annotations

from pretrain.config.constraints.rule import Case, Constraint, Violations, closest, divisors, multiples
from pretrain.config.constraints.tensor import tensor_fits
from pretrain.config.errors import Problem
from pretrain.config.stages import stage_count


def _world(case: Case) -> Violations:
    parallel = case.run.parallel
    if case.fits:
        return
    sizes = divisors(case.processes)
    grids = [(t, p) for t in sizes if tensor_fits(case, t) for p in sizes if case.processes % (t * p) == 0]
    grids = [(t, p) for t, p in grids if _stages(case, p) <= case.run.model.layers]
    tensor, pipe = min(grids, key=lambda grid: abs(grid[0] - parallel.tensor) + abs(grid[1] - parallel.pipe))
    unit = parallel.tensor * parallel.pipe
    rule = f"tensor x pipe ({parallel.tensor} x {parallel.pipe}) must divide the processes ({case.processes})"
    fix = f"parallel.tensor: {tensor}, parallel.pipe: {pipe}; or {multiples(case.processes, unit)} processes"
    yield Problem("parallel", {"tensor": parallel.tensor, "pipe": parallel.pipe}, rule, fix)


def _pipe_layers(case: Case) -> Violations:
    parallel, layers = case.run.parallel, case.run.model.layers
    stages = stage_count(parallel)
    if stages > layers:
        rule = f"its stages ({stages}) must not be more than model.layers ({layers})"
        fix = f"parallel.pipe: {closest(parallel.pipe, _pipes(case))}"
        yield Problem("parallel.pipe", parallel.pipe, rule, fix)


def _pipe_zero(case: Case) -> Violations:
    parallel = case.run.parallel
    if parallel.pipe > 1 and parallel.zero != 1:
        rule = f"must be 1 with a pipeline (parallel.pipe is {parallel.pipe})"
        yield Problem("parallel.zero", parallel.zero, rule, "parallel.zero: 1 or parallel.pipe: 1")


def _dualpipev(case: Case) -> Violations:
    parallel = case.run.parallel
    if parallel.schedule == "dualpipev" and parallel.pipe == 1:
        pipes = [pipe for pipe in _pipes(case) if pipe > 1]
        fix = "parallel.schedule: 1f1b" + (f" or parallel.pipe: {pipes[0]}" if pipes else "")
        yield Problem("parallel.schedule", "dualpipev", "needs parallel.pipe above 1", fix)


def _zero_half(case: Case) -> Violations:
    run = case.run
    if run.precision.compute != "fp32" and run.parallel.zero == 0:
        rule = f"must be {'1' if run.parallel.pipe > 1 else '1, 2 or 3'} with {run.precision.compute}"
        yield Problem("parallel.zero", 0, rule, "parallel.zero: 1 or precision.compute: fp32")


def _compile(case: Case) -> Violations:
    parallel = case.run.parallel
    if case.run.train.compile and parallel.zero == 3:
        yield Problem("train.compile", True, "needs ZeRO 0, 1 or 2", "train.compile: false or parallel.zero: 2")


def _offload(case: Case) -> Violations:
    parallel = case.run.parallel
    if parallel.offload == "all" and parallel.zero != 3:
        fix = "parallel.offload: optimizer" + (" or parallel.zero: 3" if parallel.pipe == 1 else "")
        yield Problem("parallel.offload", "all", f"needs ZeRO 3, parallel.zero is {parallel.zero}", fix)
    if parallel.offload == "optimizer" and parallel.zero == 0:
        fix = "parallel.zero: 1 or parallel.offload: none"
        yield Problem("parallel.offload", "optimizer", "needs ZeRO, parallel.zero is 0", fix)


def _recompute_every(case: Case) -> Violations:
    parallel, layers = case.run.parallel, case.run.model.layers
    every = parallel.recompute_every
    if every > 1 and parallel.recompute != "full":
        fix = "parallel.recompute: full or parallel.recompute_every: 1"
        rule = f"needs recompute: full, parallel.recompute is {parallel.recompute}"
        yield Problem("parallel.recompute_every", every, rule, fix)
    if every > layers:
        fix = f"parallel.recompute_every: {layers}"
        yield Problem("parallel.recompute_every", every, f"must not exceed model.layers ({layers})", fix)


def _pipes(case: Case) -> list[int]:
    """Sizes of the pipe axis that processes and layers allow; 1 always is."""
    return [n for n in divisors(case.free(case.run.parallel.tensor)) if _stages(case, n) <= case.run.model.layers]


def _stages(case: Case, pipe: int) -> int:
    return stage_count(case.run.parallel.model_copy(update={"pipe": pipe}))


LAYOUT = (
    Constraint(
        "world",
        "processes % (tensor x pipe) = 0",
        "every process has one place on the grid pipe x data x tensor; none is left over",
        _world,
    ),
    Constraint(
        "pipe-layers",
        "stages <= layers; dualpipev has 2 x pipe stages",
        "with more stages than blocks some would do next to nothing and all would wait in a longer pipeline",
        _pipe_layers,
    ),
    Constraint(
        "pipe-zero",
        "pipe > 1 needs zero: 1",
        "DeepSpeed refuses 2 and 3, which would exchange gradients again after each micro-batch in flight; with 0 the "
        "gradient norm that it clips by was measured 7.4e-4 off",
        _pipe_zero,
    ),
    Constraint(
        "dualpipev-pipe",
        "schedule: dualpipev needs pipe > 1",
        "it folds a pipeline in two, so that its first and its last stage share a process",
        _dualpipev,
    ),
    Constraint(
        "zero-half",
        "precision.compute: bf16 or fp16 needs zero >= 1",
        "DeepSpeed's bf16 without ZeRO was measured 2e-2 off one fp32 process; its fp16 divides gradients by a loss "
        "scale that it never multiplied the loss with (norm 4,096 times too small, loss 7e-3 off)",
        _zero_half,
    ),
    Constraint(
        "compile-zero",
        "train.compile needs zero <= 2",
        "ZeRO 3 gathers weights in hooks between the layers of a block: one came out in 16 pieces, and torch.compile "
        "gave up at its limit of recompilations",
        _compile,
    ),
    Constraint(
        "offload-zero",
        "offload: optimizer needs zero >= 1; offload: all needs zero: 3",
        "only what ZeRO has cut can be moved to the host: optimizer state from 1 on, parameters at 3",
        _offload,
    ),
    Constraint(
        "recompute-every",
        "recompute_every > 1 needs recompute: full; recompute_every <= layers",
        "it counts whole blocks, and one that is never reached would recompute nothing",
        _recompute_every,
    ),
)
