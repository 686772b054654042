"""Megatron-LM's own files, adopted and read."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from pretrain.config.errors import ConfigError
from pretrain.corpus.adopt import adopt, find_prefixes, look_through, parse_prefixes, parse_weights
from pretrain.corpus.prepare import prepare
from pretrain.corpus.verify import verify
from pretrain.data.dataset import Corpus
from pretrain.data.order import Places
from pretrain.shards.indexed import IndexedWriter
from pretrain.shards.manifest import load_manifest
from pretrain.shards.sidecar import SUFFIX
from tests.corpus.helpers import jsonl, recipe, texts, write_jsonl
from tests.synthetic import made_up_tokenizer
from tokenizer import load_tokenizer


@pytest.fixture
def made(tmp_path: Path, tokenizer: Path) -> Path:
    """Files such as Megatron leaves: a prepared corpus without manifest and sidecars."""
    web = jsonl(write_jsonl(tmp_path / "web.jsonl", texts("web", 100)))
    made = recipe(tmp_path / "made", tokenizer, {"web": web}, validation="5%", shard_size=1000)
    manifest = load_manifest(prepare(made))
    folder = tmp_path / "megatron"
    folder.mkdir()
    for split in manifest.sources["web"].splits.values():
        for shard in split.shards:
            for suffix in (".bin", ".idx"):
                path = manifest.directory / (shard.path + suffix)
                shutil.copy(path, folder / path.name)
    return folder


def test_it_serves_what_the_prepared_corpus_serves(made: Path, tokenizer: Path, tmp_path: Path) -> None:
    prepared = load_manifest(tmp_path / "made" / "manifest.json")
    train, held = sorted(made.glob("train*.bin")), sorted(made.glob("validation*.bin"))
    prefixes = parse_prefixes([f"web={path}" for path in train], [f"web={path}" for path in held])
    adopted = load_manifest(adopt(tmp_path / "adopted", tokenizer, prefixes, workers=2))
    assert verify(adopted.directory / "manifest.json") == []
    assert adopted.fingerprint() == prepared.fingerprint()
    assert adopted.appends_end_of_text and adopted.dtype == "uint16"
    for split in ("train", "validation"):
        ours, theirs = adopted.sources["web"].splits[split], prepared.sources["web"].splits[split]
        assert (ours.documents, ours.tokens, ours.text_bytes) == (theirs.documents, theirs.tokens, theirs.text_bytes)
    a, b = Corpus(adopted, 32), Corpus(prepared, 32)
    places = Places(np.zeros(20, np.int64), np.arange(20))
    assert np.array_equal(a.read(a.train, places).tokens, b.read(b.train, places).tokens)
    assert not list(made.glob(f"*{SUFFIX}")), "nothing is written beside the files"


def test_megatrons_own_sample(data: Path, tmp_path: Path) -> None:
    """200 documents that Megatron-LM's preprocess_data.py tokenized; the bytes are those of their JSONL."""
    prefixes = parse_prefixes([f"sample={data}/megatron-sample"], [])
    manifest = load_manifest(adopt(tmp_path / "adopted", data / "gpt2-tokenizer", prefixes, workers=1))
    split = manifest.sources["sample"].splits["train"]
    lines = (data / "megatron-sample" / "sample.jsonl").read_text().strip().split("\n")
    documents = [json.loads(line)["text"] for line in lines]
    assert split.documents == len(documents) == 200
    assert split.text_bytes == sum(len(text.encode()) for text in documents)
    assert manifest.appends_end_of_text and manifest.tokenizer.end_of_text == 50256
    corpus, loaded = Corpus(manifest, 64), load_tokenizer(data / "gpt2-tokenizer")
    first = corpus.read(corpus.train, Places(np.array([0]), np.array([0]))).tokens[0]
    assert documents[0].startswith(loaded.decode(first[:20]))


def test_bytes_of_a_long_shard_are_estimated_from_parts(
    made: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pretrain.corpus import adopt as module

    prefix = made / "train-00000"
    task = module.Task(str(prefix), str(made), str(tokenizer))
    exact = look_through(task).shard.text_bytes
    monkeypatch.setattr(module, "DECODED", 200)
    assert look_through(task).shard.text_bytes == pytest.approx(exact, rel=0.2)


def test_documents_without_ends_cannot_be_masked(tmp_path: Path, tokenizer: Path) -> None:
    with IndexedWriter(tmp_path / "plain", "uint16") as writer:
        writer.add(np.arange(10, 50, dtype=np.uint16), [15, 25])
    path = adopt(tmp_path / "out", tokenizer, {"web": {"train": [tmp_path / "plain"]}}, workers=1)
    with pytest.raises(ConfigError, match="documents end with end-of-text"):
        Corpus(load_manifest(path), 8, document_mask=True)


def test_what_is_refused(made: Path, tokenizer: Path, tmp_path: Path) -> None:
    web = {"web": {"train": [made / "train-00000"]}}
    with IndexedWriter(tmp_path / "foreign", "uint16") as writer:
        writer.add(np.array([5, 60_000], dtype=np.uint16), [2])
    with pytest.raises(ConfigError, match=r"has token 60,000; the tokenizer ends at \d+"):
        adopt(tmp_path / "a", tokenizer, {"web": {"train": [tmp_path / "foreign"]}}, workers=1)
    assert not (tmp_path / "a" / "manifest.json").exists() and not (tmp_path / "a" / "tokenizer").exists()
    with IndexedWriter(tmp_path / "wide", "int32") as writer:
        writer.add(np.array([5, 6], dtype=np.int32), [2])
    with pytest.raises(ConfigError, match="has tokens as uint16, int32"):
        adopt(tmp_path / "b", tokenizer, {**web, "wide": {"train": [tmp_path / "wide"]}}, workers=1)
    large, endless = tmp_path / "large", tmp_path / "endless"
    made_up_tokenizer(70_000).save(large)
    with pytest.raises(ConfigError, match="tokens as uint16, which has no room for a vocabulary of 70,000"):
        adopt(tmp_path / "e", large, web, workers=1)
    made_up_tokenizer(300).save(endless)
    (endless / "tokenizer_config.json").unlink()
    with pytest.raises(ConfigError, match="has no end-of-text token"):
        adopt(tmp_path / "e", endless, web, workers=1)
    (made / "train-00001.idx").write_bytes(b"no index")
    with pytest.raises(ConfigError, match="is not a Megatron-LM index"):
        adopt(tmp_path / "c", tokenizer, {"web": {"train": [made / "train-00001"]}}, workers=1)
    adopt(tmp_path / "d", tokenizer, web, workers=1)
    with pytest.raises(ConfigError, match="holds a corpus already"):
        adopt(tmp_path / "d", tokenizer, web, workers=1)


def test_words(made: Path) -> None:
    assert find_prefixes(f"{made}/train-00000.idx") == find_prefixes(f"{made}/train-00000") == [made / "train-00000"]
    assert find_prefixes(str(made))[0] == made / "train-00000"
    prefixes = parse_prefixes(
        [f"web={made}/train-00000", f"books={made}/train-00001"], [f"web={made}/validation-00000"]
    )
    assert prefixes["web"] == {"train": [made / "train-00000"], "validation": [made / "validation-00000"]}
    assert parse_weights([], prefixes) == {}
    assert parse_weights(["web=60", "books=0.5"], prefixes) == {"web": Decimal(60), "books": Decimal("0.5")}
    for words, held, rule in (
        (["web"], [], "NAME=PREFIX"),
        (["web=x"], ["book=y"], "must name a source"),
        ([f"web={made.parent}"], [], "must hold .idx files"),
    ):
        with pytest.raises(ConfigError, match=rule):
            parse_prefixes(words, held)
    for words, rule in (
        (["web"], "NAME=SHARE"),
        (["web=1", "wiki=2"], "must be a source's"),
        (["web=1"], "every source"),
    ):
        with pytest.raises(ConfigError, match=rule):
            parse_weights(words, prefixes)
