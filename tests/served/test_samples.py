"""What a step serves: the documents, the text, and whose share it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pretrain.config.errors import ConfigError
from pretrain.data.loader import Loader
from pretrain.data.pieces import pieces
from pretrain.served.open import open_served
from pretrain.served.samples import read_samples, sample_text, served_in
from pretrain.shards.indexed import IndexedReader
from pretrain.shards.sidecar import SUFFIX
from tests.corpus.helpers import texts
from tests.data.test_origin import corpus_of
from tests.served.conftest import MakeRun
from tokenizer import load_tokenizer


def test_the_text_of_every_sample_is_what_training_reads(make_run: MakeRun, prepared: Path) -> None:
    served = open_served(make_run())
    tokenizer = load_tokenizer(prepared.parent / "tokenizer")
    end = served.corpus.manifest.tokenizer.end_of_text
    written = {f"web-{i}": text for i, text in enumerate(texts("web", 60))}
    for step in range(20):
        with Loader(served.corpus, served.order, range(step, step + 1), 4, prefetch=0) as loader:
            rows = next(loader).tokens
        samples = list(read_samples(served, served_in(served, step + 1), tokenizer))
        assert len(samples) == 4
        for sample, row in zip(samples, rows, strict=True):
            assert sum(shown.piece.tokens for shown in sample.pieces) == 17
            # pieces may end inside a character, which no decoder can show
            assert "".join(shown.text for shown in sample.pieces).count("<|endoftext|>") == (row == end).sum()
            for shown in sample.pieces:
                assert shown.piece.document is not None and shown.origin is not None
                reader = IndexedReader(prepared.parent / shown.piece.shard)
                first = shown.piece.first
                tokens = reader[shown.piece.document][first : first + shown.piece.tokens]
                assert shown.text == tokenizer.decode(tokens) and shown.piece.length == len(
                    reader[shown.piece.document]
                )
                if sample.source == "web":
                    whole = tokenizer.decode(reader[shown.piece.document])
                    assert whole == written[shown.origin["id"]] + "<|endoftext|>"


def test_pieces_cross_documents_and_shards(tmp_path: Path) -> None:
    """By hand, of shards with documents of 10, 6, 20, 4 and 3, 30, 7 tokens."""
    corpus = corpus_of(tmp_path)
    found = [[(p.shard[-1], p.document, p.first, p.tokens, p.length) for p in pieces(corpus, 0, n)] for n in (0, 1, 4)]
    assert found == [
        [("0", 0, 0, 9, 10)],
        [("0", 0, 8, 2, 10), ("0", 1, 0, 6, 6), ("0", 2, 0, 1, 20)],
        [("0", 2, 16, 4, 20), ("0", 3, 0, 4, 4), ("1", 0, 0, 1, 3)],
    ]
    (tmp_path / "wiki-0.idx").unlink()
    assert [(p.place, p.first, p.tokens) for p in pieces(corpus, 0, 4)] == [("wiki-0", 32, 8), ("wiki-1:0", 0, 1)]


def test_what_a_rank_is_fed(make_run: MakeRun) -> None:
    """Four samples in micro-batches of one: the data ranks take turns; both tensor ranks see the same."""
    changes = {"batch": {"micro_batch_size": 1}, "data": {"skip": [{"first_sample": 5, "samples": 2}]}}
    served = open_served(make_run(**changes))
    assert served_in(served, 1).tolist() == [0, 1, 2, 3]
    assert served_in(served, 2).tolist() == [4, 7, 8, 9]
    assert served_in(served, 2, 0, 2).tolist() == [4, 8]
    assert served_in(served, 2, 1, 2).tolist() == [7, 9]
    wide = open_served(make_run("wide", **changes, parallel={"tensor": 2}))
    assert [served_in(wide, 1, rank, 4).tolist() for rank in range(4)] == [[0, 2], [0, 2], [1, 3], [1, 3]]


def test_ranks_are_those_of_the_newest_checkpoint(make_run: MakeRun) -> None:
    served = open_served(make_run(done=(5,)))
    assert np.concatenate([served_in(served, 3, rank) for rank in (0, 1)]).tolist() == [8, 9, 10, 11]
    with pytest.raises(ConfigError, match="has 2 processes"):
        served_in(served, 3, 2)
    fresh = open_served(make_run("fresh"))
    with pytest.raises(ConfigError, match="give --processes"):
        served_in(fresh, 3, 0)
    with pytest.raises(ConfigError, match="has 20 steps"):
        served_in(fresh, 21)


def test_shown_as_text_and_as_json(make_run: MakeRun, prepared: Path) -> None:
    served = open_served(make_run())
    tokenizer = load_tokenizer(prepared.parent / "tokenizer")
    sample = next(read_samples(served, served_in(served, 1), tokenizer))
    lines = sample_text(sample, 12).splitlines()
    assert lines[0] == f"sample 0: {sample.source}, its sample {sample.position}"
    piece = sample.pieces[0]
    assert lines[1].startswith(f"  {piece.piece.place} (") and f"of {piece.piece.length}" in lines[1]
    assert lines[2].startswith(f"    {piece.text[:12]!r}")
    assert not any(line.startswith("    ") for line in sample_text(sample, 0).splitlines())
    plain = json.loads(json.dumps(sample.plain()))
    assert [one["text"] for one in plain["pieces"]] == [shown.text for shown in sample.pieces]


def test_without_a_sidecar_documents_have_numbers(make_run: MakeRun, prepared: Path) -> None:
    served = open_served(make_run())
    tokenizer = load_tokenizer(prepared.parent / "tokenizer")
    hidden = [path.rename(path.with_suffix(".hidden")) for path in prepared.parent.rglob(f"*{SUFFIX}")]
    try:
        sample = next(read_samples(served, served_in(served, 1), tokenizer))
    finally:
        for path in hidden:
            path.rename(path.with_suffix(".parquet"))
    assert sample.pieces[0].origin is None
    assert f"{sample.pieces[0].piece.place}, tokens" in sample_text(sample, 0)
