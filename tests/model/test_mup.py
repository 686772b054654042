"""muP's multipliers, held against a model without them whose weights say the same."""

from typing import Any

import pytest
import torch

from pretrain.config.errors import ConfigError
from pretrain.model.mup import folded, without_mup
from pretrain.model.transformer import Transformer
from tests.model.builders import STYLES, build, small, tokens

MUP = {"base_d_model": 8, "base_d_head": 2, "embedding_multiplier": 3.0, "output_multiplier": 0.5}


def test_factors() -> None:
    """d_model 32, heads of 8: m = 4, scores x sqrt(2) / 8 instead of 1 / sqrt(8), logits x 0.5 / 4."""
    config = small(mup=MUP)
    assert (config.width_ratio, config.embedding_scale, config.logit_scale) == (4, 3, 0.125)
    assert config.score_scale / 8**0.5 == pytest.approx(2**0.5 / 8, rel=1e-12)
    plain = small()
    assert (plain.width_ratio, plain.embedding_scale, plain.logit_scale, plain.score_scale) == (1, 1, 1, 1)
    assert plain.fingerprint() != config.fingerprint()


@pytest.mark.parametrize("style", [*STYLES])
def test_the_same_model_without_mup(style: str) -> None:
    config = small(**STYLES[style], mup=MUP)
    model, plain = build(config), Transformer(without_mup(config))
    state = {name: folded(config, name, value.detach()) for name, value in model.named_parameters()}
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(state[name])
    inputs, _ = tokens(config, 2, 20)
    torch.testing.assert_close(plain.logits(inputs), model.logits(inputs), rtol=1e-5, atol=1e-5)
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, state[name])}
    assert {"embedding.tokens.weight", "head.norm.weight"} < changed and "head.weight" not in changed


@pytest.mark.parametrize(
    "mup", [{}, {"base_d_model": 0}, {"base_d_model": 8, "base_d_head": 0}, {"base_d_model": 8, "output_multiplier": 0}]
)
def test_bad_input(mup: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        small(mup=mup)
