"""Every row of the constraint table, broken once and repaired as the message says."""

import time
from typing import Any, NamedTuple

import pytest

from pretrain.config.auto import choose_layout
from pretrain.config.constraints import CONSTRAINTS, check_run
from pretrain.config.constraints_page import constraints_page
from pretrain.config.errors import ConfigError
from pretrain.config.load import CONFIGS, load_run, merge
from tests.config.example import make_run, problem_of


class Broken(NamedTuple):
    """A run that one rule refuses, what the message must hold, and changes that the message proposes."""

    changes: dict[str, Any]
    processes: int
    field: str
    rule: str
    fix: str
    repair: dict[str, Any]
    node_size: int | None = None


STAGE = {"from_tokens": 1000, "mixture": {"a": 1}}

BROKEN = {
    "world": Broken(
        {"parallel": {"tensor": 2, "pipe": 2}, "batch": {"micro_batch_size": 1}}, 6,
        "parallel", "tensor x pipe (2 x 2) must divide the processes (6)",
        "parallel.tensor: 1, parallel.pipe: 2; or 4 or 8 processes", {"parallel": {"tensor": 1},
        "batch": {"global_batch_size": 33}},
    ),
    "pipe-layers": Broken(
        {"parallel": {"pipe": 4}}, 4,
        "parallel.pipe", "its stages (4) must not be more than model.layers (2)", "parallel.pipe: 2",
        {"parallel": {"pipe": 2}},
    ),
    "pipe-zero": Broken(
        {"parallel": {"pipe": 2, "zero": 2}}, 2,
        "parallel.zero", "must be 1 with a pipeline (parallel.pipe is 2)", "parallel.zero: 1 or parallel.pipe: 1",
        {"parallel": {"zero": 1}},
    ),
    "dualpipev-pipe": Broken(
        {"parallel": {"schedule": "dualpipev"}, "model": {"layers": 4}}, 2,
        "parallel.schedule", "needs parallel.pipe above 1", "parallel.schedule: 1f1b or parallel.pipe: 2",
        {"parallel": {"pipe": 2}},
    ),
    "zero-half": Broken(
        {"parallel": {"zero": 0}}, 1,
        "parallel.zero", "1, 2 or 3 with bf16", "parallel.zero: 1 or precision.compute: fp32",
        {"parallel": {"zero": 1}},
    ),
    "compile-zero": Broken(
        {"train": {"compile": True}, "parallel": {"zero": 3}}, 1,
        "train.compile", "needs ZeRO 0, 1 or 2", "train.compile: false or parallel.zero: 2",
        {"parallel": {"zero": 2}},
    ),
    "offload-zero": Broken(
        {"parallel": {"offload": "all", "zero": 2}}, 1,
        "parallel.offload", "needs ZeRO 3, parallel.zero is 2", "parallel.offload: optimizer or parallel.zero: 3",
        {"parallel": {"zero": 3}},
    ),
    "recompute-every": Broken(
        {"parallel": {"recompute_every": 2}}, 1,
        "parallel.recompute_every", "needs recompute: full", "recompute: full or parallel.recompute_every: 1",
        {"parallel": {"recompute": "full"}},
    ),
    "tensor-heads": Broken(
        {"parallel": {"tensor": 8}}, 8,
        "parallel.tensor", "must divide model.heads (4)", "parallel.tensor: 4", {"parallel": {"tensor": 4}},
    ),
    "tensor-kv-heads": Broken(
        {"parallel": {"tensor": 3},
         "model": {"d_model": 96, "heads": 12, "kv_heads": 2, "context": 96, "vocab_multiple": 96}}, 3,
        "parallel.tensor", "must divide model.kv_heads (2), or be a multiple of it that divides their width (16)",
        "parallel.tensor: 1 or model.kv_heads: 3", {"model": {"kv_heads": 3}},
    ),
    "tensor-mlp": Broken(
        {"parallel": {"tensor": 4}, "model": {"d_ff": 254}}, 4,
        "parallel.tensor", "must divide the width of the MLP (254)", "parallel.tensor: 2 or model.d_ff: 252 or 256",
        {"parallel": {"tensor": 2}},
    ),
    "tensor-vocabulary": Broken(
        {"parallel": {"tensor": 2}, "model": {"vocab_size": 50257, "vocab_multiple": 3}}, 2,
        "parallel.tensor", "must divide the padded vocabulary (50259)",
        "parallel.tensor: 1 or model.vocab_multiple: 6", {"model": {"vocab_multiple": 6}},
    ),
    "tensor-context": Broken(
        {"parallel": {"tensor": 4}, "model": {"context": 130}, "data": {"sequence_length": 128}}, 4,
        "parallel.tensor", "must divide model.context (130)", "parallel.tensor: 2 or model.context: 128 or 132",
        {"model": {"context": 132}},
    ),
    "sequence-parallel-tensor": Broken(
        {"parallel": {"sequence_parallel": True}}, 2,
        "parallel.sequence_parallel", "needs parallel.tensor above 1",
        "parallel.sequence_parallel: false or parallel.tensor: 2", {"parallel": {"tensor": 2}},
    ),
    "dropout-tensor": Broken(
        {"parallel": {"tensor": 2, "sequence_parallel": False}, "model": {"dropout": 0.1}}, 2,
        "parallel.sequence_parallel", "must be true with model.dropout (0.1) and parallel.tensor (2)",
        "parallel.sequence_parallel: true or model.dropout: 0", {"parallel": {"sequence_parallel": True}},
    ),
    "tensor-node": Broken(
        {"parallel": {"tensor": 4}}, 4,
        "parallel.tensor", "must divide the processes of a node (2)", "parallel.tensor: 2",
        {"parallel": {"tensor": 2}}, node_size=2,
    ),
    "whole-samples": Broken(
        {"batch": {"global_batch_size": "5000 tokens"}}, 1,
        "batch.global_batch_size", "39 samples (4,992 tokens) or 40 samples (5,120 tokens)", "nearest sizes",
        {"batch": {"global_batch_size": "5120 tokens"}},
    ),
    "batch-divides": Broken(
        {"batch": {"global_batch_size": 30}, "parallel": {"tensor": 2}}, 4,
        "batch.global_batch_size", "multiple of micro_batch_size x data-parallel processes (4 x 2)",
        "global_batch_size: 24 or 32 samples, or micro_batch_size: 3", {"batch": {"micro_batch_size": 3}},
    ),
    "ramp-divides": Broken(
        {"batch": {"ramp": {"start": 12, "tokens": "1M"}}}, 2,
        "batch.ramp.start", "(8)", "start: 8 or 16", {"batch": {"ramp": {"start": 16}}},
    ),
    "dualpipev-micro-batches": Broken(
        {"parallel": {"pipe": 2, "schedule": "dualpipev"}, "model": {"layers": 4}, "batch": {"global_batch_size": 8}},
        2,
        "batch.global_batch_size", "must be at least 2 x pipe = 4 micro-batches of 4 samples",
        "batch.global_batch_size: 16 samples, or micro_batch_size: 2, or parallel.schedule: 1f1b",
        {"batch": {"micro_batch_size": 2}},
    ),
    "warmup-before-decay": Broken(
        {"schedule": {"warmup": "1M"}}, 1,
        "schedule.warmup", "below the end of the decay (1,000,000", "10000", {"schedule": {"warmup": 10000}},
    ),
    "cooldown-fits": Broken(
        {"schedule": {"name": "constant", "warmup": "500k", "cooldown": "600k"}}, 1,
        "schedule.cooldown", "between the warm-up (500,000 tokens) and the end of the run (1,000,000)",
        "schedule.cooldown: 500000", {"schedule": {"cooldown": 500_000}},
    ),
    "cooldown-falls": Broken(
        {"schedule": {"cooldown": "100k", "cooldown_ratio": 0.2}}, 1,
        "schedule.cooldown_ratio", "must not exceed schedule.min_ratio (0.1)", "schedule.cooldown_ratio: 0.1",
        {"schedule": {"cooldown_ratio": 0.1}},
    ),
    "inverse-sqrt-timescale": Broken(
        {"schedule": {"name": "inverse_sqrt"}}, 1,
        "schedule.timescale", "is needed without a warm-up", "schedule.warmup: 10000", {"schedule": {"warmup": 10_000}},
    ),
    "betas": Broken(
        {"optimizer": {"betas": [0.9, 1.0]}}, 1,
        "optimizer.betas.1", "[0, 1)", "0.95", {"optimizer": {"betas": [0.9, 0.95]}},
    ),
    "muon-zero": Broken(
        {"optimizer": {"name": "muon"}, "parallel": {"zero": 3}}, 2,
        "parallel.zero", "must be 0, 1 or 2 with muon", "parallel.zero: 2 or optimizer.name: adamw",
        {"parallel": {"zero": 2}},
    ),
    "adafactor-whole": Broken(
        {"optimizer": {"name": "adafactor"}}, 1,
        "optimizer.name", "must be without ZeRO, tensor and pipeline parallelism, parallel.zero is 1",
        "parallel.zero: 0, precision.compute: fp32; or optimizer.name: adamw",
        {"parallel": {"zero": 0}, "precision": {"compute": "fp32"}},
    ),
    "mup-adam": Broken(
        {"optimizer": {"name": "muon"}, "model": {"mup": {"base_d_model": 32}}}, 1,
        "optimizer.name", "must be adamw (or own", "optimizer.name: adamw, or leave out model.mup",
        {"optimizer": {"name": "adamw"}},
    ),
    "mixture-positive": Broken(
        {"data": {"mixture": {"a": 0}}}, 1,
        "data.mixture", "a weight above 0", "web: 60", {"data": {"mixture": {"a": 60}}},
    ),
    "weight-stages": Broken(
        {"data": {"stages": [STAGE]}}, 1,
        "data.stages.0.from_tokens", "whole samples of 128 tokens", "896 or 1024",
        {"data": {"stages": [{**STAGE, "from_tokens": 896}]}},
    ),
    "skip-apart": Broken(
        {"data": {"skip": [{"first_sample": 5, "samples": 10}, {"first_sample": 0, "samples": 10}]}}, 1,
        "data.skip", "overlaps the window that begins at 0", "join the two",
        {"data": {"skip": [{"first_sample": 0, "samples": 15}]}},
    ),
    "keep-every": Broken(
        {"checkpoint": {"keep_every": "1 h"}}, 1,
        "checkpoint.keep_every", "steps or tokens", "10B tokens", {"checkpoint": {"keep_every": "10B tokens"}},
    ),
    "deepspeed": Broken(
        {"deepspeed": {"zero_optimization": {"stage": 2}}}, 1,
        "deepspeed.zero_optimization.stage", "contradicts the run, which gives 1", "the run's own field",
        {"parallel": {"zero": 2}},
    ),
    "own-parts": Broken(
        {"monitoring": {"sinks": [{"class": "json.JSONEncoder", "indnt": 2}]}}, 1,
        "monitoring.sinks.0.class", "must have the methods write", "docs/own-parts.md",
        {"monitoring": {"sinks": []}},
    ),
    "own-optimizer-moments": Broken(
        {"optimizer": {"class": "torch.optim.RMSprop"}}, 1,
        "optimizer.moments", "the class has no attribute `moments`", "moments: [exp_avg]",
        {"optimizer": {"class": "torch.optim.RMSprop", "moments": ["square_avg"]}},
    ),
    "own-mlp-whole": Broken(
        {"model": {"mlp": {"class": "torch.nn.SiLU"}}, "parallel": {"tensor": 2}}, 2,
        "model.mlp.class", "must derive from pretrain.model.layers.MLP", "parallel.tensor: 1",
        {"model": {"mlp": {"class": "pretrain.model.layers.GatedMLP"}}},
    ),
    "own-mlp-parameters": Broken(
        {"model": {"mlp": {"class": "tests.config.buffered.Buffered"}}}, 1,
        "model.mlp.class", "must keep nothing but parameters, has the buffers mean", "make it an nn.Parameter",
        {"model": {"mlp": {"class": "tests.config.buffered.Buffered", "keep": False}}},
    ),
    "alert-metrics": Broken(
        {"monitoring": {"alerts": [{"metric": "gradnorm", "above": 5}]}}, 1,
        "monitoring.alerts.0.metric", "is no number that this run writes", "did you mean 'grad_norm'?",
        {"monitoring": {"alerts": [{"metric": "grad_norm", "above": 5}]}},
    ),
    "webhook-address": Broken(
        {"monitoring": {"webhook": {"url_file": "nowhere.url"}, "alerts": [{"event": "ended"}]}}, 1,
        "monitoring.webhook.url_file", "cannot be read", "write the address into this file",
        {"monitoring": {"webhook": None}},
    ),
}  # fmt: skip


def test_the_table_is_covered() -> None:
    assert list(BROKEN) == [constraint.name for constraint in CONSTRAINTS]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_and_repaired(name: str) -> None:
    case = BROKEN[name]
    run = make_run(**case.changes)
    with pytest.raises(ConfigError) as error:
        check_run(run, case.processes, case.node_size)
    problem = problem_of(error)
    assert problem.field == case.field
    assert case.rule in problem.rule
    assert case.fix in problem.fix
    check_run(make_run(**merge(case.changes, case.repair)), case.processes, case.node_size)


PIPELINE = {"model": {"layers": 4}, "parallel": {"pipe": 2, "schedule": "dualpipev"}}

MORE = {
    "increment": ({"batch": {"ramp": {"start": 8, "increment": 12, "tokens": "1M"}}}, 2, "increment: 8 or 24"),
    "start too large": ({"batch": {"ramp": {"start": 32, "tokens": "1M"}}}, 2, "leave the ramp out"),
    "no start is left": ({"batch": {"ramp": {"start": 6, "tokens": "1M"}}}, 8, "leave the ramp out"),
    "dualpipev start": (
        merge(PIPELINE, {"batch": {"global_batch_size": 32, "ramp": {"start": 8, "tokens": "1M"}}}), 2,
        "start: 16, or micro_batch_size: 2, or parallel.schedule: 1f1b",
    ),
    "dualpipev too deep": (merge(PIPELINE, {"parallel": {"pipe": 4}}), 4, "parallel.pipe: 2"),
    "dualpipev in vain": ({"parallel": {"schedule": "dualpipev"}}, 1, "parallel.schedule: 1f1b"),
    "vocabulary unknown": (
        {"parallel": {"tensor": 2}, "model": {"vocab_multiple": 127}}, 2,
        "parallel.tensor: 1 or model.vocab_multiple: 254",
    ),
    "sequence length": (
        {"parallel": {"tensor": 4}, "data": {"sequence_length": 126}}, 4,
        "parallel.tensor: 2 or parallel.sequence_parallel: false",
    ),
    "offload optimizer": (
        {"parallel": {"offload": "optimizer", "zero": 0}, "precision": {"compute": "fp32"}}, 1,
        "parallel.zero: 1 or parallel.offload: none",
    ),
    "offload with a pipeline": ({"parallel": {"offload": "all", "pipe": 2}}, 2, "parallel.offload: optimizer"),
    "recompute every": (
        {"parallel": {"recompute": "full", "recompute_every": 3}}, 1, "parallel.recompute_every: 2",
    ),
    "wsd without cool-down": ({"schedule": {"name": "wsd", "cooldown": 0}}, 1, "schedule.name: constant"),
    "exponential to 0": (
        {"schedule": {"name": "wsd", "cooldown_shape": "exponential"}}, 1,
        "schedule.cooldown_ratio: 0.1 or schedule.cooldown_shape: linear",
    ),
    "warm-up too long": ({"schedule": {"name": "wsd", "warmup": "1M"}}, 1, "schedule.warmup: 10000"),
    "adafactor in a pipeline": (
        {"optimizer": {"name": "adafactor"}, "parallel": {"pipe": 2, "tensor": 2}, "precision": {"compute": "fp32"}}, 4,
        "parallel.zero: 0, parallel.tensor: 1, parallel.pipe: 1; or optimizer.name: adamw",
    ),
    "a section of ours": ({"deepspeed": {"optimizer": {"type": "Adam"}}}, 1, "use optimizer in the YAML"),
    "pipeline passthrough": (
        {"parallel": {"pipe": 2}, "deepspeed": {"pipeline": {"pipe_partitioned": True}}}, 2, "use parallel in the YAML",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MORE)
def test_other_ways_to_break_a_rule(case: str) -> None:
    changes, processes, fix = MORE[case]
    with pytest.raises(ConfigError) as error:
        check_run(make_run(**changes), processes)
    assert problem_of(error).fix == fix


def test_an_own_mlp_that_is_no_module() -> None:
    with pytest.raises(ConfigError, match=r"must make a torch\.nn\.Module, not Forward"):
        check_run(make_run(model={"mlp": {"class": "tests.config.buffered.Forward"}}), 1)


def test_later_weight_stages_must_be_later() -> None:
    stage = {"from_tokens": 1280, "mixture": {"a": 1}}
    with pytest.raises(ConfigError, match="later than the stage before it"):
        check_run(make_run(data={"stages": [stage, stage]}), 1)


def test_valid_runs_pass() -> None:
    for processes in (1, 2, 4, 8):
        check_run(make_run(batch={"ramp": {"start": 32 // 2, "tokens": "100k"}, "micro_batch_size": 1}), processes)


def test_more_tensor_ranks_than_key_heads() -> None:
    """Two key heads of 16 on four ranks: each computes half of one."""
    check_run(make_run(model={"kv_heads": 2}, parallel={"tensor": 4}), 4)


def test_offload_works_in_a_pipeline() -> None:
    check_run(make_run(parallel={"pipe": 2, "offload": "optimizer"}), 2)


def test_many_wrong_things_are_one_error() -> None:
    """Whatever is wrong together, each rule still speaks or keeps silent: none fails."""
    values = {
        "tensor": (1, 3), "pipe": (1, 5), "zero": (0, 3), "sequence_parallel": (True, False),
        "schedule": ("1f1b", "dualpipev"), "offload": ("none", "all"), "recompute_every": (1, 9),
    }  # fmt: skip
    batch = {"global_batch_size": "5000 tokens", "micro_batch_size": 7, "ramp": {"start": 50, "tokens": 10}}
    for number in range(2 ** len(values)):
        parallel = {name: pair[number >> bit & 1] for bit, (name, pair) in enumerate(values.items())}
        for size in (batch, {"global_batch_size": 31, "ramp": {"start": 3, "increment": 5, "tokens": 10}}):
            with pytest.raises(ConfigError):
                check_run(make_run(parallel=parallel, batch=size, model={"dropout": 0.1, "kv_heads": 2}), 10, 4)


def test_an_open_layout_is_not_checked() -> None:
    with pytest.raises(ConfigError) as error:
        check_run(make_run(parallel="auto"), 2)
    assert problem_of(error).field == "parallel.auto"


def test_a_check_takes_milliseconds() -> None:
    """GPT-3 on 1,024 processes with its batch ramp (Brown et al. 2020, Appendix B)."""
    overrides = ["model=gpt3-175b", "batch.global_batch_size=1536", "batch.micro_batch_size=1"]
    overrides += ["batch.ramp.start=128", "parallel.tensor=8", "parallel.pipe=16"]
    run = load_run("gpt3-125m", overrides)
    check_run(run, 1024, 8)
    start = time.process_time()
    check_run(run, 1024, 8)
    checked = time.process_time()
    choose_layout(load_run("gpt3-125m", [*overrides[:4], "parallel=auto"]), 1024, 8)
    assert checked - start < 0.05
    assert time.process_time() - checked < 1


def test_the_page_is_the_table() -> None:
    assert (CONFIGS.parent / "docs" / "constraints.md").read_text() == constraints_page()
