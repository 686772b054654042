"""The constraint table: what a run and a number of processes must satisfy together, as data.

Each rule gives its reason and, where it is broken, the nearest valid settings. Runs in milliseconds, without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from pretrain.config.deepspeed import contradictions
from pretrain.config.errors import ConfigError, Problem
from pretrain.config.run import Batch, Run
from pretrain.config.units import BatchSize

Violations = Iterator[Problem]


@dataclass(frozen=True)
class Constraint:
    """One row of the table. `violations(run, processes)` yields what is wrong, or nothing."""

    name: str
    reason: str
    violations: Callable[[Run, int], Violations]


def check_run(run: Run, processes: int) -> None:
    """Apply every rule for `processes` data-parallel processes. Raises one ConfigError with all that is broken."""
    problems = [problem for constraint in CONSTRAINTS for problem in constraint.violations(run, processes)]
    if problems:
        raise ConfigError(problems)


def _whole_samples(run: Run, processes: int) -> Violations:
    for field, size in _sizes(run.batch):
        try:
            size.samples(run.sequence_length)
        except ValueError as error:
            yield Problem(field, size.model_dump(), str(error), "write one of the nearest sizes")


def _divisible(run: Run, processes: int) -> Violations:
    samples = _samples(run, run.batch.global_batch_size)
    unit = run.batch.micro_batch_size * processes
    if samples and samples % unit:
        near = [n for n in (samples // unit * unit, -(-samples // unit) * unit) if n]
        fitting = max(m for m in range(1, run.batch.micro_batch_size + 1) if samples % (m * processes) == 0 or m == 1)
        fix = f"global_batch_size: {' or '.join(map(str, near))} samples"
        if samples % (fitting * processes) == 0:
            fix += f", or micro_batch_size: {fitting}"
        product = f"{run.batch.micro_batch_size} x {processes}"
        rule = f"must be a multiple of micro_batch_size x data-parallel processes ({product})"
        yield Problem("batch.global_batch_size", samples, rule, fix)


def _ramp(run: Run, processes: int) -> Violations:
    ramp = run.batch.ramp
    if ramp is None or not all(_samples(run, size) for _, size in _sizes(run.batch)):
        return
    full = _samples(run, run.batch.global_batch_size)
    start, increment = _samples(run, ramp.start), _samples(run, ramp.increment or ramp.start)
    unit = run.batch.micro_batch_size * processes
    if start >= full:
        yield Problem("batch.ramp.start", start, f"must be below global_batch_size ({full})", "leave the ramp out")
    elif start % unit:
        fix = f"the smallest valid start is {unit} samples"
        rule = f"must be a multiple of micro_batch_size x data-parallel processes ({unit})"
        yield Problem("batch.ramp.start", start, rule, fix)
    elif increment % unit or (full - start) % increment:
        valid = [n for n in range(unit, full - start + 1, unit) if (full - start) % n == 0]
        nearest = min(valid, key=lambda n: abs(n - increment), default=None)
        rule = f"must divide global_batch_size - start ({full - start}) and be a multiple of {unit}"
        yield Problem("batch.ramp.increment", increment, rule, f"increment: {nearest}")


def _zero_bf16(run: Run, processes: int) -> Violations:
    if run.precision.compute == "bf16" and run.parallel.zero == 0:
        yield Problem("parallel.zero", 0, "must be 1, 2 or 3 with bf16", "parallel.zero: 1 or precision.compute: fp32")


def _schedule(run: Run, processes: int) -> Violations:
    decay = run.schedule.decay or run.train.tokens
    if run.schedule.name == "cosine" and run.schedule.warmup >= decay:
        rule = f"must be below the end of the decay ({decay:,} tokens)"
        yield Problem("schedule.warmup", run.schedule.warmup, rule, f"schedule.warmup: {decay // 100}")


def _betas(run: Run, processes: int) -> Violations:
    for index, beta in enumerate(run.optimizer.betas):
        if not 0 <= beta < 1:
            yield Problem(f"optimizer.betas.{index}", beta, "must be in [0, 1)", "GPT-3: 0.9 and 0.95")


def _mixtures(run: Run, processes: int) -> Violations:
    stages = {f"data.stages.{n}.mixture": stage.mixture for n, stage in enumerate(run.data.stages)}
    for field, mixture in {"data.mixture": run.data.mixture, **stages}.items():
        if mixture is not None and not any(mixture.values()):
            yield Problem(field, mixture, "needs a weight above 0", "for example web: 60")


def _weight_stages(run: Run, processes: int) -> Violations:
    before, length = -1, run.sequence_length
    for n, stage in enumerate(run.data.stages):
        field, tokens = f"data.stages.{n}.from_tokens", stage.from_tokens
        if tokens % length:
            near = f"{tokens // length * length} or {-(-tokens // length) * length}"
            yield Problem(field, tokens, f"must be whole samples of {length} tokens", near)
        if tokens <= before:
            yield Problem(field, tokens, "must be later than the stage before it", f"more than {before}")
        before = tokens


def _windows(run: Run, processes: int) -> Violations:
    windows = sorted(run.data.skip, key=lambda window: window.first_sample)
    for before, after in pairwise(windows):
        if before.first_sample + before.samples > after.first_sample:
            rule = f"overlaps the window that begins at {before.first_sample}"
            yield Problem("data.skip", after.first_sample, rule, "join the two into one window")


def _keep_every(run: Run, processes: int) -> Violations:
    keep = run.checkpoint.keep_every
    if keep and keep.unit == "seconds":
        yield Problem("checkpoint.keep_every", str(keep), "must be in steps or tokens", "for example 10B tokens")


def _deepspeed(run: Run, processes: int) -> Violations:
    if all(_samples(run, size) for _, size in _sizes(run.batch)):
        yield from contradictions(run, processes)


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


CONSTRAINTS = (
    Constraint("whole-samples", "a batch is served in whole samples of T tokens", _whole_samples),
    Constraint("batch-divides", "every data-parallel rank runs the same number of full micro-batches", _divisible),
    Constraint("ramp-divides", "each batch of the ramp is laid out like the full one; none is rounded", _ramp),
    Constraint("zero-bf16", "DeepSpeed's bf16 without ZeRO was measured 2e-2 off one fp32 process", _zero_bf16),
    Constraint("warmup-before-decay", "the cosine starts where the warm-up ends", _schedule),
    Constraint("betas", "a decay of 1 never forgets and divides by zero in the bias correction", _betas),
    Constraint("mixture-positive", "a share of nothing cannot be served", _mixtures),
    Constraint("weight-stages", "a mixture changes between two samples, in order", _weight_stages),
    Constraint("skip-apart", "a sample is left out once", _windows),
    Constraint("keep-every", "which checkpoints are kept must not depend on the clock", _keep_every),
    Constraint("deepspeed", "a setting has one home: what the YAML decides the passthrough may not", _deepspeed),
)
