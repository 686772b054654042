"""Rules about the update: schedule and optimizer."""

from __future__ import annotations

from pretrain.config.constraints.rule import Case, Constraint, Violations
from pretrain.config.errors import Problem
from pretrain.config.parallel import Parallel
from pretrain.config.schedule import FALLING


def _warmup(case: Case) -> Violations:
    schedule = case.run.schedule
    decay = schedule.decay or case.run.train.tokens
    if schedule.name in FALLING and schedule.warmup >= decay:
        rule = f"must be below the end of the decay ({decay:,} tokens)"
        yield Problem("schedule.warmup", schedule.warmup, rule, f"schedule.warmup: {decay // 100}")


def _cooldown(case: Case) -> Violations:
    schedule, tokens = case.run.schedule, case.run.train.tokens
    cooldown, free = schedule.cooldown_of(tokens), tokens - schedule.warmup
    if schedule.name == "wsd" and not cooldown:
        yield Problem("schedule.cooldown", 0, "must be above 0 with wsd", "schedule.name: constant")
    if cooldown and cooldown > free:
        rule = f"must fit between the warm-up ({schedule.warmup:,} tokens) and the end of the run ({tokens:,})"
        fix = f"schedule.cooldown: {free}" if free > 0 else f"schedule.warmup: {tokens // 100}"
        yield Problem("schedule.cooldown", cooldown, rule, fix)


def _cooldown_falls(case: Case) -> Violations:
    schedule = case.run.schedule
    if not schedule.cooldown_of(case.run.train.tokens):
        return
    if schedule.cooldown_shape == "exponential" and not schedule.cooldown_ratio:
        fix = "schedule.cooldown_ratio: 0.1 or schedule.cooldown_shape: linear"
        yield Problem("schedule.cooldown_ratio", 0, "must be above 0 with exponential, which never reaches 0", fix)
    if schedule.name in FALLING and schedule.cooldown_ratio > schedule.min_ratio:
        rule = f"must not exceed schedule.min_ratio ({schedule.min_ratio:g})"
        fix = f"schedule.cooldown_ratio: {schedule.min_ratio:g}"
        yield Problem("schedule.cooldown_ratio", schedule.cooldown_ratio, rule, fix)


def _timescale(case: Case) -> Violations:
    schedule = case.run.schedule
    if schedule.name == "inverse_sqrt" and not (schedule.timescale or schedule.warmup):
        fix = f"schedule.warmup: {max(1, case.run.train.tokens // 100)}, or schedule.timescale"
        yield Problem("schedule.timescale", None, "is needed without a warm-up", fix)


def _betas(case: Case) -> Violations:
    for index, beta in enumerate(case.run.optimizer.betas):
        if not 0 <= beta < 1:
            yield Problem(f"optimizer.betas.{index}", beta, "must be in [0, 1)", "GPT-3: 0.9 and 0.95")


def _muon(case: Case) -> Violations:
    parallel = case.run.parallel
    if case.run.optimizer.name == "muon" and parallel.zero == 3:
        fix = "parallel.zero: 2 or optimizer.name: adamw"
        yield Problem("parallel.zero", 3, "must be 0, 1 or 2 with muon", fix)


def _adafactor(case: Case) -> Violations:
    run, parallel = case.run, case.run.parallel
    if run.optimizer.name != "adafactor":
        return
    wanted = {"zero": 0, "tensor": 1, "pipe": 1}
    if wrong := [name for name, value in wanted.items() if getattr(parallel, name) != value]:
        rule = f"must be without ZeRO, tensor and pipeline parallelism, {_settings(parallel, wrong)}"
        fixes = [f"parallel.{name}: {wanted[name]}" for name in wrong]
        if "zero" in wrong and run.precision.compute != "fp32":
            fixes.append("precision.compute: fp32")
        yield Problem("optimizer.name", "adafactor", rule, f"{', '.join(fixes)}; or optimizer.name: adamw")


def _mup(case: Case) -> Violations:
    run = case.run
    if run.model.mup and run.optimizer.name not in ("adamw", "own"):
        rule = "must be adamw (or own, where steps are as large as Adam's) with model.mup"
        yield Problem("optimizer.name", run.optimizer.name, rule, "optimizer.name: adamw, or leave out model.mup")


def _settings(parallel: Parallel, names: list[str]) -> str:
    return ", ".join(f"parallel.{name} is {getattr(parallel, name)}" for name in names)


UPDATE = (
    Constraint(
        "warmup-before-decay",
        "with cosine and linear, warmup < decay",
        "they start where the warm-up ends",
        _warmup,
    ),
    Constraint(
        "cooldown-fits",
        "warmup + cooldown <= train.tokens; wsd needs cooldown > 0",
        "it begins after the warm-up and ends with the run; without it wsd is constant",
        _cooldown,
    ),
    Constraint(
        "cooldown-falls",
        "with cosine and linear, cooldown_ratio <= min_ratio; with exponential, cooldown_ratio > 0",
        "a cool-down goes down, and a factor never leads to 0",
        _cooldown_falls,
    ),
    Constraint(
        "inverse-sqrt-timescale",
        "inverse_sqrt needs warmup > 0 or a timescale",
        "1 / sqrt(tokens) has no peak at 0 tokens",
        _timescale,
    ),
    Constraint(
        "betas",
        "0 <= beta < 1",
        "a decay of 1 never forgets and divides by zero in the bias correction",
        _betas,
    ),
    Constraint(
        "muon-zero",
        "optimizer: muon needs zero <= 2",
        "ZeRO 3 cuts every matrix over all data processes: each would gather them all and make all of them orthogonal",
        _muon,
    ),
    Constraint(
        "adafactor-whole",
        "optimizer: adafactor needs zero: 0, tensor: 1, pipe: 1, and so fp32",
        "it keeps means over rows and columns of whole matrices, and the size of a whole update; ZeRO hands over flat "
        "pieces, which it would take for one vector",
        _adafactor,
    ),
    Constraint(
        "mup-adam",
        "model.mup needs optimizer: adamw or own",
        "how a learning rate follows from the width depends on how large the optimizer's steps are: these are Adam's "
        "(Yang et al. 2022, Table 8)",
        _mup,
    ),
)
