"""What decays, and which algorithm updates what."""

import pytest
import torch

from pretrain.config.errors import ConfigError
from pretrain.config.run import Run
from pretrain.model.transformer import Transformer
from pretrain.training.optimizer import make_optimizer, set_learning_rate
from tests.config.example import make_run, problem_of


def names_by_group(optimizer: torch.optim.Optimizer, model: Transformer) -> dict[str, list[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {group["kind"]: [names[id(p)] for p in group["params"]] for group in optimizer.param_groups}


def make(**optimizer: object) -> tuple[torch.optim.Optimizer, Transformer, Run]:
    run = make_run(model={"vocab_size": 64}, optimizer=optimizer)
    model = Transformer(run.model)
    return make_optimizer(model, run), model, run


def test_only_matrices_decay_and_tied_weights_stand_once() -> None:
    optimizer, model, _ = make()
    groups = names_by_group(optimizer, model)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert "embedding.tokens.weight" in groups["matrix"] and "blocks.0.attention.qkv.weight" in groups["matrix"]
    assert all(name.endswith(("bias", "norm.weight")) for name in groups["vector"])
    assert sum(map(len, groups.values())) == len(list(model.parameters()))


def test_muon_takes_the_matrices_of_the_blocks() -> None:
    optimizer, model, _ = make(name="muon")
    groups = names_by_group(optimizer, model)
    matrices = ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    assert groups["orthogonal"] == [f"blocks.{n}.{matrix}.weight" for n in (0, 1) for matrix in matrices]
    assert groups["matrix"] == ["embedding.tokens.weight", "embedding.positions.weight"]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.1, 0.0]


def test_the_rate_is_set_in_every_group() -> None:
    for fields, rates in {
        (("name", "adamw"),): [5e-4, 5e-4],
        (("name", "muon"),): [5e-4, 5e-4, 5e-4],
        (("name", "muon"), ("adamw_learning_rate", 2e-4)): [5e-4, 1e-4, 1e-4],  # a fifth of the peak of 1e-3
    }.items():
        optimizer, _, _ = make(**dict(fields))
        set_learning_rate(optimizer, 5e-4)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(rates, rel=1e-12)


def test_mup_divides_the_rate_of_hidden_matrices() -> None:
    """As Microsoft's mup 1.0.0 does (MuAdamW on this model with base shapes of d_model 16): rate / 4, decay x 4."""
    run = make_run(model={"vocab_size": 64, "tied_embeddings": False, "mup": {"base_d_model": 16}})
    model = Transformer(run.model)
    optimizer = make_optimizer(model, run)
    set_learning_rate(optimizer, 1e-3)
    found = {group["kind"]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups}
    assert found == {"hidden": (2.5e-4, 0.4), "matrix": (1e-3, 0.1), "vector": (1e-3, 0.0)}
    groups = names_by_group(optimizer, model)
    assert groups["matrix"] == ["embedding.tokens.weight", "embedding.positions.weight", "head.weight"]
    assert all(name.startswith("blocks.") and name.endswith("weight") for name in groups["hidden"])


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"name": "adamw", "momentum": 0.9}, "momentum is for optimizers muon, this is adamw"),
        ({"name": "adafactor", "betas": [0.9, 0.99]}, "betas is for optimizers adamw, muon, this is adafactor"),
        ({"name": "muon", "beta2_decay": -0.5}, "beta2_decay is for optimizers adafactor, this is muon"),
    ],
)
def test_fields_of_another_algorithm_are_refused(fields: dict[str, object], rule: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_run(optimizer=fields)
    assert problem_of(error).rule == rule


def test_only_what_an_algorithm_has_is_written() -> None:
    written = make_run(optimizer={"name": "adafactor"}).optimizer.plain()
    assert list(written) == ["name", "learning_rate", "weight_decay", "clip", "beta2_decay", "clip_threshold"]
