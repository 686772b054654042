"""Corpora behind URLs, on fsspec's file system in memory."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path, PosixPath

import fsspec
import pytest

from pretrain.config.errors import ConfigError
from pretrain.corpus.verify import verify
from pretrain.shards.files import AtomicFile, sha256
from pretrain.shards.indexed import IndexedReader, IndexedWriter
from pretrain.shards.manifest import load_manifest
from pretrain.shards.remote import Remote, fetch_directory, file_sizes, local_directory, located, read_range
from pretrain.shards.sidecar import find_rows, read_origin
from pretrain.shards.tokenizer import tokenizer_of
from tests.data.test_origin import corpus_of
from tests.remote import upload
from tests.synthetic import make_corpus


def test_a_url_is_a_path_whose_text_is_a_url() -> None:
    path = located("s3://bucket/corpora/a/manifest.json")
    shard = path.parent / "web-00000"
    assert isinstance(shard, Remote)
    assert str(shard.with_name(shard.name + ".bin")) == "s3://bucket/corpora/a/web-00000.bin" == f"{shard}.bin"
    assert pickle.loads(pickle.dumps(shard)) == shard and isinstance(located(shard), Remote)


def test_file_urls_and_paths_are_plain_paths(tmp_path: Path) -> None:
    assert located(f"file://{tmp_path}/x") == tmp_path / "x"
    assert type(located("a/b")) is type(located("file:///a")) is PosixPath
    make_corpus(tmp_path)
    assert load_manifest(f"file://{tmp_path}/manifest.json").directory == tmp_path


def test_a_manifest_and_its_tokenizer(tmp_path: Path) -> None:
    local = load_manifest(make_corpus(tmp_path))
    remote = load_manifest(upload(tmp_path, "memory://one"))
    assert remote == local and str(remote.directory) == "memory://one"
    with local_directory(remote.directory / "tokenizer") as folder:
        assert (folder / "tokenizer.json").read_text() == (tmp_path / "tokenizer" / "tokenizer.json").read_text()
    assert not folder.exists()
    fetch_directory(remote.directory / "tokenizer", tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    assert tokenizer_of(remote).fingerprint == local.tokenizer.fingerprint


def test_index_sidecar_and_checksum(tmp_path: Path) -> None:
    corpus_of(tmp_path)
    upload(tmp_path, "memory://two")
    local, remote = IndexedReader(tmp_path / "wiki-1"), IndexedReader("memory://two/wiki-1")
    assert (remote.documents, remote.token_count) == (3, 40)
    assert remote.lengths.tolist() == [3, 30, 7] and remote.offsets.tolist() == [0, 6, 66]
    assert remote.document_starts.tolist() == [0, 1, 2, 3] and remote[1].tolist() == local[1].tolist()
    assert read_origin("memory://two/wiki-1", 2) == read_origin(tmp_path / "wiki-1", 2)
    assert list(find_rows("memory://two/wiki-1", {"W1"})) == [0]
    assert sha256(located("memory://two/wiki-1.bin")) == sha256(tmp_path / "wiki-1.bin")


def test_one_array_of_an_index_is_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with IndexedWriter(tmp_path / "x", "uint16") as writer:
        writer.add([1, 2, 3], [1, 2])  # type: ignore[arg-type]
    upload(tmp_path, "memory://three")
    asked, system = [], fsspec.filesystem("memory")
    real = type(system).cat_file

    def cat_file(self: object, path: str, start: int | None = None, end: int | None = None) -> bytes:
        asked.append((path, start, end))
        return bytes(real(self, path, start=start, end=end))

    monkeypatch.setattr(type(system), "cat_file", cat_file)
    assert IndexedReader("memory://three/x").lengths.tolist() == [1, 2]
    assert asked == [("/three/x.idx", 0, 34), ("/three/x.idx", 34, 42)]


def test_sizes_of_a_directory_are_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"123")
    upload(tmp_path, "memory://four")
    system, lists = fsspec.filesystem("memory"), []
    real = system.ls
    monkeypatch.setattr(type(system), "ls", lambda self, path, **more: lists.append(path) or real(path, **more))
    where = located("memory://four")
    assert list(file_sizes([where / "a", where / "b", tmp_path / "a", tmp_path / "b"])) == [3, None, 3, None]
    assert lists == ["/four"]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigError, match="pip install s3fs") as caught:
        load_manifest("s3://bucket/manifest.json")
    assert caught.value.problems[0].field == "data.manifest"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nothing://x/manifest.json", "cannot be opened"),
        ("memory://nowhere/manifest.json", "must be an existing file"),
    ],
)
def test_wrong_urls(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_manifest(url)


def test_what_storage_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    system = fsspec.filesystem("memory")

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no credentials")

    monkeypatch.setattr(type(system), "info", refuse)
    with pytest.raises(ConfigError, match=r"cannot be read \(memory://a/m cannot be read \(RuntimeError: no cred"):
        load_manifest("memory://a/m")


def test_missing_and_cut_shards_are_refused(tmp_path: Path) -> None:
    url = upload(make_corpus(tmp_path).parent, "memory://five")
    system = fsspec.filesystem("memory")
    system.pipe("/five/web-train-0.bin", b"12")
    with pytest.raises(ConfigError, match="as the manifest says; it has 2"):
        load_manifest(url)
    system.rm("/five/web-train-0.bin")
    with pytest.raises(ConfigError, match="it is missing") as caught:
        load_manifest(url)
    assert caught.value.problems[0].value == "memory://five/web-train-0.bin"
    assert any("memory://five/web-train-0.bin: is missing" in line for line in verify(url))
    with pytest.raises(ConfigError, match=r"memory://five/web-train-0\.idx"):
        IndexedReader("memory://five/web-train-0")


def test_a_url_cannot_be_written() -> None:
    with pytest.raises(ConfigError, match="can only be read"):
        AtomicFile(located("memory://six/x.bin"))


def test_a_range_past_the_end_is_short(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    upload(tmp_path, "memory://seven")
    for place in (tmp_path / "a", located("memory://seven/a")):
        assert read_range(place, 3, 9) == b"45"
