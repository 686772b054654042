"""`pretrain order` and `pretrain corpus remove | adopt` as commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pretrain.cli.main import app
from pretrain.served.find import find_documents
from pretrain.served.open import open_served
from tests.served.conftest import MakeRun


def command(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_show(make_run: MakeRun) -> None:
    run = make_run(done=(3,))
    everything = command("order", "show", run, "--step", "2", "--text", "0").stdout.splitlines()
    assert [line.split(":")[0] for line in everything if line.startswith("sample")] == [
        f"sample {n}" for n in range(4, 8)
    ]
    mine = json.loads(command("order", "show", run, "--step", "2", "--rank", "1", "--json").stdout)
    assert [sample["index"] for sample in mine] == [6, 7]
    place = mine[0]["pieces"][0]
    assert f"{place['piece']['shard']}:{place['piece']['document']}" in "\n".join(everything)


def test_find(make_run: MakeRun) -> None:
    run = make_run(done=(3,))
    found = command("order", "find", run, "--document", "web-3")
    assert found.exit_code == 0 and "(web-3), " in found.stdout
    plain = json.loads(command("order", "find", run, "--document", "web-3", "--json").stdout)
    assert plain[0]["origin"]["id"] == "web-3"
    nothing = command("order", "find", run, "--document", "web-99")
    assert nothing.exit_code == 1 and "no document web-99 in" in nothing.stdout


def test_verify(make_run: MakeRun) -> None:
    a, b = make_run("a", done=(3,)), make_run("b", done=(3,), train={"seed": 8})
    assert command("order", "verify", a, a).exit_code == 0
    differs = command("order", "verify", a, b)
    assert differs.exit_code == 1 and differs.stdout.splitlines()[-1] == "  train.seed: 1234 and 8"


def test_remove_tells_who_saw_them(
    make_run: MakeRun, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(prepared.parent, tmp_path / "copy")) / "manifest.json"
    monkeypatch.chdir(tmp_path)
    run = Path(make_run("seen", done=(20,), data={"manifest": "copy/manifest.json"}))
    found = list(find_documents(open_served(str(run)), ["web-3", "web-5"], lambda _what, shards, *_: shards))
    steps = {one.step for document in found for one in document.sightings}
    (tmp_path / "ids").write_text("web-3\nweb-5\n")
    words = ["corpus", "remove", "copy", "--ids", "ids", "--runs", str(run.parent)]
    before = copy.read_bytes()
    told = command(*words, "--dry-run")
    assert told.exit_code == 0 and copy.read_bytes() == before
    assert f"{run}: {len(steps)} of 20 steps saw any of them" in told.stdout and "(web-3), " in told.stdout
    done = command(*words)
    assert "2 documents are not in copy/manifest.json any more" in done.stdout
    again = command(*words)
    assert again.exit_code == 1 and "no document web-3, web-5 in copy/manifest.json" in again.stdout


def test_adopt(prepared: Path, tmp_path: Path) -> None:
    prefix = next(prepared.parent.rglob("train-00000.bin")).with_suffix("")
    tokenizer = str(prepared.parent / "tokenizer")
    done = command("corpus", "adopt", str(tmp_path / "mine"), f"web={prefix}", "--tokenizer", tokenizer)
    assert done.exit_code == 0 and done.stdout.splitlines()[-1] == f"wrote {tmp_path}/mine/manifest.json"
