"""Signatures against sets counted by hand, planted near-duplicates, and who stays."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pretrain.config.across import Fuzzy
from pretrain.corpus.across.minhash import shape, signatures
from pretrain.corpus.across.words import Words
from pretrain.corpus.prepare import prepare
from pretrain.shards.manifest import load_manifest
from tests.corpus.helpers import documents, jsonl, recipe, write_jsonl

VOCABULARY = [f"w{i:x}" for i in range(3000)]


def written(seed: int, words: int = 400) -> list[str]:
    """A document of random words."""
    return random.Random(seed).choices(VOCABULARY, k=words)


def edited(words: list[str], share: float, seed: int) -> list[str]:
    """The document with this share of its words replaced by new ones."""
    chance = random.Random(seed)
    return [f"x{chance.random():.6f}" if chance.random() < share else word for word in words]


def jaccard(one: list[str], other: list[str], n: int = 5) -> float:
    """Similarity of the sets of n-grams."""
    first, second = ({tuple(words[i : i + n]) for i in range(len(words) - n + 1)} for words in (one, other))
    return len(first & second) / len(first | second)


def test_the_shape_of_bands_is_that_of_the_formula() -> None:
    """1 - (1 - 0.7^6)^21 = 0.928, and with 7 rows only 0.786."""
    assert shape(Fuzzy()) == (21, 6)
    assert shape(Fuzzy(threshold=0.8)) == (16, 8)
    assert shape(Fuzzy(threshold=0.05, hashes=8)) == (8, 1)


def test_signatures_estimate_the_similarity() -> None:
    config = Fuzzy(hashes=1024)
    for share in (0.02, 0.05, 0.1):
        one, other = written(1), edited(written(1), share, 2)
        signature = signatures(config, Words.of([" ".join(one), " ".join(other)]))["signature"]
        estimate = float((signature[0] == signature[1]).mean())
        assert estimate == pytest.approx(jaccard(one, other), abs=0.04)  # three standard deviations at 0.5: 0.047


def test_short_documents_have_no_signature() -> None:
    made = signatures(Fuzzy(), Words.of(["one two three four", "a b c d e f", "", "one two three four"]))
    assert (made["signature"][[0, 2, 3]] == 2**32 - 1).all()
    assert (made["signature"][1] < 2**32 - 1).all()


@pytest.mark.parametrize(("share", "found"), [(0.02, 97), (0.05, 21), (0.1, 0), (0.2, 0)])
def test_planted_duplicates(share: float, found: int, tmp_path: Path, tokenizer: Path) -> None:
    """100 documents and copies with edited words: 5-grams are similar to 0.82, 0.63, 0.42, 0.20; threshold 0.7."""
    texts = [" ".join(written(i)) for i in range(100)]
    texts += [" ".join(edited(written(i), share, 1000 + i)) for i in range(100)]
    source = jsonl(write_jsonl(tmp_path / "a.jsonl", texts))
    manifest = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, {"a": source}, deduplicate={"fuzzy": {}})))
    stage = manifest.sources["a"].stages[-1]
    assert (stage.name, stage.documents_in, stage.documents_in - stage.documents_out) == ("fuzzy", 200, found)
    rows = pq.read_table(tmp_path / "out" / "duplicates.parquet").to_pylist()
    assert len(rows) == 2 * found
    pairs = {}
    for row in rows:
        pairs.setdefault(row["cluster"], []).append(row)
    for first, second in pairs.values():
        assert first["kept"] and not second["kept"]
        assert second["record"] == first["record"] + 100


def test_the_first_source_keeps_its_copy(tmp_path: Path, tokenizer: Path) -> None:
    texts = [" ".join(written(i)) for i in range(20)]
    copies = [" ".join(edited(written(i), 0.01, i)) for i in range(20)]
    good = jsonl(write_jsonl(tmp_path / "good.jsonl", [*texts, "more " * 30]))
    crawl = jsonl(write_jsonl(tmp_path / "crawl.jsonl", [*copies, "own " * 30]))
    more = {"deduplicate": {"fuzzy": {}}, "validation": 0}
    manifest = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, {"good": good, "crawl": crawl}, **more)))
    assert sorted(documents(manifest, "good", "train")) == sorted([*texts, "more " * 30])
    assert documents(manifest, "crawl", "train") == ["own " * 30]
    turned = load_manifest(prepare(recipe(tmp_path / "turned", tokenizer, {"crawl": crawl, "good": good}, **more)))
    assert documents(turned, "good", "train") == ["more " * 30]


def test_a_chain_is_one_cluster(tmp_path: Path, tokenizer: Path) -> None:
    """Each is similar to the one before; the first and the last are not."""
    chain = [written(7)]
    for step in range(12):
        chain.append(edited(chain[-1], 0.012, step))
    assert jaccard(chain[0], chain[-1]) < 0.5
    source = jsonl(write_jsonl(tmp_path / "a.jsonl", map(" ".join, chain)))
    manifest = load_manifest(
        prepare(recipe(tmp_path / "out", tokenizer, {"a": source}, deduplicate={"fuzzy": {}}, validation=0))
    )
    assert documents(manifest, "a", "train") == [" ".join(chain[0])]


def test_factors_differ() -> None:
    signature = signatures(Fuzzy(), Words.of([" ".join(written(3))]))["signature"]
    assert len(np.unique(signature)) == 128
