"""`adopt`: a manifest for Megatron-LM's .bin/.idx files, which stay where they are."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.config.errors import ConfigError
from pretrain.corpus.pool import Pool, default_workers
from pretrain.corpus.progress import Reporter
from pretrain.corpus.workspace import locked
from pretrain.shards.files import sha256
from pretrain.shards.indexed import IndexedReader, wrapped
from pretrain.shards.manifest import SPLITS, Manifest, Shard, Source, Split, TokenizerRecord
from tokenizer import Tokenizer, load_tokenizer

CHUNK = 2**24
"""Tokens looked at together."""
DECODED = 2**20
"""Tokens of a shard that are decoded to learn how many bytes of text a token stands for; shorter shards are whole."""

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"

Prefixes = dict[str, dict[str, list[Path]]]
"""Source -> split -> files without their suffix."""


@dataclass(frozen=True)
class Task:
    """One pair of files to look through."""

    prefix: str
    directory: str
    tokenizer: str


@dataclass(frozen=True)
class Looked:
    """A pair of files, looked through."""

    shard: Shard
    dtype: str
    ends: bool
    """Whether every document ends with the tokenizer's end-of-text."""


def adopt(
    directory: Path,
    tokenizer: str | Path,
    prefixes: Prefixes,
    weights: dict[str, Decimal] | None = None,
    reporter: Reporter | None = None,
    workers: int | None = None,
) -> Path:
    """Write `directory`/manifest.json for files that are there, after reading each once; returns its path.

    Weights default to each source's tokens. Raises ConfigError: files that are not Megatron's, differ in token type,
    have tokens that the tokenizer does not have, or a directory that holds a corpus.
    """
    loaded, reporter = load_tokenizer(tokenizer), reporter or Reporter(quiet=True)
    _ = loaded.end_of_text
    with locked(directory):
        if (directory / "manifest.json").exists():
            fix = "give another directory, or remove that manifest"
            raise ConfigError.of("directory", str(directory), "holds a corpus already", fix)
        tasks = [
            Task(str(prefix), str(directory), str(tokenizer))
            for splits in prefixes.values()
            for split in SPLITS
            for prefix in splits.get(split, [])
        ]
        with Pool(workers or default_workers()) as pool:
            results = reporter.follow("adopt", pool.map(look_through, tasks), len(tasks), lambda one: one.shard.path)
            looked = dict(zip([task.prefix for task in tasks], results, strict=True))
        manifest = _manifest(directory, loaded, prefixes, looked, weights or {})
        loaded.save(directory / "tokenizer")
        manifest.save(directory / "manifest.json")
    return directory / "manifest.json"


def parse_prefixes(train: Sequence[str], validation: Sequence[str]) -> Prefixes:
    """From words such as `web=data/web_text_document`. Raises ConfigError."""
    prefixes: Prefixes = {}
    for split, words in (("train", train), ("validation", validation)):
        for word in words:
            name, equals, path = word.partition("=")
            if not equals or not re.fullmatch(NAME, name):
                raise ConfigError.of("sources", word, "must be written NAME=PREFIX", "for example web=data/web")
            if split == "validation" and name not in prefixes:
                raise ConfigError.of("validation", word, "must name a source", f"sources: {', '.join(prefixes)}")
            prefixes.setdefault(name, {}).setdefault(split, []).extend(find_prefixes(path))
    return prefixes


def parse_weights(words: Sequence[str], prefixes: Prefixes) -> dict[str, Decimal]:
    """From words such as `web=60`: none, or one for each source. Raises ConfigError."""
    weights = {}
    for word in words:
        name, _, share = word.partition("=")
        try:
            weights[name] = Decimal(share)
        except InvalidOperation:
            raise ConfigError.of("weight", word, "must be written NAME=SHARE", "for example web=60") from None
        if name not in prefixes or not weights[name].is_finite() or weights[name] < 0:
            raise ConfigError.of("weight", word, "must be a source's, 0 or more", f"sources: {', '.join(prefixes)}")
    if weights and (missing := [name for name in prefixes if name not in weights]):
        raise ConfigError.of("weight", words[0], "must be given for every source or none", f"add {missing[0]}=...")
    return weights


def find_prefixes(path: str) -> list[Path]:
    """What a user calls a data set: PREFIX, PREFIX.bin, PREFIX.idx, or a folder of such files. Raises ConfigError."""
    place = Path(path)
    if place.is_dir():
        found = sorted(file.with_suffix("") for file in place.glob("*.idx"))
        if not found:
            raise ConfigError.of("sources", path, "must hold .idx files", "give the path of one without its suffix")
        return found
    return [place.with_suffix("") if place.suffix in (".bin", ".idx") else place]


def look_through(task: Task) -> Looked:
    """Check and count one pair of files. Raises ConfigError."""
    prefix, tokenizer = Path(task.prefix), load_tokenizer(task.tokenizer)
    reader = IndexedReader(prefix)
    largest = max((int(chunk.max()) for chunk in _chunks(reader)), default=0)
    rule = wrapped(reader.dtype.name, tokenizer.vocab_size)
    if largest >= tokenizer.vocab_size:
        rule = f"has token {largest:,}; the tokenizer ends at {tokenizer.vocab_size - 1:,}"
    if rule:
        raise ConfigError.of("tokenizer", str(prefix), rule, "give the tokenizer that made these files")
    files = {suffix: _file(prefix.with_name(prefix.name + suffix)) for suffix in (".bin", ".idx")}
    path = os.path.relpath(prefix, task.directory)
    shard = Shard(path, reader.documents, reader.token_count, _text_bytes(reader, tokenizer), files)
    return Looked(shard, reader.dtype.name, _ends(reader, tokenizer.end_of_text))


def _chunks(reader: IndexedReader) -> Iterator[Any]:
    for start in range(0, reader.token_count, CHUNK):
        yield reader.tokens[start : start + CHUNK]


def _file(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def _ends(reader: IndexedReader, end_of_text: int) -> bool:
    """Whether the last token of every document is end-of-text."""
    starts = np.asarray(reader.document_starts)
    last = starts[1:][np.diff(starts) > 0] - 1  # the last sequence of each document
    tokens = np.asarray(reader.offsets)[last] // reader.dtype.itemsize + np.asarray(reader.lengths)[last] - 1
    return bool(len(last)) and bool((reader.tokens[tokens] == end_of_text).all())


def _text_bytes(reader: IndexedReader, tokenizer: Tokenizer) -> int:
    """Bytes of UTF-8, ends of documents not counted; of a long shard from parts that lie evenly in it."""
    parts = max(1, -(-reader.token_count // DECODED))
    piece, size, seen = max(1, DECODED // parts), 0, 0
    for start in range(0, reader.token_count, piece * parts):
        tokens = reader.tokens[start : start + piece]
        seen += len(tokens)
        size += len(tokenizer.decode(tokens[tokens != tokenizer.end_of_text]).encode())
    return round(size * reader.token_count / seen) if seen else 0


def _manifest(
    directory: Path,
    tokenizer: Tokenizer,
    prefixes: Prefixes,
    looked: dict[str, Looked],
    weights: dict[str, Decimal],
) -> Manifest:
    types = {one.dtype: path for path, one in looked.items()}
    if len(types) > 1:
        rule = f"has tokens as {', '.join(types)} (such as {', '.join(types.values())})"
        raise ConfigError.of("sources", str(directory), rule, "adopt each type into a corpus of its own")
    sources = {}
    for name, splits in prefixes.items():
        made = {split: Split.of([looked[str(prefix)].shard for prefix in splits.get(split, [])]) for split in SPLITS}
        sources[name] = Source(str(weights.get(name, made["train"].tokens)), (), made)
    record = TokenizerRecord("tokenizer", tokenizer.fingerprint, tokenizer.vocab_size, tokenizer.end_of_text)
    return Manifest(
        name=directory.name,
        tokenizer=record,
        dtype=next(iter(types)),
        appends_end_of_text=all(one.ends for one in looked.values()),
        sources=sources,
        recipe={"adopted": {name: _words(splits) for name, splits in prefixes.items()}},
        code_version=importlib.metadata.version("pretrain"),
    )


def _words(splits: dict[str, list[Path]]) -> dict[str, list[str]]:
    return {split: [str(prefix) for prefix in paths] for split, paths in splits.items()}
