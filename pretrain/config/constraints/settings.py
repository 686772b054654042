"""Rules that hold on any layout: mixture, checkpoints, the passthrough to DeepSpeed."""

from __future__ import annotations

from itertools import pairwise

from pretrain.config.constraints.batch import whole_batches
from pretrain.config.constraints.rule import Case, Constraint, Violations
from pretrain.config.deepspeed import contradictions
from pretrain.config.errors import Problem


def _mixtures(case: Case) -> Violations:
    data = case.run.data
    stages = {f"data.stages.{n}.mixture": stage.mixture for n, stage in enumerate(data.stages)}
    for field, mixture in {"data.mixture": data.mixture, **stages}.items():
        if mixture is not None and not any(mixture.values()):
            yield Problem(field, mixture, "needs a weight above 0", "for example web: 60")


def _weight_stages(case: Case) -> Violations:
    before, length = -1, case.run.sequence_length
    for n, stage in enumerate(case.run.data.stages):
        field, tokens = f"data.stages.{n}.from_tokens", stage.from_tokens
        if tokens % length:
            near = f"{tokens // length * length} or {-(-tokens // length) * length}"
            yield Problem(field, tokens, f"must be whole samples of {length} tokens", near)
        if tokens <= before:
            yield Problem(field, tokens, "must be later than the stage before it", f"more than {before}")
        before = tokens


def _windows(case: Case) -> Violations:
    windows = sorted(case.run.data.skip, key=lambda window: window.first_sample)
    for before, after in pairwise(windows):
        if before.first_sample + before.samples > after.first_sample:
            rule = f"overlaps the window that begins at {before.first_sample}"
            yield Problem("data.skip", after.first_sample, rule, "join the two into one window")


def _keep_every(case: Case) -> Violations:
    keep = case.run.checkpoint.keep_every
    if keep and keep.unit == "seconds":
        yield Problem("checkpoint.keep_every", str(keep), "must be in steps or tokens", "for example 10B tokens")


def _deepspeed(case: Case) -> Violations:
    if whole_batches(case.run) and case.fits:
        yield from contradictions(case.run, case.processes)


SETTINGS = (
    Constraint(
        "mixture-positive",
        "every mixture has a weight > 0",
        "a share of nothing cannot be served",
        _mixtures,
    ),
    Constraint(
        "weight-stages",
        "from_tokens % sequence length = 0, each later than the one before",
        "a mixture changes between two samples, in order",
        _weight_stages,
    ),
    Constraint(
        "skip-apart",
        "windows of data.skip do not overlap",
        "a sample is left out once",
        _windows,
    ),
    Constraint(
        "keep-every",
        "keep_every is in steps or tokens",
        "which checkpoints are kept must not depend on the clock",
        _keep_every,
    ),
    Constraint(
        "deepspeed",
        "the section deepspeed only adds",
        "a setting has one home: what the YAML decides the passthrough may not",
        _deepspeed,
    ),
)
