"""Rules about batches: every one of the run is laid out over the data axis in full micro-batches."""

from __future__ import annotations

from collections.abc import Iterator

from pretrain.config.constraints.rule import Case, Constraint, Violations, around, multiples
from pretrain.config.errors import Problem
from pretrain.config.run import Batch, Run
from pretrain.config.units import BatchSize


def whole_batches(run: Run) -> bool:
    """Whether every batch is whole samples; where not, one row says so and the others keep silent."""
    return all(_samples(run, size) for _, size in _sizes(run.batch))


def _whole_samples(case: Case) -> Violations:
    for field, size in _sizes(case.run.batch):
        try:
            size.samples(case.run.sequence_length)
        except ValueError as error:
            yield Problem(field, size.model_dump(), str(error), "write one of the nearest sizes")


def _divides(case: Case) -> Violations:
    samples, unit = _samples(case.run, case.run.batch.global_batch_size), _unit(case)
    if case.fits and samples % unit:
        fix = f"global_batch_size: {multiples(samples, unit)} samples"
        if micro := _largest_micro(case, samples, 1):
            fix += f", or micro_batch_size: {micro}"
        product = f"{case.run.batch.micro_batch_size} x {case.layout.data}"
        rule = f"must be a multiple of micro_batch_size x data-parallel processes ({product})"
        yield Problem("batch.global_batch_size", samples, rule, fix)


def _ramp(case: Case) -> Violations:
    run, ramp, unit = case.run, case.run.batch.ramp, _unit(case)
    full = _samples(run, run.batch.global_batch_size)
    if ramp is None or not whole_batches(run) or not case.fits or full % unit:
        return
    start, increment = _samples(run, ramp.start), _samples(run, ramp.increment or ramp.start)
    if start >= full:
        yield Problem("batch.ramp.start", start, f"must be below global_batch_size ({full})", "leave the ramp out")
    elif start % unit:
        rule = f"must be a multiple of micro_batch_size x data-parallel processes ({unit})"
        yield Problem("batch.ramp.start", start, rule, _other_start(case, start, unit))
    elif increment % unit or (full - start) % increment:
        valid = (n for n in range(unit, full - start + 1, unit) if (full - start) % n == 0)
        nearest = " or ".join(map(str, around(increment, valid)))
        rule = f"must divide global_batch_size - start ({full - start}) and be a multiple of {unit}"
        yield Problem("batch.ramp.increment", increment, rule, f"increment: {nearest}")


def _dualpipev(case: Case) -> Violations:
    """The ramp grows from its start to the full batch, so all between are large enough when both are."""
    parallel, unit = case.run.parallel, _unit(case)
    least = 2 * parallel.pipe
    if parallel.schedule != "dualpipev" or parallel.pipe == 1 or not case.fits:
        return
    for field, size in _sizes(case.run.batch):
        samples = _samples(case.run, size)
        if not samples or samples >= least * unit or field == "batch.ramp.increment":
            continue
        start = field == "batch.ramp.start"
        fix = _other_start(case, samples, least * unit) if start else f"{field}: {least * unit} samples"
        if micro := _largest_micro(case, samples, least):
            fix += f", or micro_batch_size: {micro}"
        rule = f"must be at least 2 x pipe = {least} micro-batches of {unit} samples"
        yield Problem(field, samples, rule, f"{fix}, or parallel.schedule: 1f1b")


def _other_start(case: Case, start: int, least: int) -> str:
    """The nearest starts of the ramp, from `least` samples on, that its other sizes allow."""
    run, ramp, unit = case.run, case.run.batch.ramp, _unit(case)
    full = _samples(run, run.batch.global_batch_size)
    step = _samples(run, ramp.increment) if ramp and ramp.increment else None
    valid = [n for n in range(least, full, unit) if (full - n) % (step or n) == 0]
    return f"start: {' or '.join(map(str, around(start, valid)))}" if valid else "leave the ramp out"


def _largest_micro(case: Case, samples: int, micro_batches: int) -> int | None:
    """The largest micro-batch up to the one given that cuts `samples` into at least so many on each data rank."""
    data = case.layout.data
    sizes = range(case.run.batch.micro_batch_size, 0, -1)
    return next((n for n in sizes if samples % (n * data) == 0 and samples >= micro_batches * n * data), None)


def _unit(case: Case) -> int:
    """Samples of one micro-batch on all data ranks."""
    return case.run.batch.micro_batch_size * case.layout.data


def _sizes(batch: Batch) -> Iterator[tuple[str, BatchSize]]:
    yield "batch.global_batch_size", batch.global_batch_size
    if batch.ramp:
        yield "batch.ramp.start", batch.ramp.start
        if batch.ramp.increment:
            yield "batch.ramp.increment", batch.ramp.increment


def _samples(run: Run, size: BatchSize) -> int:
    """The size in samples, 0 where it is not whole (which another row reports)."""
    try:
        return size.samples(run.sequence_length)
    except ValueError:
        return 0


BATCH = (
    Constraint(
        "whole-samples",
        "each batch % sequence length = 0, in tokens",
        "a batch is served in whole samples of T tokens",
        _whole_samples,
    ),
    Constraint(
        "batch-divides",
        "global batch % (micro-batch x data) = 0",
        "every data-parallel rank runs the same number of full micro-batches",
        _divides,
    ),
    Constraint(
        "ramp-divides",
        "start < global batch; start, increment % (micro-batch x data) = 0; (global batch - start) % increment = 0",
        "each batch of the ramp is laid out like the full one; none is rounded",
        _ramp,
    ),
    Constraint(
        "dualpipev-micro-batches",
        "with dualpipev, each batch / (micro-batch x data) >= 2 x pipe",
        "its filling and draining take that many micro-batches; DeepSpeed refuses fewer",
        _dualpipev,
    ),
)
