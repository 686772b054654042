"""What is wrong with the input is said with its place, before anything is put under the corpus's name."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from pretrain.config.corpus import normalised
from pretrain.config.errors import ConfigError
from pretrain.corpus.prepare import prepare
from pretrain.corpus.progress import Reporter
from pretrain.corpus.show import print_manifest
from pretrain.shards.manifest import load_manifest
from tests.corpus.helpers import documents, jsonl, recipe, texts, write_jsonl


def broken_jsonl(tmp_path: Path) -> str:
    path = tmp_path / "web.jsonl"
    lines = [json.dumps({"text": text}).encode() for text in texts("web", 20)]
    lines[7], lines[11], lines[12] = b'{"text": ', b'{"text": "\xff\xfe"}', b'{"body": "x"}'
    path.write_bytes(b"\n".join(lines) + b"\n")
    return str(path)


@pytest.mark.parametrize("workers", [1, 2])
def test_broken_records_are_refused_with_file_and_line(workers: int, tmp_path: Path, tokenizer: Path) -> None:
    path = broken_jsonl(tmp_path)
    with pytest.raises(ConfigError) as caught:
        prepare(recipe(tmp_path / "out", tokenizer, {"web": jsonl(path)}, workers=workers))
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == ("sources.web", f"{path}, record 8")
    assert problem.rule.startswith("is not JSON")
    assert "on_error: count" in problem.fix
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_broken_records_are_counted(tmp_path: Path, tokenizer: Path) -> None:
    source = jsonl(broken_jsonl(tmp_path), on_error="count")
    manifest = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, {"web": source}, validation=0)))
    read = manifest.sources["web"].stages[0]
    assert (read.documents_in, read.documents_out) == (20, 17)
    assert read.bytes_in - read.bytes_out == len(b'{"text": ') + len(b'{"text": "\xff\xfe"}') + len(b'{"body": "x"}')
    assert len(documents(manifest, "web", "train")) == 17


@pytest.mark.parametrize(
    ("lines", "more"),
    [
        ([], {}),
        ([""], {}),
        (["short"], {"minimum_bytes": 100}),
        (["the same"], {}),
        (["long" * 100], {"maximum_bytes": 10}),
    ],
)
def test_a_source_without_documents_is_refused(
    lines: list[str], more: dict[str, int], tmp_path: Path, tokenizer: Path
) -> None:
    first = write_jsonl(tmp_path / "first.jsonl", ["the same", "another"])
    empty = write_jsonl(tmp_path / "empty.jsonl", lines)
    with pytest.raises(ConfigError, match="no training documents are left") as caught:
        prepare(recipe(tmp_path / "out", tokenizer, {"first": jsonl(first), "empty": jsonl(empty, **more)}))
    assert caught.value.problems[0].field == "sources.empty"


def test_weights_that_sum_to_something_else_are_said(
    tmp_path: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"web": 60, "webtext": 22, "books": 16, "wiki": 3}
    sources = {
        name: jsonl(write_jsonl(tmp_path / f"{name}.jsonl", texts(name, 9)), weight=weight)
        for name, weight in names.items()
    }
    manifest = prepare(recipe(tmp_path / "out", tokenizer, sources), Reporter())
    note = "weights sum to 101: normalised to web 59.4%, webtext 21.8%, books 15.8%, wiki 3.0%"
    assert capsys.readouterr().err.count(note) == 1
    print_manifest(load_manifest(manifest))
    assert note in capsys.readouterr().out
    assert normalised({"a": Decimal("0.6"), "b": Decimal("0.4")}) is None
    assert normalised({"a": Decimal(97), "b": Decimal(3)}) is None


@pytest.mark.parametrize("deduplicate", [{}, {"fuzzy": {}}, {"lines": {}}])
def test_all_sources_empty(deduplicate: dict[str, object], tmp_path: Path, tokenizer: Path) -> None:
    empty = write_jsonl(tmp_path / "empty.jsonl", [])
    with pytest.raises(ConfigError, match=r"sources\.empty = 0"):
        prepare(recipe(tmp_path / "out", tokenizer, {"empty": jsonl(empty)}, deduplicate=deduplicate))


def test_the_source_is_named(tmp_path: Path, tokenizer: Path) -> None:
    with pytest.raises(ConfigError, match=r"sources\.web\.paths = .*\n +rule: matches no file"):
        prepare(recipe(tmp_path / "out", tokenizer, {"web": jsonl(str(tmp_path / "*.none"))}))


def test_bad_tokenizers(tmp_path: Path, tokenizer: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", texts("a", 10))
    with pytest.raises(ConfigError, match="must be an existing file or directory"):
        prepare(recipe(tmp_path / "out", tmp_path / "none", {"a": jsonl(path)}))
    plain = json.loads((tokenizer / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**plain, "added_tokens": []}))
    with pytest.raises(ConfigError, match="has no end-of-text token"):
        prepare(recipe(tmp_path / "out", tmp_path / "tokenizer.json", {"a": jsonl(path)}))
    with pytest.raises(ConfigError, match=r"tokenizer\.train\.vocab_size = 50000\n +rule: the text is too little"):
        prepare(recipe(tmp_path / "out", {"train": {"vocab_size": 50_000}}, {"a": jsonl(path)}))


def test_a_full_disk_is_said_and_nothing_half_stays(
    small_disk: Callable[[int], Path], tmp_path: Path, tokenizer: Path
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [f"{text} {i}" * 20 for i, text in enumerate(texts("a", 2000))])
    folder = small_disk(1 << 20)
    with pytest.raises(ConfigError, match=r"the disk is full|the file is too large"):
        prepare(recipe(folder, tokenizer, {"a": jsonl(path)}, shard_size=100_000))
    assert not list(folder.rglob("*.tmp"))
    assert not (folder / "manifest.json").exists()
