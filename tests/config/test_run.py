"""What the schema refuses, and how it says so."""

import pytest

from pretrain.config.errors import ConfigError
from pretrain.config.load import CONFIGS, load_yaml
from pretrain.config.run import Run
from pretrain.config.schema import run_schema
from tests.config.example import RUN, make_run, problem_of

WRONG = {
    "unknown key": ({"train": {"sed": 3}}, "train.sed", "unknown key 'sed'", "did you mean 'seed'?"),
    "unknown section": ({"modle": {}}, "modle", "unknown key 'modle'", "did you mean 'model'?"),
    "unknown nested key": ({"model": {"bands": {"evry": 2}}}, "model.bands.evry", "unknown key", "'every'"),
    "far from any key": ({"batch": {"zzz": 1}}, "batch.zzz", "unknown key 'zzz'", "known keys: global_batch_size"),
    "of an own part": ({"optimizer": {"zzz": 1}}, "optimizer.zzz", "unknown key", "betas, class, clip"),
    "nearly a choice": ({"schedule": {"name": "cosin"}}, "schedule.name", "must be 'cosine'", "mean 'cosine'"),
    "no section": ({"monitoring": {"inside": 3}}, "monitoring.inside", "mapping of fields", "fields: every, noise_d"),
    "wrong unit": ({"train": {"tokens": "2M samples"}}, "train.tokens", "unit 'samples', expected tokens", ""),
    "wrong magnitude": ({"train": {"tokens": "2 zillion"}}, "train.tokens", "unknown unit .zillion.", ""),
    "interval without unit": ({"checkpoint": {"every": 5}}, "checkpoint.every", "needs its unit", ""),
    "wrong type": ({"model": {"layers": "two"}}, "model.layers", "valid integer", ""),
    "heads": ({"model": {"heads": 5}}, "model", r"heads \(5\) must divide d_model \(64\)", "heads: 4"),
    "kv_heads": ({"model": {"kv_heads": 3}}, "model", r"kv_heads \(3\) must divide heads", "kv_heads: 2"),
    "odd rope": ({"model": {"d_head": 5, "positions": "rope"}}, "model", "rope needs an even d_head", "d_head: 6"),
    "sequence": ({"data": {"sequence_length": 256}}, "configuration", "must not exceed model.context", "128"),
    "negative weight": ({"data": {"mixture": {"a": -1}}}, "data.mixture.a", "must not be negative", ""),
    "name": ({"name": "../x"}, "name", "pattern", ""),
    "number format": ({"precision": {"compute": "fp8"}}, "precision.compute", "'fp32', 'bf16' or 'fp16'", ""),
    "scale of bf16": ({"precision": {"loss_scale": {}}}, "precision", "for fp16, this is bf16", "compute: fp16"),
    "uneven scale": (
        {"precision": {"compute": "fp16", "loss_scale": {"initial": 60000}}},
        "loss_scale.initial",
        "must be a power of two",
        "65536",
    ),
    "no scale": (
        {"precision": {"compute": "fp16", "loss_scale": {"minimum": 0}}},
        "loss_scale.minimum",
        "power of two",
        "65536",
    ),
    "scale below its minimum": (
        {"precision": {"compute": "fp16", "loss_scale": {"initial": 1, "minimum": 2}}},
        "precision.loss_scale",
        "must not exceed initial",
        "minimum: 1",
    ),
    "no window": (
        {"precision": {"compute": "fp16", "loss_scale": {"window": 0}}},
        "loss_scale.window",
        "greater than",
        "",
    ),
    "no hysteresis": (
        {"precision": {"compute": "fp16", "loss_scale": {"hysteresis": 0}}},
        "loss_scale.hysteresis",
        "greater than",
        "",
    ),
    "z-loss": ({"train": {"z_loss": -1e-4}}, "train.z_loss", "greater than or equal to 0", ""),
    "zero stage": ({"parallel": {"zero": 4}}, "parallel.zero", "0, 1, 2 or 3", ""),
}


@pytest.mark.parametrize("case", WRONG)
def test_refused(case: str) -> None:
    changes, field, rule, fix = WRONG[case]
    with pytest.raises(ConfigError, match=rule) as error:
        make_run(**changes)
    problem = problem_of(error)
    assert problem.field.endswith(field)
    assert fix in problem.fix


def test_missing_field_is_named() -> None:
    with pytest.raises(ConfigError) as error:
        Run.parse({name: value for name, value in RUN.items() if name != "optimizer"})
    assert problem_of(error).field == "optimizer"


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        make_run(train={"tokens": "x"}, model={"layers": 0}, optimizer={"learning_rate": -1})
    assert [problem.field for problem in error.value.problems] == [
        "train.tokens",
        "model.layers",
        "optimizer.learning_rate",
    ]


def test_resolved_run_reads_back_the_same() -> None:
    run = make_run(
        train={"validate_every": "10 min"},
        data={"mixture": {"a": 60, "b": "0.16"}, "stages": [{"from_tokens": 1280, "mixture": {"a": 1}}]},
        batch={"global_batch_size": "4096 tokens", "ramp": {"start": 8, "tokens": "100k"}},
        checkpoint={"every": "100 steps", "keep_every": "1M tokens"},
    )
    assert Run.parse(run.plain()) == run


def test_runs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        make_run().train.tokens = 5  # type: ignore[misc]


def test_the_schema_takes_every_shipped_run() -> None:
    """With a validator of others, on the YAML as it is written."""
    import jsonschema

    for path in (CONFIGS / "runs").glob("*.yaml"):
        jsonschema.validate(load_yaml(path), run_schema())
    jsonschema.validate({**RUN, "parallel": "auto"}, run_schema())
    jsonschema.validate({**RUN, "cluster": {"hardware": "a100-80gb"}}, run_schema())
    for wrong in ({"modle": {}}, {"parallel": "automatic"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**RUN, **wrong}, run_schema())


def test_every_field_is_documented() -> None:
    schema = run_schema()
    sections = [schema, *schema["$defs"].values()]
    undocumented = [
        f"{section['title']}.{name}"
        for section in sections
        for name, field in section.get("properties", {}).items()
        if "description" not in field and section["title"] not in ("BatchSize", "Interval")
    ]
    assert undocumented == []
