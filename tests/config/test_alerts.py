"""Alerts and looks inside: what is refused, with which words, and that every name that is let through exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pretrain.config.constraints import check_run, find_problems
from pretrain.config.constraints.monitoring import read_address
from pretrain.config.errors import ConfigError
from pretrain.config.load import CONFIGS
from pretrain.config.metric_names import check_alert_sources, inside_names
from pretrain.config.monitoring import Webhook
from pretrain.model.transformer import Transformer
from pretrain.parallel.inside import part_of
from tests.config.example import make_run, problem_of
from tests.training.layouts import GPT3, LLAMA

INSIDE = {"every": "100 steps"}


def alerted(metric: str, **monitoring: Any) -> Any:
    return make_run(monitoring={"alerts": [{"metric": metric, "above": 1}], **monitoring})


def test_the_page_is_valid_yaml() -> None:
    """What docs/inside.md shows can be read as it stands, and says what it says."""
    page = (CONFIGS.parent / "docs" / "inside.md").read_text()
    inside, alerts = (yaml.safe_load(text)["monitoring"] for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    run = make_run(monitoring={**inside, **alerts})
    assert [problem.field for problem in find_problems(run, 1)] in ([], ["monitoring.webhook.url_file"])
    assert run.monitoring.alerts[-1].event == ("spike", "rollback", "checkpoint_failed", "ended")


@pytest.mark.parametrize(
    "metric",
    ["loss", "loss/wiki", "validation/loss/wiki", "checkpoint/write_seconds", "inside/grad_norm/blocks.1.mlp",
     "inside/activation_max/*", "inside/noise_scale_tokens"],
)  # fmt: skip
def test_known(metric: str) -> None:
    check_run(alerted(metric, inside=INSIDE), 1)


@pytest.mark.parametrize(
    ("metric", "inside", "words"),
    [
        ("los", None, "did you mean 'loss'?"),
        ("validation/grad_norm", None, "no number that this run writes"),
        ("inside/activation_rms/blocks.2", INSIDE, "did you mean 'inside/activation_rms/blocks"),
        ("inside/grad_norm/head", INSIDE, "no number that this run writes"),
        ("inside/activation_rms/blocks.0", None, "add monitoring.inside: {every: 100 steps}"),
    ],
)
def test_unknown(metric: str, inside: Any, words: str) -> None:
    """The model has two blocks and a tied embedding."""
    with pytest.raises(ConfigError) as error:
        check_run(alerted(metric, inside=inside), 1)
    assert words in str(problem_of(error))


def test_sources_are_those_of_the_corpus() -> None:
    run = alerted("loss/wikki")
    with pytest.raises(ConfigError) as error:
        check_alert_sources(run, ("web", "wiki"))
    assert "did you mean 'loss/wiki'?" in str(problem_of(error))
    check_alert_sources(alerted("loss/*"), ("web", "wiki"))


@pytest.mark.parametrize(
    ("every", "words"),
    [("30 min", "must be in steps or tokens"), ("0 steps", "must be greater than 0"), (100, "needs its unit")],
)
def test_periods(every: object, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_run(monitoring={"inside": {"every": every}})
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("model"), [GPT3, LLAMA, {**GPT3, "parallel_block": True, "qk_norm": True, "positions": "alibi"}]
)
def test_names_are_those_of_the_model(model: dict[str, Any]) -> None:
    run = make_run(model=model, data={"sequence_length": 16})
    with torch.device("meta"):
        named = Transformer(run.model.model_copy(update={"vocab_size": 211})).named_parameters()
        parts = {part_of(name) for name, _ in named}
    known = {name.partition("/")[2] for name in inside_names(run.model) if name.startswith("grad_norm/")}
    assert known == parts


@pytest.mark.parametrize(
    "content", ["", "not an address", "https://a.example/x\nhttps://b.example/y", "ftp://a.example"]
)
def test_an_address_that_is_none_is_not_shown(content: str, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(content)
    with pytest.raises(ConfigError) as error:
        read_address(Webhook(url_file=str(tmp_path / "url")))
    assert "must hold one http or https address" in str(error.value)
    assert "example" not in str(error.value)


def test_an_address_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    webhook = Webhook(url_env="ALERTS_URL")
    monkeypatch.delenv("ALERTS_URL", raising=False)
    with pytest.raises(ConfigError, match="is not set in the environment"):
        read_address(webhook)
    monkeypatch.setenv("ALERTS_URL", "https://a.example/secret \n")
    assert read_address(webhook) == "https://a.example/secret"
    assert "secret" not in str(webhook.plain())


def test_a_webhook_without_rules(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://a.example/secret")
    with pytest.raises(ConfigError, match="nothing is ever sent"):
        check_run(make_run(monitoring={"webhook": {"url_file": str(tmp_path / "url")}}), 1)


@pytest.mark.parametrize("webhook", [{}, {"url_file": "a", "url_env": "b"}])
def test_one_place_for_the_address(webhook: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="needs either `url_file` or `url_env`"):
        make_run(monitoring={"webhook": webhook})
