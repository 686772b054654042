"""`verify`: is every file of a corpus still what its manifest says?"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pretrain.config.errors import ConfigError
from pretrain.corpus.progress import Reporter
from pretrain.shards.files import sha256
from pretrain.shards.indexed import IndexedReader
from pretrain.shards.manifest import Manifest, Shard, load_manifest
from pretrain.shards.tokenizer import tokenizer_of

THREADS = 8
"""Checksums release Python's lock; the disk is the limit."""


def verify(path: str | Path, reporter: Reporter | None = None) -> list[str]:
    """Recompute size and SHA-256 of every file, the counts in every index and the tokenizer's fingerprint.

    Returns a line for each thing that is wrong, with the file's path; an empty list when the corpus is whole.
    Raises ConfigError when the manifest itself cannot be read.
    """
    reporter = reporter or Reporter(quiet=True)
    manifest = load_manifest(path, check_sizes=False)
    shards = [
        shard for source in manifest.sources.values() for split in source.splits.values() for shard in split.shards
    ]
    damaged = list(_check_tokenizer(manifest))
    with ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(lambda shard: list(_check_shard(manifest, shard)), shards)
        for problems in reporter.follow(
            "verify", results, len(shards), lambda found: f"{len(found)} damaged in the last"
        ):
            damaged += problems
    return damaged


def _check_tokenizer(manifest: Manifest) -> Iterator[str]:
    try:
        tokenizer_of(manifest)
    except ConfigError as error:
        yield f"{manifest.directory / manifest.tokenizer.path}: {error.problems[0].rule}"


def _check_shard(manifest: Manifest, shard: Shard) -> Iterator[str]:
    problems = [
        problem
        for suffix, expected in shard.files.items()
        if (problem := _check_file(manifest.directory / (shard.path + suffix), expected["bytes"], expected["sha256"]))
    ]
    yield from problems
    if not problems:
        yield from _check_counts(manifest.directory / shard.path, shard)


def _check_file(path: Path, size: int, digest: str) -> str | None:
    if not path.is_file():
        return f"{path}: is missing"
    if path.stat().st_size != size:
        return f"{path}: has {path.stat().st_size:,} bytes, the manifest says {size:,}"
    if sha256(path) != digest:
        return f"{path}: its checksum is not the manifest's"
    return None


def _check_counts(prefix: Path, shard: Shard) -> Iterator[str]:
    try:
        reader = IndexedReader(prefix)
    except ConfigError as error:
        yield f"{prefix}: {error.problems[0].rule}"
        return
    found, expected = (reader.documents, reader.token_count), (shard.pieces or shard.documents, shard.tokens)
    if found != expected:
        yield f"{prefix}: holds {found} documents and tokens, the manifest says {expected}"
