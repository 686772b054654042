"""The list of layers and the module around it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pretrain.model
from pretrain.config.errors import ConfigError
from pretrain.model.init import materialize
from pretrain.model.layers import Attention, Block, Embedding, Head, ParallelBlock
from pretrain.model.loss import Losses
from pretrain.model.sequence import describe
from pretrain.model.transformer import Transformer, build_layers, layer_names
from tests.model.builders import STYLES, build, small, tokens

DOCUMENT = torch.tensor([[0] * 7 + [1] * 13, [0] * 12 + [1] * 8], dtype=torch.int32)
CPU = torch.device("cpu")


def test_imports_nothing_that_knows_of_processes() -> None:
    names = set()
    for path in Path(pretrain.model.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name.rsplit(".", 1)[0] for name in names if name.startswith("pretrain.")}
    assert "torch.nn" in names and all(name.startswith(("pretrain.model", "pretrain.config")) for name in ours)
    assert not [name for name in names if name.startswith(("torch.distributed", "deepspeed"))]


def test_parameter_names() -> None:
    """Checkpoints, exports and initial weights go by these."""
    block = ["attention_norm", "attention.qkv", "attention.out", "mlp_norm", "mlp.up", "mlp.down"]
    assert [name for name, _ in Transformer(small(layers=1)).named_parameters(remove_duplicate=False)] == [
        "embedding.tokens.weight",
        "embedding.positions.weight",
        *(f"blocks.0.{part}.{kind}" for part in block for kind in ("weight", "bias")),
        "head.weight",
        "head.norm.weight",
        "head.norm.bias",
    ]
    llama = [name for name, _ in Transformer(small(**STYLES["llama"], layers=1)).named_parameters()]
    assert llama == [
        "embedding.tokens.weight",
        "blocks.0.attention_norm.weight",
        "blocks.0.attention.qkv.weight",
        "blocks.0.attention.out.weight",
        "blocks.0.mlp_norm.weight",
        "blocks.0.mlp.gate.weight",
        "blocks.0.mlp.up.weight",
        "blocks.0.mlp.down.weight",
        "head.weight",
        "head.norm.weight",
    ]
    beside = [name for name, _ in Transformer(small(**STYLES["swiglu beside"], layers=1)).named_parameters()]
    assert beside[1:-2] == [
        "blocks.0.attention_norm.weight",
        "blocks.0.attention.qkv.weight",
        "blocks.0.attention.out.weight",
        "blocks.0.attention.q_norm.weight",
        "blocks.0.attention.k_norm.weight",
        "blocks.0.mlp.gate.weight",
        "blocks.0.mlp.up.weight",
        "blocks.0.mlp.down.weight",
    ]


@pytest.mark.parametrize("style", STYLES)
def test_any_cut_into_stages_gives_the_same_losses(style: str) -> None:
    """Each stage knows the document ids and its input, nothing of the other stages."""
    config = small(**STYLES[style], bands={"width": 4})
    model = build(config)
    inputs, targets = tokens(config, 2, 20)
    expected = model(inputs, targets, DOCUMENT)
    layers = build_layers(config)
    for name, layer in zip(layer_names(config), layers, strict=True):
        layer.load_state_dict(model.get_submodule(name).state_dict())
    block = ParallelBlock if config.parallel_block else Block
    assert [type(layer) for layer in layers] == [Embedding, block, block, block, Head]
    for cut in range(1, len(layers)):
        hidden = inputs
        for stage in (layers[:cut], layers[cut:]):
            sequence = describe(config, hidden.shape[:2], CPU, document=DOCUMENT)
            for layer in stage:
                hidden = layer(hidden, sequence, targets) if isinstance(layer, Head) else layer(hidden, sequence)
        assert isinstance(hidden, Losses)
        assert torch.equal(hidden.total, expected.total) and torch.equal(hidden.per_token, expected.per_token)


def test_losses_are_those_of_the_logits() -> None:
    config = small()
    model = build(config)
    inputs, targets = tokens(config, 2, 20)
    logits = model.logits(inputs, DOCUMENT)
    assert logits.shape == (2, 20, 97) and logits.dtype == torch.float32
    expected = -logits.log_softmax(-1).gather(2, targets.clamp(min=0)[..., None])[..., 0] * (targets != -100)
    losses = model(inputs, targets, DOCUMENT)
    torch.testing.assert_close(losses.per_token, expected, atol=1e-5, rtol=1e-5)
    assert losses.total.item() == pytest.approx(expected.sum().item(), rel=1e-6)


def test_the_future_does_not_matter() -> None:
    config = small(bands={"width": 3})
    model = build(config)
    inputs, _ = tokens(config, 1, 12)
    changed = inputs.clone()
    changed[0, 8] = (changed[0, 8] + 1) % 97
    before, after = model.logits(inputs)[0], model.logits(changed)[0]
    assert torch.equal(before[:8], after[:8]) and (before[8:] - after[8:]).abs().amax(dim=1).min() > 1e-3


@pytest.mark.parametrize("style", STYLES)
def test_parameters_are_used_only_inside_their_module(style: str) -> None:
    """What ZeRO-3 needs: outside forward of the module that registers it, a parameter is not there."""
    config = small(**STYLES[style])
    model = build(config)
    inputs, targets = tokens(config, 2, 20)
    expected = model(inputs, targets).total
    values = {id(parameter): parameter.data for parameter in model.parameters()}

    def gather(module: nn.Module, _: Any) -> None:
        for parameter in module.parameters(recurse=False):
            parameter.data = values[id(parameter)]

    def release(module: nn.Module, *_: Any) -> None:
        for parameter in module.parameters(recurse=False):
            parameter.data = torch.full_like(values[id(parameter)], float("nan"))

    for module in model.modules():
        release(module)
        module.register_forward_pre_hook(gather)
        module.register_forward_hook(release)
    with torch.no_grad():
        assert torch.equal(model(inputs, targets).total, expected)


@pytest.mark.parametrize("style", STYLES)
def test_bf16_cast(style: str) -> None:
    config = small(**STYLES[style], bands={"width": 4})
    model = build(config)
    inputs, targets = tokens(config, 2, 20)
    wide = model(inputs, targets, DOCUMENT)
    wide_gradients = torch.autograd.grad(wide.total, list(model.parameters()))
    model.bfloat16()
    losses = model(inputs, targets, DOCUMENT)
    losses.total.backward()
    assert losses.total.dtype == losses.per_token.dtype == model.logits(inputs).dtype == torch.float32
    assert losses.total.item() == pytest.approx(wide.total.item(), rel=0.02)
    assert (model.head.weight is model.embedding.tokens.weight) == config.tied_embeddings
    for (name, parameter), gradient in zip(model.named_parameters(), wide_gradients, strict=True):
        assert parameter.grad.dtype == torch.bfloat16
        cosine = nn.functional.cosine_similarity(parameter.grad.float().flatten(), gradient.flatten(), dim=0)
        assert cosine > 0.97, name


def test_materialize_keeps_embeddings_tied() -> None:
    with torch.device("meta"):
        model = Transformer(small())
    materialize(model, "cpu")
    assert model.head.weight is model.embedding.tokens.weight and not model.head.weight.is_meta


@pytest.mark.parametrize("style", ["gpt", "llama-gqa", "alibi", "swiglu beside"])
def test_compiles_without_graph_breaks(style: str) -> None:
    config = small(**STYLES[style], layers=2, bands={"width": 4})
    model = build(config)
    inputs, _ = tokens(config, 2, 20)
    sequence = describe(config, (2, 20), CPU, document=DOCUMENT)

    def run(ids: Tensor) -> Tensor:
        hidden = model.embedding(ids, sequence)
        for block in model.blocks:
            hidden = block(hidden, sequence)
        return model.head(hidden, sequence)

    compiled = torch.compile(run, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(inputs), model.logits(inputs, DOCUMENT))


def test_dropout_acts_in_training_only() -> None:
    """And at each of its three places: embedding, attention weights, residual branches."""
    config = small(dropout=0.5)
    model = build(config)
    inputs, targets = tokens(config, 2, 20)
    assert torch.equal(model(inputs, targets).total, build(small())(inputs, targets).total)
    sequence = describe(config, (2, 20), CPU)
    torch.manual_seed(0)
    embedding, attention = Embedding(config), Attention(config, 0)
    hidden = torch.randn(2, 20, 32)
    first_branch, second_branch = build(config).blocks[0], build(config).blocks[0]
    for block, silent in ((first_branch, "mlp"), (second_branch, "attention")):
        block.attention.core.dropout = 0.0  # so that the block shows the dropout of one residual branch alone
        block.get_submodule(silent).register_forward_hook(lambda *call: torch.zeros_like(call[-1]))
    for module, value in ((embedding, inputs), (attention, hidden), (first_branch, hidden), (second_branch, hidden)):
        module.train()
        assert not torch.equal(module(value, sequence), module(value, sequence)), type(module)
        module.eval()
        assert torch.equal(module(value, sequence), module(value, sequence)), type(module)
    embedding.train()
    assert (embedding(inputs, sequence) == 0).float().mean().item() == pytest.approx(0.5, abs=0.08)


def test_kernel_is_chosen_for_dropout_only_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fused kernel without dropout must not be refused in evaluation."""
    asked: list[float] = []
    monkeypatch.setattr("pretrain.model.sequence.choose", lambda *given: asked.append(given[-1]) or "sdpa")
    model = build(small(dropout=0.5))
    inputs, targets = tokens(model.config, 1, 4)
    model.train()(inputs, targets)
    model.eval()(inputs, targets)
    assert asked == [0.5, 0.0]


def test_bands_alternate_and_hide_what_is_behind_them() -> None:
    config = small(layers=6, bands={"every": 2, "width": 3})
    assert [block.attention.core.width for block in build(config).blocks] == [None, 3, None, 3, None, 3]
    for layers, every, reach in ((1, 1, 3), (2, 1, 5), (2, 2, 12)):  # each banded layer carries 2 tokens further
        model = build(small(layers=layers, bands={"every": every, "width": 3}))
        inputs, _ = tokens(model.config, 1, 12)
        changed = inputs.clone()
        changed[0, 0] = (changed[0, 0] + 1) % 97
        moved = (model.logits(inputs) - model.logits(changed))[0].abs().amax(dim=1)
        assert (moved > 1e-6).tolist() == [position < reach for position in range(12)]


@pytest.mark.parametrize("attention", ["plain", "sdpa"])
def test_attention_dropout_drops_weights(attention: str) -> None:
    """Values of 1 make each output the sum of the kept weights, scaled: it averages 1 and varies."""
    from pretrain.model.attention import KERNELS, Sight

    torch.manual_seed(0)
    kernel = KERNELS[attention]
    q = torch.randn(4, 4, 64, 8)
    out = kernel.attend(q, q, torch.ones_like(q), kernel.prepare(Sight(4, torch.arange(64), 64)), 0.5)
    assert out.mean().item() == pytest.approx(1, abs=0.05) and out.std() > 0.1


def test_sequence_longer_than_the_context_is_refused() -> None:
    config = small()
    inputs, targets = tokens(config, 1, 25)
    with pytest.raises(ConfigError, match=r"(?s)model\.context = 24.*25 tokens"):
        build(config)(inputs, targets)
