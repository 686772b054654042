"""kill -9 anywhere: the next call goes on, redoes nothing that was finished, and ends with the same bytes."""

import subprocess
import sys
from pathlib import Path

import pytest

from pretrain.corpus import workspace
from pretrain.corpus.prepare import prepare
from pretrain.corpus.progress import Reporter
from pretrain.shards.manifest import load_manifest
from tests.corpus.helpers import files, jsonl, recipe, texts, write_jsonl

KILLED = """
import os, signal, sys, yaml
from pretrain.config.corpus import Corpus
from pretrain.corpus.prepare import prepare
from pretrain.shards import files

left = int(sys.argv[2])
replace = os.replace

def replace_or_die(source, target):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

os.replace = replace_or_die
prepare(Corpus.parse(yaml.safe_load(sys.argv[1])))
"""


@pytest.mark.parametrize("renames", [0, 3, 9, 17, 24, 30, 41, 50])
def test_killed_at_a_rename(renames: int, tmp_path: Path, tokenizer: Path) -> None:
    import yaml

    web = [write_jsonl(tmp_path / f"web-{i}.jsonl", texts(f"web{i}", 60)) for i in range(2)]
    books = write_jsonl(tmp_path / "books.jsonl", texts("book", 60))
    plain = recipe(tmp_path / "out", tokenizer, {"web": jsonl(*web), "books": jsonl(books)}, shard_size=1000)
    done = subprocess.run([sys.executable, "-c", KILLED, yaml.safe_dump(plain.plain(), sort_keys=False), str(renames)])
    assert done.returncode == -9, "prepared before it was to be killed: give a smaller number"
    assert not (tmp_path / "out" / "manifest.json").exists()
    shards = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.documents.parquet")}
    recorded = len(list((tmp_path / "out" / ".prepare" / "shards").glob("*.json")))
    manifest = load_manifest(prepare(plain))
    kept = sum(path.stat().st_mtime_ns == shards[path] for path in shards)
    assert kept >= recorded
    whole = recipe(tmp_path / "whole", tokenizer, {"web": jsonl(*web), "books": jsonl(books)}, shard_size=1000)
    assert load_manifest(prepare(whole)).sources == manifest.sources
    ours, theirs = files(tmp_path / "out"), files(tmp_path / "whole")
    del ours["manifest.json"], theirs["manifest.json"]
    assert ours == theirs


def test_goes_on_in_words(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between taking the old manifest away and writing the new one there is none; the next call finishes."""
    path = write_jsonl(tmp_path / "a.jsonl", texts("a", 30))
    plain = recipe(tmp_path / "out", tokenizer, {"a": jsonl(path)})
    prepare(plain)
    write_jsonl(tmp_path / "a.jsonl", texts("b", 40))
    copy = workspace.shutil.copytree
    monkeypatch.setattr(workspace.shutil, "copytree", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare(plain)
    assert not (tmp_path / "out" / "manifest.json").exists()
    monkeypatch.setattr(workspace.shutil, "copytree", copy)
    manifest = load_manifest(prepare(plain, Reporter()))
    assert "going on with" in capsys.readouterr().err
    assert sum(split.documents for split in manifest.sources["a"].splits.values()) == 40
    assert len(list((tmp_path / "out").glob("data-*"))) == 1


def test_another_recipe_starts_afresh_and_leaves_the_old_corpus_until_it_is_done(
    tmp_path: Path, tokenizer: Path
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", texts("a", 30))
    old = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, {"a": jsonl(path)})))
    bad = tmp_path / "bad.jsonl"
    bad.write_text("not json\n")
    with pytest.raises(Exception, match="is not JSON"):
        prepare(recipe(tmp_path / "out", tokenizer, {"a": jsonl(path), "bad": jsonl(str(bad))}))
    assert load_manifest(tmp_path / "out" / "manifest.json") == old
