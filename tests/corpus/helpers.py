"""Small documents, recipes and ways to look at what was prepared."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pretrain.config.corpus import Corpus
from pretrain.shards.indexed import IndexedReader
from pretrain.shards.manifest import Manifest
from pretrain.shards.sidecar import read_origin
from tokenizer import load_tokenizer


def texts(name: str, count: int) -> list[str]:
    """Different short documents of different lengths."""
    return [
        f"{name} document {i}: " + "the quick brown fox jumps over 한국어 " * (i % 7) + f"{i**9:x}"
        for i in range(count)
    ]


def write_jsonl(path: Path, documents: Iterable[str]) -> str:
    """A JSON Lines file whose documents have ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"text": text, "id": f"{path.stem}-{i}"}) for i, text in enumerate(documents))
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)


def jsonl(*paths: str, **more: Any) -> dict[str, Any]:
    """A source of JSON Lines files."""
    return {"kind": "jsonl", "paths": list(paths), "weight": 1, **more}


def recipe(directory: Path, tokenizer: Path | dict[str, Any], sources: dict[str, Any], **more: Any) -> Corpus:
    """A recipe that runs in this process unless `workers` says otherwise."""
    given = tokenizer if isinstance(tokenizer, dict) else str(tokenizer)
    plain = {"name": "tiny", "directory": str(directory), "tokenizer": given, "sources": sources, "workers": 1}
    return Corpus.parse({**plain, **more})


def documents(manifest: Manifest, source: str, split: str) -> list[str]:
    """The texts of a split in stored order, without their ends."""
    tokenizer = load_tokenizer(manifest.directory / manifest.tokenizer.path)
    found = []
    for shard in manifest.sources[source].splits[split].shards:
        reader = IndexedReader(manifest.directory / shard.path)
        for i in range(len(reader)):
            tokens = reader[i].tolist()
            found.append(tokenizer.decode(tokens[:-1] if tokens[-1:] == [tokenizer.end_of_text] else tokens))
    return found


def origins(manifest: Manifest, source: str, split: str) -> list[dict[str, Any]]:
    """The sidecar's rows of a split, in stored order."""
    shards = manifest.sources[source].splits[split].shards
    return [read_origin(manifest.directory / shard.path, i) for shard in shards for i in range(shard.documents)]


def files(directory: Path) -> dict[str, bytes]:
    """Every file below a corpus directory, by relative path."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}
