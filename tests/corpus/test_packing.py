"""Best-fit packing: against placing one piece after another, and from text to batches."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.config.errors import ConfigError
from pretrain.corpus.packing import fill, pack
from pretrain.corpus.prepare import prepare
from pretrain.corpus.verify import verify
from pretrain.data.dataset import Corpus
from pretrain.data.order import Places
from pretrain.shards.indexed import IndexedReader
from pretrain.shards.manifest import Manifest, Packing, load_manifest
from pretrain.shards.sidecar import FIRST, read_origin
from tests.corpus.helpers import files, jsonl, recipe, texts, write_jsonl
from tokenizer import load_tokenizer

LENGTHS = st.lists(st.integers(1, 80), max_size=60)


def one_after_another(tokens: list[int], capacity: int) -> list[int]:
    """Room left in each bin after best-fit decreasing, as it is defined; ascending."""
    rooms: list[int] = []
    for length in sorted(tokens, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append(min(fitting, default=capacity) - length)
    return sorted(rooms)


@given(LENGTHS, st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_the_bins_of_best_fit_decreasing(lengths: list[int], sequence_length: int) -> None:
    bins = pack(np.array(lengths, dtype=np.int64), sequence_length)
    assert sorted(bins.padding.tolist()) == one_after_another(bins.tokens.tolist(), sequence_length + 1)
    assert (np.diff(bins.bin) >= 0).all() and set(bins.bin.tolist()) == set(range(bins.count))


@given(LENGTHS, st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_every_token_is_predicted_once_by_the_one_before_it(lengths: list[int], sequence_length: int) -> None:
    """Except the first of each document. Tokens are numbered from 1; 0 is padding."""
    ends = np.cumsum(lengths)
    tokens = np.arange(1, sum(lengths) + 1)
    bins = pack(np.array(lengths, dtype=np.int64), sequence_length)
    rows = fill(bins, tokens, np.array(lengths, dtype=np.int64), 0).reshape(-1, sequence_length + 1)
    pairs = [(a, b) for row in rows.tolist() for a, b in pairwise(row) if b and a not in ends]
    assert all(b == a + 1 for a, b in pairs)
    firsts = set((ends - lengths + 1).tolist()) if lengths else set()
    assert Counter(b for _, b in pairs) == Counter(set(tokens.tolist()) - firsts)


def test_by_hand() -> None:
    """Bins of 5. Of 11 tokens 5, 5 and 3, overlapping by one; 4 leaves 1; 2 fits best beside the 3."""
    bins = pack(np.array([4, 11, 2]), 4)
    placed = [tuple(map(int, row)) for row in zip(bins.document, bins.first, bins.tokens, bins.bin, strict=True)]
    assert placed == [(0, 0, 4, 0), (1, 0, 5, 1), (1, 4, 5, 2), (1, 8, 3, 3), (2, 0, 2, 3)]
    assert bins.padding.tolist() == [1, 0, 0, 0] and bins.padded_tokens.tolist() == [5, 5, 5, 3, 2]
    assert bins.cut_documents == 1
    # a document that ends with a window is not cut once more for its last token alone
    assert pack(np.array([9]), 4).tokens.tolist() == [5, 5]


def test_documents_as_long_as_a_sample_are_not_cut() -> None:
    assert pack(np.array([5, 5, 5]), 4).cut_documents == 0
    assert pack(np.array([6]), 4).cut_documents == 1


def packed(tmp_path: Path, tokenizer: Path, name: str = "out", **more: object) -> Manifest:
    path = tmp_path / "web.jsonl"
    if not path.exists():
        write_jsonl(path, texts("web", 200))
    sources = {"web": jsonl(str(path), id_field="id")}
    packing = {"method": "best-fit", "sequence_length": 48}
    made = recipe(tmp_path / name, tokenizer, sources, validation="5%", shard_size=1500, packing=packing, **more)
    return load_manifest(prepare(made))


def test_what_a_packed_corpus_holds(tmp_path: Path, tokenizer: Path) -> None:
    manifest = packed(tmp_path, tokenizer)
    corpus, loaded = Corpus(manifest, 48, document_mask=True), load_tokenizer(tokenizer)
    end = loaded.end_of_text
    assert manifest.packing == Packing("best-fit", 48)
    assert verify(manifest.directory / "manifest.json") == []
    for split, streams in (("train", corpus.train), ("validation", corpus.validation)):
        stream, held = streams[0], manifest.sources["web"].splits[split]
        assert stream.tokens == held.tokens == stream.samples * 49
        assert held.documents == sum(shard.documents for shard in held.shards)
        batch = corpus.read(streams, Places(np.zeros(stream.samples, np.int64), np.arange(stream.samples)))
        # by the tokenizer alone: every document of n tokens and its end predicts n
        ids = {row["id"] for row in origins_of(manifest, split)}
        lengths = [len(loaded.encode(text)) for number, text in enumerate(texts("web", 200)) if f"web-{number}" in ids]
        assert len(ids) == held.documents
        assert batch.target_tokens == sum(lengths)
        assert held.cut_documents == sum(length + 1 > 49 for length in lengths)
        padding = (batch.tokens[:, 1:] == end) & (batch.tokens[:, :-1] == end)
        assert held.padding_tokens == padding.sum()
        assert not batch.is_target[padding].any()


def origins_of(manifest: Manifest, split: str) -> list[dict[str, object]]:
    """Rows of the sidecars: one a piece."""
    shards = manifest.sources["web"].splits[split].shards
    return [read_origin(manifest.directory / shard.path, i) for shard in shards for i in range(shard.pieces or 0)]


def test_the_sidecar_says_where_a_piece_begins(tmp_path: Path, tokenizer: Path) -> None:
    manifest, loaded = packed(tmp_path, tokenizer), load_tokenizer(tokenizer)
    cut = 0
    for shard in manifest.sources["web"].splits["train"].shards:
        reader = IndexedReader(manifest.directory / shard.path)
        for number in range(reader.documents):
            row = read_origin(manifest.directory / shard.path, number)
            text = texts("web", 200)[row["record"] - 1]
            whole = [*loaded.encode(text), loaded.end_of_text]
            piece = reader[number].tolist()
            kept = whole[row[FIRST] : row[FIRST] + len(piece)]
            assert piece[: len(kept)] == kept
            assert set(piece[len(kept) :]) <= {loaded.end_of_text}
            cut += row[FIRST] > 0
    assert cut > 10


def test_without_a_mask_padding_does_not_count(tmp_path: Path, tokenizer: Path) -> None:
    manifest = packed(tmp_path, tokenizer)
    corpus = Corpus(manifest, 48)
    stream = corpus.train[0]
    batch = corpus.read(corpus.train, Places(np.zeros(stream.samples, np.int64), np.arange(stream.samples)))
    assert batch.document is None
    assert batch.target_tokens == stream.samples * 48 - manifest.sources["web"].splits["train"].padding_tokens


def test_another_sequence_length_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    manifest = packed(tmp_path, tokenizer)
    with pytest.raises(ConfigError, match="must be 48: tiny was packed for it"):
        Corpus(manifest, 32)


def test_workers_change_nothing_and_the_length_does(tmp_path: Path, tokenizer: Path) -> None:
    one = packed(tmp_path, tokenizer)
    two = packed(tmp_path, tokenizer, "two", workers=2)
    assert files(one.directory) == {
        name: content.replace(b"/two", b"/out") for name, content in files(two.directory).items()
    }
    plain = recipe(tmp_path / "plain", tokenizer, {"web": jsonl(str(tmp_path / "web.jsonl"), id_field="id")})
    assert load_manifest(prepare(plain)).fingerprint() != one.fingerprint()


def test_packing_needs_ends(tmp_path: Path, tokenizer: Path) -> None:
    with pytest.raises(ConfigError, match="append_end_of_text: true"):
        packed(tmp_path, tokenizer, append_end_of_text=False)
