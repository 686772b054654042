"""What is read of shards, in how many requests."""

from __future__ import annotations

from pathlib import Path

import fsspec
import numpy as np
import pytest

from pretrain.data.batch import Cost
from pretrain.data.dataset import Corpus
from pretrain.data.loader import Loader, micro_batches, validation_places
from pretrain.data.order import Places
from pretrain.data.plan import DataPlan, Phase, Stage
from pretrain.data.reads import Part, merge
from pretrain.shards.manifest import load_manifest
from pretrain.shards.remote import Remote
from tests.remote import upload
from tests.synthetic import make_corpus

LENGTH = 64


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(load_manifest(make_corpus(tmp_path_factory.mktemp("corpus"))), LENGTH)


@pytest.fixture(scope="module")
def remote(local: Corpus) -> Corpus:
    return Corpus(load_manifest(upload(local.manifest.directory, "memory://reads")), LENGTH)


def windows(*positions: int) -> Places:
    """Of the first source."""
    return Places(np.zeros(len(positions), np.int64), np.array(positions))


def plan(corpus: Corpus) -> DataPlan:
    return DataPlan(7, LENGTH, corpus.sources, (Phase(0, 0, 16),), (Stage(0, (60, 22, 16, 3)),))


def test_neighbours_are_read_together() -> None:
    """Gaps of 2 and 3 bytes, a part inside another, and another file between."""
    one, other = Remote("memory://a"), Remote("memory://b")
    spans = [(one, 20, 5), (other, 0, 5), (one, 0, 10), (one, 12, 5), (one, 13, 1)]
    parts = [Part(path, offset, memoryview(bytearray(size))) for path, offset, size in spans]
    assert merge(parts, 2) == [[parts[2], parts[3], parts[4]], [parts[0]], [parts[1]]]
    assert merge(parts, 3) == [[parts[2], parts[3], parts[4], parts[0]], [parts[1]]]
    assert merge([], 3) == []


def test_local_windows_are_a_read_each(local: Corpus) -> None:
    """The first source has 8,000 tokens in shards of 2,667: window 41 (tokens 2,624 to 2,688) lies in two."""
    assert local.read(local.train, windows(3, 4, 5)).cost == Cost(3 * 65 * 2, 3)
    assert local.read(local.train, windows(41)).cost == Cost(65 * 2, 2)


def test_remote_windows_that_lie_together_are_one_request(
    local: Corpus, remote: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows share a token with the next, so three neighbours are 3 x 64 + 1 tokens."""
    monkeypatch.setattr("pretrain.data.reads.GAP", 100)
    for places, cost in (
        (windows(5, 3, 4), Cost(193 * 2, 1)),
        (windows(3, 30), Cost(2 * 65 * 2, 2)),
        (windows(41), Cost(65 * 2, 2)),
        (windows(3, 3), Cost(65 * 2, 1)),
    ):
        batch = remote.read(remote.train, places)
        assert batch.cost == cost
        assert np.array_equal(batch.tokens, local.read(local.train, places).tokens)


def test_gaps_are_thrown_away(local: Corpus, remote: Corpus) -> None:
    """Windows 3 and 30 span 28 x 64 + 1 tokens, which is nearer than 16 kB."""
    batch = remote.read(remote.train, windows(30, 3))
    assert batch.cost == Cost(1793 * 2, 1)
    assert np.array_equal(batch.tokens, local.read(local.train, windows(30, 3)).tokens)


def test_a_remote_loader_serves_the_same(local: Corpus, remote: Corpus) -> None:
    served = []
    for corpus in (local, remote):
        with Loader(corpus, corpus.order(plan(corpus)), range(2, 6), 4) as loader:
            served.append(list(loader))
    assert len(served[0]) == len(served[1]) == 16
    for one, other in zip(*served, strict=True):
        assert np.array_equal(one.tokens, other.tokens) and np.array_equal(one.source, other.source)
    order = remote.order(plan(remote))
    apart = [
        remote.read(remote.train, places).cost.requests
        for step in range(2, 6)
        for places in micro_batches(order, step, 4, 0, 1)
    ]
    requests = sum(batch.cost.requests for batch in served[1])
    assert (requests, sum(apart)) == (33, 57), "a step's windows are merged over its micro-batches"


def test_a_step_reads_its_tokens_and_one_more_a_sample(local: Corpus) -> None:
    with Loader(local, local.order(plan(local)), range(20), 4) as loader:
        cost = [batch.cost for batch in loader]
    tokens = 20 * 16 * LENGTH
    assert sum(one.bytes for one in cost) == tokens * 2 * (LENGTH + 1) / LENGTH <= 1.05 * tokens * 2


def test_validation_is_read_in_order(remote: Corpus) -> None:
    """600 to 639 tokens of each source give 9 windows each; all of a group of 9 are in one request."""
    groups = [places for places, _ in validation_places(remote, 9 * LENGTH, 9, 0, 1)]
    assert [remote.read(remote.validation, places).cost.requests for places in groups] == [1, 1, 1, 1]


def test_a_remote_shard_that_ends_early(tmp_path: Path) -> None:
    corpus = Corpus(load_manifest(upload(make_corpus(tmp_path).parent, "memory://early")), LENGTH)
    fsspec.filesystem("memory").pipe("/early/crawl-train-0.bin", bytes(1000))
    with pytest.raises(OSError, match=r"memory://early/crawl-train-0.bin ends at byte 1000, 26 bytes early"):
        corpus.read(corpus.train, windows(7))
    fsspec.filesystem("memory").rm("/early/crawl-train-0.bin")
    with pytest.raises(OSError, match=r"crawl-train-0"):
        corpus.read(corpus.train, windows(7))
