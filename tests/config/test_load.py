"""YAML files, named parts and overrides."""

from pathlib import Path

import pytest
import yaml

from pretrain.config.errors import ConfigError
from pretrain.config.load import CONFIGS, load_run, load_yaml
from tests.config.example import RUN, problem_of


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def test_named_model_with_overridden_fields(tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump({**RUN, "model": {"preset": "gpt3-125m", "dropout": 0.1}}))
    model = load_run(path).model
    assert (model.layers, model.d_model, model.heads, model.dropout) == (12, 768, 12, 0.1)


def test_overrides_reach_into_a_named_model(tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump({**RUN, "model": "gpt3-125m"}))
    run = load_run(
        path, ["train.tokens=2M", "model.dropout=0.2", "checkpoint.every=30 min", "optimizer.learning_rate=3e-4"]
    )
    assert (run.train.tokens, run.model.dropout, run.optimizer.learning_rate) == (2_000_000, 0.2, 3e-4)
    assert run.checkpoint.every and run.checkpoint.every.amount == 1800


def test_overrides_reach_into_an_automatic_layout(tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump({**RUN, "parallel": "auto"}))
    assert load_run(path, ["parallel.tensor=2"]).plain()["parallel"] == {"auto": True, "tensor": 2}
    assert load_run(path, ["parallel={tensor: 2}"]).parallel.auto is False


def test_every_shipped_run_loads() -> None:
    names = sorted(path.stem for path in (CONFIGS / "runs").glob("*.yaml"))
    assert "quickstart" in names
    for name in names:
        assert load_run(name).name == name


@pytest.mark.parametrize(
    ("text", "rule", "fix"),
    [
        ("a: 1\na: 2\n", "line 2: the key 'a' stands twice", "correct that line"),
        ("? [1, 2]\n: 3\n", "a key must be a plain word", "correct that line"),
        ("a: [1\n", "must be YAML: line", "correct that line"),
        ("- 1\n", "must hold a YAML mapping", "key: value"),
    ],
)
def test_malformed_files(tmp_path: Path, text: str, rule: str, fix: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_yaml(write(tmp_path, text))
    assert rule in problem_of(error).rule
    assert fix in problem_of(error).fix


def test_a_recipe_is_no_run() -> None:
    with pytest.raises(ConfigError) as error:
        load_run("configs/data/quickstart.yaml")
    assert problem_of(error).rule == "must be a run; this is the recipe of a corpus"


def test_unknown_names_have_a_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_run("quikstart")
    assert problem_of(error).fix == "did you mean 'quickstart'?"
    path = write(tmp_path, yaml.safe_dump({**RUN, "model": "gpt3-125"}))
    with pytest.raises(ConfigError) as error:
        load_run(path)
    assert (problem_of(error).field, problem_of(error).fix) == ("model", "did you mean 'gpt3-125m'?")


@pytest.mark.parametrize(
    ("override", "rule"), [("tokens", "key=value"), ("name.x=1", "name is not a section"), ("a=[1", "must be YAML")]
)
def test_wrong_overrides(tmp_path: Path, override: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        load_yaml(write(tmp_path, "name: x\n"), [override])


def test_exponents_are_numbers(tmp_path: Path) -> None:
    assert load_yaml(write(tmp_path, "a: 3e-4\nb: 3e11\nc: [1e5]\n"), ["d=2e3"]) == {
        "a": 3e-4,
        "b": 3e11,
        "c": [1e5],
        "d": 2e3,
    }


@pytest.mark.parametrize(
    "cluster",
    [
        "a100-80gb",
        {"hardware": "a100-80gb"},
        "slurm-a100",
        {"preset": "slurm-a100"},
        {"hardware": {"preset": "a100-80gb"}},
    ],
)
def test_hardware_by_name(cluster: object, tmp_path: Path) -> None:
    run = load_run(write(tmp_path, yaml.safe_dump({**RUN, "cluster": cluster})))
    assert run.cluster.hardware is not None
    assert (run.cluster.hardware.gpu, run.cluster.hardware.tflops) == ("a100-80gb", 312)


def test_hardware_by_name_with_a_field_of_ones_own(tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump({**RUN, "cluster": {"hardware": "a100-80gb"}}))
    for overrides in (
        ["cluster.hardware.network_bandwidth=12.5"],
        ["cluster={hardware: {preset: a100-80gb, network_bandwidth: 12.5}}"],
    ):
        hardware = load_run(path, overrides).cluster.hardware
        assert hardware is not None
        assert (hardware.network_bandwidth, hardware.tflops) == (12.5, 312)


@pytest.mark.parametrize("name", ["a100-80", "slurm-cpu", "slurm-a100"])
def test_hardware_that_nobody_knows(name: str, tmp_path: Path) -> None:
    """Not even of a file without its own figures."""
    path = write(tmp_path, yaml.safe_dump({**RUN, "cluster": {"hardware": name}}))
    with pytest.raises(ConfigError) as error:
        load_run(path)
    problem = problem_of(error)
    assert (problem.field, problem.value) == ("cluster.hardware", name)
    assert "a100-80gb" in problem.fix
