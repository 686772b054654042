"""A small corpus of made-up tokens, written in the real format: what tests train on without tokenizing anything."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from pretrain.shards.manifest import Manifest, Shard, Source, Split, TokenizerRecord
from tokenizer import Tokenizer

END_OF_TEXT = 0
END = "<end>"
WEIGHTS = {"crawl": "60", "web": "22", "books": "16", "wiki": "3"}


def make_corpus(
    directory: Path,
    vocabulary: int = 211,
    train_tokens: int = 8_000,
    validation_tokens: int = 600,
    weights: dict[str, str] | None = None,
    shards: int = 3,
) -> Path:
    """Write shards and manifest.json; returns its path. Tokens follow a rule a model can learn, another per source."""
    sources = {}
    for number, (name, weight) in enumerate((weights or WEIGHTS).items()):
        train = _tokens(train_tokens + 101 * number, vocabulary, seed=number)
        validation = _tokens(validation_tokens + 13 * number, vocabulary, seed=1000 + number)
        splits = {
            "train": _split(directory, f"{name}-train", np.array_split(train, shards)),
            "validation": _split(directory, f"{name}-validation", [validation]),
        }
        sources[name] = Source(weight, (), splits)
    tokenizer = made_up_tokenizer(vocabulary)
    tokenizer.save(directory / "tokenizer")
    record = TokenizerRecord("tokenizer", tokenizer.fingerprint, vocabulary, END_OF_TEXT)
    manifest = Manifest("synthetic", record, "uint16", True, sources, {}, "test")
    manifest.save(directory / "manifest.json")
    return directory / "manifest.json"


def made_up_tokenizer(vocabulary: int) -> Tokenizer:
    """A word for every id: `t1 t2`."""
    words = {END: END_OF_TEXT, **{f"t{number}": number for number in range(1, vocabulary)}}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "t1"}
    return Tokenizer(
        {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": model}, END
    )


def _tokens(count: int, vocabulary: int, seed: int) -> np.ndarray:
    """Each token is mostly a fixed function of the one before it; documents end about every 40 tokens."""
    random = np.random.Generator(np.random.Philox(seed))
    step = 1 + (seed % 1000) * 7
    noise = random.integers(1, vocabulary, size=count)
    noisy, ends = random.random(count) < 0.2, random.random(count) < 1 / 40
    tokens = np.empty(count, dtype=np.uint16)
    token = 1
    for place in range(count):
        token = int(noise[place]) if noisy[place] else (token * 5 + step) % vocabulary
        tokens[place] = END_OF_TEXT if ends[place] else max(token, 1)
    return tokens


def _split(directory: Path, name: str, parts: list[np.ndarray]) -> Split:
    shards = []
    for number, part in enumerate(parts):
        path = directory / f"{name}-{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part.tobytes())
        digest = hashlib.sha256(part.tobytes()).hexdigest()
        files = {".bin": {"bytes": part.nbytes, "sha256": digest}}
        shards.append(Shard(f"{name}-{number}", int((part == END_OF_TEXT).sum()), len(part), 4 * len(part), files))
    total = sum(shard.tokens for shard in shards)
    return Split(sum(shard.documents for shard in shards), total, 4 * total, tuple(shards))
