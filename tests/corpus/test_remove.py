"""Documents taken out of a corpus."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pretrain.config.errors import ConfigError
from pretrain.corpus import remove as module
from pretrain.corpus.prepare import prepare
from pretrain.corpus.progress import Reporter
from pretrain.corpus.remove import find_places, missing, read_names, remove
from pretrain.corpus.verify import verify
from pretrain.data.dataset import Corpus
from pretrain.data.order import Places
from pretrain.shards.manifest import Manifest, load_manifest
from tests.corpus.helpers import documents, files, jsonl, origins, recipe, texts, write_jsonl
from tokenizer import load_tokenizer

GONE = {"web-3", "web-4", "web-77", "web-150"}


def follow(_what: str, items: Iterable[object], *_: object) -> Iterable[object]:
    return items


def made(tmp_path: Path, tokenizer: Path, **more: object) -> Manifest:
    sources = {
        "web": jsonl(write_jsonl(tmp_path / "web.jsonl", texts("web", 200)), id_field="id"),
        "books": jsonl(write_jsonl(tmp_path / "books.jsonl", texts("book", 30))),
    }
    return load_manifest(prepare(recipe(tmp_path / "out", tokenizer, sources, shard_size=1500, **more)))


def taken_out(manifest: Manifest, names: set[str]) -> Manifest:
    path = manifest.directory / "manifest.json"
    places = find_places(manifest, names, follow)
    assert missing(manifest, names, places) == []
    done = remove(path, places, names, follow)
    assert done.documents == len(names) and done.before == manifest.directory / "manifest-001.json"
    return load_manifest(path)


def test_what_stays_and_what_goes(tmp_path: Path, tokenizer: Path) -> None:
    old = made(tmp_path, tokenizer)
    before = {split: documents(old, "web", split) for split in ("train", "validation")}
    untouched = {name: content for name, content in files(old.directory).items() if "/books/" in name}
    new = taken_out(old, GONE | {f"{tmp_path}/web.jsonl:10"})
    lost = {texts("web", 200)[number] for number in (3, 4, 77, 150, 9)}
    for split, kept in before.items():
        assert documents(new, "web", split) == [text for text in kept if text not in lost]
        assert GONE.isdisjoint(row["id"] for row in origins(new, "web", split))
    stage = new.sources["web"].stages[-1]
    sizes = sum(len(text.encode()) for text in lost)
    assert (stage.name, stage.documents_in - stage.documents_out, stage.bytes_in - stage.bytes_out) == (
        "remove",
        5,
        sizes,
    )
    assert new.sources["books"] == old.sources["books"]
    assert all(files(old.directory)[name] == content for name, content in untouched.items())
    assert verify(new.directory / "manifest.json") == []
    assert new.fingerprint() != old.fingerprint()


def test_the_version_of_before_still_serves(tmp_path: Path, tokenizer: Path) -> None:
    old = made(tmp_path, tokenizer)
    new = taken_out(old, GONE)
    kept = load_manifest(old.directory / "manifest-001.json")
    assert kept.fingerprint() == old.fingerprint()
    assert documents(kept, "web", "train") == documents(old, "web", "train")
    assert prepare(_recipe_of(tmp_path, tokenizer)) == new.directory / "manifest.json"
    assert load_manifest(new.directory / "manifest.json") == new, "preparing again does not bring them back"


def _recipe_of(tmp_path: Path, tokenizer: Path) -> object:
    sources = {
        "web": jsonl(str(tmp_path / "web.jsonl"), id_field="id"),
        "books": jsonl(str(tmp_path / "books.jsonl")),
    }
    return recipe(tmp_path / "out", tokenizer, sources, shard_size=1500)


def test_packed_documents_become_padding(tmp_path: Path, tokenizer: Path) -> None:
    """All other samples stay bit for bit, and the counts are those of the tokens."""
    old = made(tmp_path, tokenizer, packing={"method": "best-fit", "sequence_length": 48})
    new = taken_out(old, GONE)
    loaded, end = load_tokenizer(tokenizer), old.tokenizer.end_of_text
    lengths = [len(loaded.encode(texts("web", 200)[number])) for number in (3, 4, 77, 150)]
    ours, theirs = Corpus(new, 48, document_mask=True), Corpus(old, 48, document_mask=True)
    targets = changed = 0
    for streams, others in ((ours.train, theirs.train), (ours.validation, theirs.validation)):
        assert streams[0].samples == others[0].samples
        places = Places(np.zeros(streams[0].samples, np.int64), np.arange(streams[0].samples))
        a, b = ours.read(streams, places), theirs.read(others, places)
        differ = a.tokens != b.tokens
        assert (a.tokens[differ] == end).all()
        targets += b.target_tokens - a.target_tokens
        changed += int(differ.any(axis=1).sum())
    assert targets == sum(lengths)
    cut = sum(length + 1 > 49 for length in lengths)
    splits = [[manifest.sources["web"].splits[name] for name in ("train", "validation")] for manifest in (old, new)]
    assert sum(s.cut_documents for s in splits[0]) - sum(s.cut_documents for s in splits[1]) == cut
    assert sum(s.documents for s in splits[0]) - sum(s.documents for s in splits[1]) == 4
    assert verify(new.directory / "manifest.json") == []


def test_a_second_version(tmp_path: Path, tokenizer: Path) -> None:
    new = taken_out(made(tmp_path, tokenizer), GONE)
    places = find_places(new, {"web-5"}, follow)
    done = remove(new.directory / "manifest.json", places, {"web-5"}, follow)
    assert done.before.name == "manifest-002.json" and done.documents == 1
    assert find_places(load_manifest(done.manifest), {"web-5", *GONE}, follow) == []


def test_long_neighbours_are_copied_in_parts(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 100)
    old = made(tmp_path, tokenizer)
    before = documents(old, "web", "train")
    new = taken_out(old, GONE)
    lost = {texts("web", 200)[number] for number in (3, 4, 77, 150)}
    assert documents(new, "web", "train") == [text for text in before if text not in lost]


def test_names_that_no_document_has(tmp_path: Path, tokenizer: Path) -> None:
    manifest = made(tmp_path, tokenizer)
    names = {"web-3", "nobody", "web.jsonl:3"}
    assert missing(manifest, names, find_places(manifest, names, follow)) == ["nobody", "web.jsonl:3"]


def test_the_file_of_names(tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("a\n\n b:3 \n")
    assert read_names(tmp_path / "ids") == {"a", "b:3"}
    (tmp_path / "empty").write_text("\n")
    for name in ("empty", "none"):
        with pytest.raises(ConfigError, match="write a document a line"):
            read_names(tmp_path / name)


def test_progress_is_shown(tmp_path: Path, tokenizer: Path) -> None:
    manifest = made(tmp_path, tokenizer)
    assert len(find_places(manifest, GONE, Reporter(quiet=True).follow)) >= 1


def test_what_is_taken_out_is_shown_nowhere(tmp_path: Path, tokenizer: Path) -> None:
    long = [f"{text} " + " ".join(f"w{number}x{i}" for i in range(60)) for number, text in enumerate(texts("web", 9))]
    path = write_jsonl(tmp_path / "web.jsonl", [*long, *(f"{text} copy" for text in long[:4]), "short"])
    (tmp_path / "eval.txt").write_text(" ".join(f"w5x{i}" for i in range(13)) + "\n")
    source = jsonl(path, id_field="id", clean={"gopher_quality": {"minimum_words": 9, "minimum_stop_words": 0}})
    more = {"deduplicate": {"fuzzy": {}}, "decontaminate": {"files": str(tmp_path / "eval.txt")}, "validation": 0}
    manifest = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, {"web": source}, order="file", **more)))
    beside = ("dropped.jsonl", "contamination.jsonl", "statistics.json", "duplicates.parquet", "report.html")
    shown = {name: (manifest.directory / name).read_bytes() for name in beside}
    taken_out(manifest, {"web-0", "web-6"})
    assert b"web-6" in shown["statistics.json"] and b"web-0" in shown["duplicates.parquet"]
    for name in beside:
        now = (manifest.directory / name).read_bytes()
        assert b"w6x1 " not in now and b"w0x1 " not in now, name
    assert b"w6x1 " in shown["statistics.json"] and b"w0x1 " in shown["report.html"]
    assert "web-0" not in pq.read_table(manifest.directory / "duplicates.parquet")["id"].to_pylist()
