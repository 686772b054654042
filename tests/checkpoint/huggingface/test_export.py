"""Checkpoints of every layout as transformers loads them, one tensor at a time, whole or not there."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from pretrain.checkpoint.files import name_of
from pretrain.checkpoint.huggingface import export as export_module
from pretrain.checkpoint.huggingface.export import export
from pretrain.checkpoint.huggingface.import_ import import_model
from pretrain.checkpoint.huggingface.sources import Imported, open_weights
from pretrain.checkpoint.huggingface.weights import each
from pretrain.checkpoint.weights import load_model
from pretrain.cli.main import app
from pretrain.config.errors import ConfigError, RunError
from tests.checkpoint.huggingface.models import VOCABULARY, model_of, write_imported
from tests.checkpoint.trained import LAYOUTS, copy_of, train_layout
from tests.model.builders import GPT, GPTJ, LLAMA, MPT

Trained = Callable[[str], Path]


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_of_every_layout(trained: Trained, layout: str, tmp_path: Path) -> None:
    """Logits are those of the checkpoint, without its 124 padding rows."""
    run = trained(layout)
    done = export(run, tmp_path / "theirs")
    assert done.compared is not None
    assert done.compared.largest_logit_difference < 1e-5
    assert done.compared.sequence_length == 16
    ids = torch.randint(VOCABULARY, (2, 16), generator=torch.Generator().manual_seed(5))
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "theirs")).eval()
    assert model.transformer.wte.weight.shape == (260, 32)
    ours, _ = load_model(str(run))
    torch.testing.assert_close(model(ids).logits, ours.logits(ids), atol=1e-5, rtol=1e-5)

    plain = json.loads((tmp_path / "theirs" / "export.json").read_text())
    assert plain["checkpoint"] == str(run / "checkpoints" / name_of(20))
    assert (plain["step"], plain["tokens"], plain["dtype"]) == (20, 1280, "fp32")
    assert plain["largest_logit_difference"] == done.compared.largest_logit_difference
    assert plain["fingerprint"] == done.fingerprint
    assert len(plain["fingerprint"]) == 16
    assert plain["architecture"] == "GPT2LMHeadModel"


OTHERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "alibi": ("tensor2", "MptForCausalLM", MPT),
    "parallel": ("pipe2", "PhiForCausalLM", GPTJ),
    "rope": ("tensor2", "GPTNeoXForCausalLM", {**GPTJ, "parallel_block": False}),
}


@pytest.mark.parametrize("case", OTHERS)
def test_of_tensor_and_pipe_by_other_architectures(case: str, byte_corpus: Path, tmp_path: Path) -> None:
    """Every number comes back."""
    layout, architecture, fields = OTHERS[case]
    train_layout(layout, byte_corpus, tmp_path / "run", model={"vocab_size": VOCABULARY, **fields})
    done = export(tmp_path / "run", tmp_path / "theirs")
    assert done.architecture == architecture
    assert done.compared is not None
    assert done.compared.largest_logit_difference < 1e-5
    import_model(tmp_path / "theirs", tmp_path / "back", check=False)
    trained = open_weights(tmp_path / "run")
    for name, value in each(Imported(tmp_path / "back")):
        assert torch.equal(value, trained.whole(name)), name


def test_an_earlier_step(trained: Trained, tmp_path: Path) -> None:
    export(trained("one") / "checkpoints" / name_of(10), tmp_path / "theirs", check=False)
    plain = json.loads((tmp_path / "theirs" / "export.json").read_text())
    assert plain["step"] == 10
    assert plain["largest_logit_difference"] is None
    assert plain["why"] == "not compared: --no-check"


@pytest.mark.parametrize("style", [GPT, LLAMA])
def test_mup_is_moved_into_the_weights(style: dict[str, Any], tmp_path: Path) -> None:
    """transformers, which has no muP, computes the logits of the model that has it."""
    mup = {"base_d_model": 8, "base_d_head": 2, "embedding_multiplier": 3.0, "output_multiplier": 0.5}
    write_imported(model_of(**style, mup=mup), tmp_path / "ours")
    done = export(tmp_path / "ours", tmp_path / "theirs")
    assert done.compared is not None
    assert done.compared.largest_logit_difference < 1e-5 * max(1, done.compared.largest_logit)
    assert json.loads((tmp_path / "theirs" / "export.json").read_text())["folded_mup"] == mup


@pytest.mark.parametrize(("dtype", "torch_dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_the_bytes(dtype: Any, torch_dtype: torch.dtype, tmp_path: Path) -> None:
    """Each number is the nearest of that type, and the difference that this makes is told."""
    weights = write_imported(model_of(**LLAMA), tmp_path / "ours")
    done = export(tmp_path / "ours", tmp_path / "theirs", dtype)
    assert done.bytes == 2 * done.parameters
    written = load_file(tmp_path / "theirs" / "model.safetensors")
    expected = weights["blocks.1.mlp.gate.weight"].to(torch_dtype)
    assert torch.equal(written["model.layers.1.mlp.gate_proj.weight"], expected)
    assert done.compared is not None
    assert 1e-4 < done.compared.largest_logit_difference < 1


def test_what_fp16_cannot_hold(tmp_path: Path) -> None:
    write_imported(model_of(**GPT), tmp_path / "ours")
    with_large(tmp_path / "ours", "head.norm.weight", 70_000.0)
    with pytest.raises(ConfigError, match=r"holds up to 65504; transformer.ln_f.weight has numbers up to 7e\+04"):
        export(tmp_path / "ours", tmp_path / "theirs", "fp16", check=False)
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]
    export(tmp_path / "ours", tmp_path / "theirs", "bf16", check=False)


def with_large(directory: Path, name: str, value: float) -> None:
    weights = load_file(directory / "model.safetensors")
    weights[name][0] = value
    save_file(weights, directory / "model.safetensors")


def test_shards(tmp_path: Path) -> None:
    """No file above the limit but those of one tensor; the index names all; transformers finds them."""
    write_imported(model_of(**GPT), tmp_path / "ours")
    export(tmp_path / "ours", tmp_path / "whole", check=False)
    export(tmp_path / "ours", tmp_path / "parts", shard_bytes=20_000)
    files = sorted((tmp_path / "parts").glob("*.safetensors"))
    assert [path.name for path in files] == [f"model-{number:05d}-of-00011.safetensors" for number in range(1, 12)]
    for path in files:
        assert path.stat().st_size < 22_000 or len(load_file(path)) == 1
    index = json.loads((tmp_path / "parts" / "model.safetensors.index.json").read_text())
    whole, parts = load_file(tmp_path / "whole" / "model.safetensors"), {}
    for path in files:
        parts |= load_file(path)
    assert index["metadata"]["total_size"] == sum(4 * value.numel() for value in whole.values())
    assert index["weight_map"].keys() == whole.keys() == parts.keys()
    assert all(torch.equal(parts[name], value) for name, value in whole.items())
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "parts"))
    assert torch.equal(model.transformer.h[2].mlp.c_fc.weight, whole["transformer.h.2.mlp.c_fc.weight"])


def test_one_tensor_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a parameter is read, none that was read before is held any more."""
    write_imported(model_of(**LLAMA), tmp_path / "ours")
    alive: list[weakref.ref[Tensor]] = []
    most = [0]
    read = Imported.whole

    def whole(self: Imported, name: str) -> Tensor:
        most[0] = max(most[0], sum(ref() is not None for ref in alive))
        alive.append(weakref.ref(value := read(self, name)))
        return value

    monkeypatch.setattr(Imported, "whole", whole)
    export(tmp_path / "ours", tmp_path / "theirs", check=False)
    assert len(alive) == 24
    assert most == [0]


def test_the_memory_of_a_larger_model(tmp_path: Path) -> None:
    """57 MB of weights in files, of which a tensor has 1 MB, pass through less than 12 MB of memory of the process's
    own: mapped pages of files are the system's to take back.
    """
    write_imported(model_of(**{**LLAMA, "layers": 14, "d_model": 256, "d_ff": 1024}), tmp_path / "ours")
    code = f"""
from pathlib import Path
from pretrain.checkpoint.huggingface.export import export
from pretrain.checkpoint.huggingface.tensors import Writer

held, put = [], Writer.put

def watched(self, name, value):
    put(self, name, value)
    status = Path("/proc/self/status").read_text()
    held.append(int(status.partition("RssAnon:")[2].split()[0]))

Writer.put = watched
export(Path({str(tmp_path / "ours")!r}), Path({str(tmp_path / "theirs")!r}), check=False)
print(max(held) - held[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "theirs" / "model.safetensors").stat().st_size > 57e6
    assert int(done.stdout) * 1024 < 12e6


# what is wrong ------------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_imported(model_of(**GPT), tmp_path / "ours")
    (tmp_path / "empty").mkdir()
    export(tmp_path / "ours", tmp_path / "empty", check=False)
    before = (tmp_path / "empty" / "export.json").read_bytes()
    for target in (tmp_path / "empty", tmp_path / "ours" / "model.yaml"):
        with pytest.raises(ConfigError, match="must be a new or an empty directory"):
            export(tmp_path / "ours", target, check=False)
    assert (tmp_path / "empty" / "export.json").read_bytes() == before


def test_a_damaged_checkpoint(trained: Trained, tmp_path: Path) -> None:
    checkpoint = copy_of(trained("one"), tmp_path / "run")
    (file,) = checkpoint.glob("engine/*.pt")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="was altered"):
        export(checkpoint, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be a checkpoint or a run directory that has one"):
        export(tmp_path / "nothing", tmp_path / "theirs")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: nothing is begun. In the middle: nothing is left."""
    write_imported(model_of(**GPT), tmp_path / "ours")
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match=r"needs 189,056 bytes, .* has 1,000 free"):
        patch.setattr(shutil, "disk_usage", lambda _: free)
        export(tmp_path / "ours", tmp_path / "theirs")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(export_module.Writer, "put", full)
    with pytest.raises(ConfigError, match="cannot be written: the disk is full"):
        export(tmp_path / "ours", tmp_path / "theirs")
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def test_a_killed_export(tmp_path: Path) -> None:
    """What it left is no directory that anyone loads, and the next one removes it."""
    write_imported(model_of(**GPT), tmp_path / "ours")
    (tmp_path / ".theirs.partial").mkdir()
    (tmp_path / ".theirs.partial" / "model.safetensors").write_bytes(b"half")
    export(tmp_path / "ours", tmp_path / "theirs", check=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "theirs"]


def test_a_wrong_mapping_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the head's norm is written where the first block's belongs."""
    from pretrain.checkpoint.huggingface.gpt2 import GPT2

    write_imported(model_of(**GPT), tmp_path / "ours")
    right = GPT2.matches

    def wrong(self: GPT2, model: Any) -> Any:
        swap = {"transformer.ln_f.weight": "transformer.h.0.ln_1.weight"}
        swap |= {value: key for key, value in swap.items()}
        for match in right(self, model):
            yield type(match)(match.ours, tuple(swap.get(name, name) for name in match.theirs), match.split, match.join)

    monkeypatch.setattr(GPT2, "matches", wrong)
    with pytest.raises(RunError, match="transformers computes another model, nothing was written"):
        export(tmp_path / "ours", tmp_path / "theirs")
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def test_the_command(tmp_path: Path) -> None:
    write_imported(model_of(**GPT), tmp_path / "ours")
    arguments = ["export", str(tmp_path / "ours"), "--to", str(tmp_path / "theirs"), "--dtype", "bf16"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "GPT2LMHeadModel, 47,264 parameters, bf16" in result.output
    assert "the largest difference to transformers' is" in result.output
    with safe_open(tmp_path / "theirs" / "model.safetensors", "pt") as file:
        assert file.get_slice("transformer.wte.weight").get_dtype() == "BF16"
    result = CliRunner().invoke(app, [*arguments[:3], str(tmp_path / "other"), "--shard-size", "huge"])
    assert isinstance(result.exception, ConfigError)
    assert not (tmp_path / "other").exists()
