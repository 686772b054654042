"""Blocks under torch.compile: the same numbers, one compilation for all of them, and no start without a compiler."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from pretrain.config.errors import ConfigError
from pretrain.parallel import compile as compile_module
from pretrain.parallel.compile import add_compile
from pretrain.train import train
from tests.example import small_run
from tests.model.builders import build, small, tokens


def losses_and_gradients(compiled: bool) -> list[torch.Tensor]:
    config = small()
    model = build(config).train()
    if compiled:
        add_compile(model.blocks)  # type: ignore[arg-type]
    losses = model(*tokens(config, 2, 9))
    losses.total.backward()
    return [losses.per_token, *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.slow  # the compiler takes 10 s or more
def test_one_compilation_serves_all_blocks() -> None:
    from torch._dynamo.utils import counters

    expected = losses_and_gradients(compiled=False)
    counters.clear()
    found = losses_and_gradients(compiled=True)
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    assert len(found) == len(expected) > 30
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_refused_where_there_is_no_compiler(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_module, "_cpp_compiler", lambda: "no-such-g++")
    run = small_run(corpus, tmp_path / "run", train={"compile": True})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    with pytest.raises(ConfigError) as error:
        train(str(tmp_path / "run.yaml"))
    (problem,) = error.value.problems
    assert problem.field == "train.compile" and "a C++ compiler (no-such-g++)" in problem.rule
    assert "train.compile: false" in problem.fix and not (tmp_path / "run").exists()


def test_the_compiler_is_named_as_torch_does() -> None:
    """torch's own choice: $CXX when its compiler is first imported, else g++ (clang++ on a Mac)."""
    from torch._inductor import config

    with config.patch({"cpp.cxx": (None, "my-g++")}):
        assert compile_module._cpp_compiler() == "my-g++"
