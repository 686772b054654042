"""Samples named by source, shard and document."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pretrain.data import origin as module
from pretrain.data.dataset import Corpus
from pretrain.data.origin import Origin, document_id, origins
from pretrain.data.pieces import pieces
from pretrain.data.plan import DataPlan, Phase, Stage
from pretrain.shards.indexed import IndexedReader, IndexedWriter
from pretrain.shards.manifest import Manifest, Shard, Source, Split, TokenizerRecord
from pretrain.shards.remote import located
from pretrain.shards.sidecar import SidecarWriter
from tests.remote import upload

LENGTHS = [[10, 6, 20, 4], [3, 30, 7]]
"""Tokens of the documents of two shards of 40 tokens: the stream has 80, and 9 samples of 8."""


def corpus_of(directory: Path, lengths_of_shards: list[list[int]] = LENGTHS) -> Corpus:
    """One source, whose tokens are numbered, of shards of 40 tokens."""
    shards, token = [], 0
    for number, lengths in enumerate(lengths_of_shards):
        path = directory / f"wiki-{number}"
        with IndexedWriter(path, "uint16") as writer:
            writer.add(np.arange(token, token + 40, dtype=np.uint16), lengths)
        with SidecarWriter(path) as sidecar:
            rows = [
                {"source": "wiki", "file": "a.jsonl", "record": 10 * number + n, "id": None if n else "W1", "bytes": 9}
                for n in range(len(lengths))
            ]
            sidecar.add(pa.Table.from_pylist(rows))
        shards.append(Shard(path.name, len(lengths), 40, 100, {}))
        token += 40
    split, empty = Split(sum(map(len, lengths_of_shards)), token, 200, tuple(shards)), Split(0, 0, 0, ())
    record = TokenizerRecord("tokenizer", "0" * 16, 100, 0)
    sources = {"wiki": Source("1", (), {"train": split, "validation": empty})}
    return Corpus(Manifest("made", record, "uint16", True, sources, {}, "test", directory=directory), 8)


def test_documents_of_every_sample(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    plan = DataPlan(1, 8, ("wiki",), (Phase(0, 0, 3),), (Stage(0, (1,)),))
    order = corpus.order(plan)
    found = origins(corpus, order, np.arange(9))
    positions = order.at(np.arange(9)).position.tolist()
    by_position = dict(zip(positions, found, strict=True))
    assert [(by_position[p].shard, by_position[p].documents) for p in range(9)] == [
        ("wiki-0", (0, 0)),  # tokens 0 to 7
        ("wiki-0", (0, 1)),  # 8 to 15
        ("wiki-0", (2, 2)),  # 16 to 23
        ("wiki-0", (2, 2)),
        ("wiki-0", (2, 3)),  # 32 to 39: document 3 begins at 36
        ("wiki-1", (0, 1)),  # 0 to 7: document 1 begins at 3
        ("wiki-1", (1, 1)),
        ("wiki-1", (1, 1)),
        ("wiki-1", (1, 1)),  # 24 to 31; document 1 ends at 32
    ]
    assert [origin.sample for origin in found] == list(range(9))
    assert document_id(corpus, by_position[0]) == "wiki-0 document 0 (W1)"
    assert document_id(corpus, by_position[6]) == "wiki-1 document 1 (a.jsonl:11)"


def test_each_shard_is_opened_once_and_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large rollback asks about samples of all shards, in an order that goes to and fro between them."""
    corpus, opened = corpus_of(tmp_path, LENGTHS * 4), list[tuple[str, int]]()

    class Reader(IndexedReader):
        def __init__(self, prefix: str | Path) -> None:
            mapped = Path("/proc/self/maps").read_text().count(f"{tmp_path}/")
            opened.append((Path(prefix).name, mapped))
            super().__init__(prefix)

    monkeypatch.setattr(module, "IndexedReader", Reader)
    order = corpus.order(DataPlan(1, 8, ("wiki",), (Phase(0, 0, 3),), (Stage(0, (1,)),)))
    shards = [origin.shard for origin in origins(corpus, order, np.arange(117))]
    assert sum(a != b for a, b in itertools.pairwise(shards)) > 60
    assert [name for name, _ in opened] == [f"wiki-{number}" for number in range(8)]
    assert max(mapped for _, mapped in opened) <= 1, "the one before is closed when the next one is read"


def test_a_corpus_without_indexes_names_shards(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    for path in [*tmp_path.glob("*.idx"), *tmp_path.glob("*.parquet")]:
        path.unlink()
    order = corpus.order(DataPlan(1, 8, ("wiki",), (Phase(0, 0, 3),), (Stage(0, (1,)),)))
    found = origins(corpus, order, np.arange(2))
    assert all(origin.documents is None for origin in found)
    assert document_id(corpus, found[0]) == found[0].shard
    assert document_id(corpus, Origin(0, "wiki", "wiki-0", (2, 2))) == "wiki-0 document 2"


def test_documents_behind_a_url(tmp_path: Path) -> None:
    local = corpus_of(tmp_path)
    upload(tmp_path, "memory://origin")
    remote = Corpus(replace(local.manifest, directory=located("memory://origin")), 8)
    order = local.order(DataPlan(1, 8, ("wiki",), (Phase(0, 0, 3),), (Stage(0, (1,)),)))
    found = origins(remote, order, np.arange(9))
    assert found == origins(local, order, np.arange(9))
    assert document_id(remote, found[0]) == document_id(local, found[0])
    assert pieces(remote, 0, 4) == pieces(local, 0, 4)
