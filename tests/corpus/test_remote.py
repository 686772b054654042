"""Files that fsspec reaches give the same documents; what cannot be reached is said for its source, before any work."""

import gzip
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.registry import _registry, known_implementations

from pretrain.config.corpus import CorpusSource
from pretrain.config.errors import ConfigError
from pretrain.corpus.prepare import prepare
from pretrain.corpus.sources import files as sources_files
from pretrain.corpus.sources import find_units
from pretrain.shards.manifest import load_manifest
from tests.corpus.helpers import jsonl, recipe, write_jsonl
from tests.corpus.helpers import texts as many
from tests.corpus.test_pages import TEXT, archive, page
from tests.corpus.test_sources import TEXTS, lines, records, texts


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """An empty file system in memory, at memory://."""
    MemoryFileSystem.store.clear()
    yield fsspec.filesystem("memory")
    MemoryFileSystem.store.clear()


def test_every_kind_of_file(memory: MemoryFileSystem, tmp_path: Path) -> None:
    memory.pipe("/d/b.jsonl.gz", gzip.compress(lines()))
    memory.pipe("/d/a.jsonl", lines())
    found = records(kind="jsonl", paths="memory://d/*.jsonl*", id_field="url")
    assert texts(found) == TEXTS + TEXTS
    assert (found[0].file, found[4].file) == ("memory:///d/a.jsonl", "memory:///d/b.jsonl.gz")
    memory.pipe("/a.txt", b"one|two")
    assert texts(records(kind="text", paths="memory://a.txt", separator="|")) == ["one", "two"]
    memory.pipe("/p/a.html", page().encode())
    assert texts(records(kind="html", paths="memory://p/*.html")) == [TEXT]
    memory.pipe("/a.warc.gz", archive(("http://a/1", page().encode(), "text/html")))
    assert texts(records(kind="warc", paths="memory://a.warc.gz")) == [TEXT]
    write_jsonl(tmp_path / "a.jsonl", ["local"])
    assert texts(records(kind="jsonl", paths=f"file://{tmp_path}/*.jsonl")) == ["local"]


def test_parquet_reads_its_columns_alone(memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    other = [random.Random(i).randbytes(2000).hex() for i in range(200)]
    table = pa.table({"text": [f"text {i}" for i in range(200)], "other": other})
    with memory.open("/a.parquet", "wb") as file:
        pq.write_table(table, file, row_group_size=100)
    read: list[int] = []
    whole = MemoryFile.read
    monkeypatch.setattr(
        MemoryFile,
        "read",
        lambda self, size=-1: (data := whole(self, size), read.append(len(data)))[0],
    )
    assert texts(records(kind="parquet", paths="memory://a.parquet"))[199] == "text 199"
    assert memory.size("/a.parquet") > 400_000
    assert sum(read) < 80_000  # the footer, which arrow asks for with 64 kB, and two column chunks


def test_stamps_change_with_the_file(memory: MemoryFileSystem) -> None:
    source = CorpusSource.parse({"kind": "jsonl", "paths": "memory://a.jsonl", "weight": 1})
    memory.pipe("/a.jsonl", lines())
    first = find_units(source)
    assert find_units(source) == first
    memory.pipe("/a.jsonl", lines())
    assert find_units(source) != first


@pytest.mark.parametrize(
    ("path", "rule", "fix"),
    [
        ("memory://none.jsonl", "must be an existing file", "check the path"),
        ("memory://none/*.jsonl", "matches no file", "check the path"),
        ("memroy://a.jsonl", "memroy:// is not known to fsspec", "did you mean memory://"),
        ("simplecache::memory://a.jsonl", "must not be a chain", "fetch them first"),
        ("absent://bucket/a.jsonl", "absent:// needs a package that is missing", "pip install absentfs"),
        ("closed://bucket/*.jsonl", "cannot be reached (no route to host)", "the network and the credentials"),
    ],
)
def test_what_cannot_be_read(
    path: str, rule: str, fix: str, memory: MemoryFileSystem, tmp_path: Path, tokenizer: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The source is named, and the one before it was not begun."""

    class Closed(MemoryFileSystem):
        protocol = "closed"

        def glob(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("no route to host")

    monkeypatch.setitem(known_implementations, "absent", {"class": "absent_fs.System", "err": "pip install absentfs"})
    monkeypatch.setitem(_registry, "closed", Closed)
    local = write_jsonl(tmp_path / "a.jsonl", many("a", 10))
    plain = recipe(tmp_path / "out", tokenizer, {"first": jsonl(local), "web": jsonl(path)})
    with pytest.raises(ConfigError) as caught:
        prepare(plain)
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == ("sources.web.paths", path)
    assert rule in problem.rule and fix in problem.fix
    assert not list((tmp_path / "out").rglob("*.npy"))


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("https", "aiohttp")])
def test_missing_packages_are_named(scheme: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> Any:
        raise ImportError(package)

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(
        ConfigError, match=rf"{scheme}:// needs a package that is missing\n +fix: +pip install {package}"
    ):
        records(kind="jsonl", paths=f"{scheme}://bucket/a.jsonl")


def test_a_file_that_fails_while_it_is_read(memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bytes:
        raise RuntimeError("the server closed the connection")

    memory.pipe("/a.jsonl", lines())
    monkeypatch.setattr(MemoryFile, "read", fail)
    with pytest.raises(ConfigError, match=r"cannot be read \(the server closed the connection\)"):
        records(kind="jsonl", paths="memory://a.jsonl")


def test_prepared_from_remote_files(memory: MemoryFileSystem, tmp_path: Path, tokenizer: Path) -> None:
    local = write_jsonl(tmp_path / "a.jsonl", many("a", 30))
    memory.pipe("/a.jsonl", Path(local).read_bytes())
    here = load_manifest(prepare(recipe(tmp_path / "here", tokenizer, {"a": jsonl(local)})))
    there = load_manifest(prepare(recipe(tmp_path / "there", tokenizer, {"a": jsonl("memory://a.jsonl")})))
    shards = [[shard.tokens for shard in one.sources["a"].splits["train"].shards] for one in (here, there)]
    assert shards[0] == shards[1]


def test_a_query_behind_the_suffix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else gzip would be read as text."""
    monkeypatch.setattr(sources_files, "open_remote", lambda _: io.BytesIO(gzip.compress(b"text")))
    with sources_files.opened("https://hub/a.jsonl.gz?download=true") as file:
        assert file.read() == b"text"


def test_a_password_is_refused_and_not_repeated() -> None:
    source = CorpusSource.parse({"kind": "jsonl", "paths": "https://me:hush@host/a.jsonl", "weight": 1})
    with pytest.raises(ConfigError, match="must hold no password") as error:
        find_units(source)
    assert "hush" not in str(error.value)
