"""What decays."""

import torch

from pretrain.config.optimizer import Optimizer
from pretrain.model.transformer import Transformer
from pretrain.training.optimizer import make_optimizer, set_learning_rate
from tests.config.example import make_run


def test_only_matrices_decay_and_tied_weights_stand_once() -> None:
    model = Transformer(make_run(model={"vocab_size": 64}).model)
    optimizer = make_optimizer(model, Optimizer.parse({"learning_rate": 1e-3}), torch.device("cpu"))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, plain = ([names[id(p)] for p in group["params"]] for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert "embedding.tokens.weight" in decayed and "blocks.0.attention.qkv.weight" in decayed
    assert all(name.endswith(("bias", "norm.weight")) for name in plain)
    assert len(decayed) + len(plain) == len(names)


def test_the_rate_is_set_in_every_group() -> None:
    model = Transformer(make_run(model={"vocab_size": 64}).model)
    optimizer = make_optimizer(model, Optimizer.parse({"learning_rate": 1e-3}), torch.device("cpu"))
    set_learning_rate(optimizer, 5e-4)
    assert [group["lr"] for group in optimizer.param_groups] == [5e-4, 5e-4]
