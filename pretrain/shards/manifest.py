"""manifest.json: what a prepared corpus holds, per source and split, and how it came about."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson

from pretrain.config.errors import ConfigError
from pretrain.shards.indexed import wrapped
from pretrain.shards.remote import file_sizes, located

FORMAT_VERSION = 1
SPLITS = ("train", "validation")


@dataclass(frozen=True, slots=True)
class Packing:
    """Documents packed into samples of a fixed length."""

    method: str
    sequence_length: int
    """T. Every T+1 tokens of a shard are one sample."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One .bin/.idx pair with its sidecar. `path` is relative to the manifest and has no suffix."""

    path: str
    documents: int
    tokens: int
    text_bytes: int
    """Bytes of UTF-8 text that the tokens stand for."""
    files: dict[str, dict[str, Any]]
    """Suffix (".bin", ".idx", sidecar's) -> {"bytes": size, "sha256": hex digits}."""
    pieces: int | None = None
    """Of its documents, when they are packed: rows of .idx and sidecar. Padding counts as part of a sample's last."""
    cut_documents: int = 0
    """Documents of more than one piece."""
    padding_tokens: int = 0
    """Of its tokens, those that only fill samples up."""


@dataclass(frozen=True, slots=True)
class Split:
    """The train or validation part of a source."""

    documents: int
    tokens: int
    text_bytes: int
    shards: tuple[Shard, ...]
    cut_documents: int = 0
    padding_tokens: int = 0

    @classmethod
    def of(cls, shards: Sequence[Shard]) -> Self:
        """The sums of its shards."""
        counts = ("documents", "tokens", "text_bytes", "cut_documents", "padding_tokens")
        return cls(**{count: sum(getattr(shard, count) for shard in shards) for count in counts}, shards=tuple(shards))


@dataclass(frozen=True, slots=True)
class Stage:
    """A step that documents went through, with counts in and out."""

    name: str
    parameters: dict[str, Any]
    documents_in: int
    documents_out: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class Source:
    """One source of the mixture."""

    weight: str
    """Default share of training tokens, as the decimal written in the recipe."""
    stages: tuple[Stage, ...]
    splits: dict[str, Split]


@dataclass(frozen=True, slots=True)
class TokenizerRecord:
    """The tokenizer that made the tokens; its files lie beside the manifest in `path`."""

    path: str
    fingerprint: str
    vocab_size: int
    end_of_text: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything about a prepared corpus. `directory` is where it was read from and is not stored."""

    name: str
    tokenizer: TokenizerRecord
    dtype: str
    """numpy name of the token type in .bin: uint16 or int32."""
    appends_end_of_text: bool
    sources: dict[str, Source]
    recipe: dict[str, Any]
    """The resolved recipe that made it."""
    code_version: str
    prepared_from: str = ""
    """Sixteen hex digits over recipe, inputs and tokenizer: `corpus prepare` does nothing while they are the same."""
    packing: Packing | None = None
    """None: samples are windows of any length at that stride."""
    format_version: int = FORMAT_VERSION
    directory: Path = field(default=Path(), compare=False)

    def save(self, path: Path) -> None:
        """Write atomically: a reader sees the old file, the new one, or none."""
        plain = asdict(self)
        del plain["directory"]
        temporary = path.with_suffix(".json.tmp")
        with open(temporary, "wb") as file:
            file.write(orjson.dumps(plain, option=orjson.OPT_INDENT_2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def fingerprint(self) -> str:
        """Sixteen hex digits over the tokens' checksums: equal when the corpora serve the same tokens."""
        import hashlib

        digest = hashlib.sha256(self.tokenizer.fingerprint.encode())
        if self.packing:
            digest.update(f"{self.packing.method}/{self.packing.sequence_length}".encode())
        for name, source in self.sources.items():
            for split_name, split in source.splits.items():
                for shard in split.shards:
                    digest.update(f"{name}/{split_name}/{shard.tokens}/{shard.files['.bin']['sha256']}".encode())
        return digest.hexdigest()[:16]


def load_manifest(path: str | Path, *, check_sizes: bool = True) -> Manifest:
    """Read a manifest (a path or a URL) and check the sizes of its files (checksums: `pretrain corpus verify`).

    Raises ConfigError when the file is missing, not a manifest, of another version, or a shard is missing or cut short.
    """
    path = located(path)
    try:
        if not path.is_file():
            fix = "run `pretrain corpus prepare RECIPE.yaml` first, or give the path of its manifest.json"
            raise ConfigError.of("data.manifest", str(path), "must be an existing file", fix)
        plain = orjson.loads(path.read_bytes())
        version = plain.pop("format_version")
        if version != FORMAT_VERSION:
            fix = "prepare the corpus again with this version of pretrain"
            raise ConfigError.of("data.manifest", str(path), f"has format {version}, this reads {FORMAT_VERSION}", fix)
        manifest = _from_plain(plain, path.parent)
        _check_vocabulary(manifest, path)
        if check_sizes:
            _check_sizes(manifest)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        fix = "give the manifest.json that `pretrain corpus prepare` wrote"
        raise ConfigError.of("data.manifest", str(path), f"is not a manifest ({error!r})", fix) from None
    except OSError as error:
        fix = "check the path, the rights and the connection"
        raise ConfigError.of("data.manifest", str(path), f"cannot be read ({error})", fix) from None
    return manifest


def _from_plain(plain: dict[str, Any], directory: Path) -> Manifest:
    sources = {name: _source(entry) for name, entry in plain.pop("sources").items()}
    tokenizer = TokenizerRecord(**plain.pop("tokenizer"))
    packing = Packing(**packed) if (packed := plain.pop("packing", None)) else None
    return Manifest(**plain, sources=sources, tokenizer=tokenizer, packing=packing, directory=directory)


def _source(plain: dict[str, Any]) -> Source:
    splits = {
        name: Split(**{**split, "shards": tuple(Shard(**shard) for shard in split["shards"])})
        for name, split in plain["splits"].items()
    }
    return Source(plain["weight"], tuple(Stage(**stage) for stage in plain["stages"]), splits)


def _check_vocabulary(manifest: Manifest, path: Path) -> None:
    """Ids fit the type they are stored in."""
    size, end = manifest.tokenizer.vocab_size, manifest.tokenizer.end_of_text
    problem = wrapped(manifest.dtype, size)
    if not problem and not 0 <= end < size:
        problem = f"has end-of-text {end:,} in a vocabulary of {size:,}"
    if problem:
        fix = "give the manifest.json that `pretrain corpus prepare` wrote, or prepare the corpus again"
        raise ConfigError.of("data.manifest", str(path), problem, fix)


def _check_sizes(manifest: Manifest) -> None:
    files = [
        (manifest.directory / (shard.path + suffix), int(expected["bytes"]))
        for source in manifest.sources.values()
        for split in source.splits.values()
        for shard in split.shards
        for suffix, expected in shard.files.items()
    ]
    for (path, expected), size in zip(files, file_sizes(path for path, _ in files), strict=True):
        if size != expected:
            found = "is missing" if size is None else f"has {size:,}"
            rule = f"must have {expected:,} bytes as the manifest says; it {found}"
            fix = "run `pretrain corpus prepare` again, or restore the file"
            raise ConfigError.of("data.manifest", str(path), rule, fix)
