"""Finding, opening and dividing files: globs, URLs, gzip, Zstandard, bzip2, xz."""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from pretrain.config.corpus import PAGES, CorpusSource
from pretrain.config.errors import ConfigError
from pretrain.corpus.document import Broken, Unit
from pretrain.corpus.sources.remote import find, is_glob, is_remote, open_remote

PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]*@")
CHUNK = 1 << 16
"""Bytes read at a time; more do not fit into the caches of a core, and dividing them takes twice as long."""
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError, lzma.LZMAError)


def units(source: CorpusSource, files: int = 1) -> list[Unit]:
    """Units of so many files, sorted within each glob. Raises ConfigError when a path or glob matches nothing."""
    found: dict[str, str] = {}
    for pattern in source.paths:
        if PASSWORD.search(pattern):
            rule, fix = "must hold no password: recipes are kept", "give it in the configuration of fsspec"
            raise ConfigError.of("sources.paths", PASSWORD.sub("://...@", pattern), rule, fix)
        matches = find(pattern) if is_remote(pattern) else _find_local(pattern)
        if not matches:
            rule = "matches no file" if is_glob(pattern) else "must be an existing file"
            raise ConfigError.of("sources.paths", pattern, rule, "check the path; it is relative to where you are")
        found |= {path: stamp for path, stamp in matches.items() if path not in found}
    groups = [list(found)[start : start + files] for start in range(0, len(found), files)]
    return [Unit(i, tuple(group), stamp=" ".join(found[path] for path in group)) for i, group in enumerate(groups)]


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A file for reading bytes, unpacked by its suffix (.gz, .zst, .bz2, .xz).

    Raises ConfigError when it cannot be opened or its compressed data is damaged: what follows the damage is unknown.
    """
    try:
        with _raw(path) as raw:
            yield _unpacked(path, raw)
    except DAMAGED as error:
        raise _damaged(path, error) from None
    except OSError as error:
        if path.endswith(".bz2") and error.errno is None:  # bz2 has no error of its own
            raise _damaged(path, error) from None
        reason = error.strerror or str(error)
        raise ConfigError.of("sources.paths", path, f"cannot be read ({reason})", "check the file") from None


def pieces(file: BinaryIO, separator: bytes, limit: int) -> Iterator[bytes | int]:
    """What stands between separators (b"": the whole file); of a piece of more than `limit` bytes only its length."""
    held, passed = b"", 0
    while chunk := file.read(max(CHUNK, len(held))):  # doubling: the time of a long piece stays linear
        *whole, held = (held + chunk).split(separator) if separator else [held + chunk]
        for piece in whole:
            yield piece if passed + len(piece) <= limit else passed + len(piece)
            passed = 0
        if passed or len(held) > limit + len(separator):
            kept = min(max(len(separator) - 1, 0), len(held))  # a separator may have begun
            passed, held = passed + len(held) - kept, held[len(held) - kept :]
    yield held if passed + len(held) <= limit else passed + len(held)


def too_large(source: CorpusSource, path: str, number: int, size: int) -> Broken:
    """A record of more bytes than are read. Crawls are expected to have such pages."""
    reason = f"is larger than maximum_record_bytes ({source.record_limit:,})"
    return Broken(path, number, reason, size, expected=source.kind in PAGES)


def _find_local(pattern: str) -> dict[str, str]:
    """Path -> stamp."""
    # Path.glob takes no absolute patterns.
    matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else [pattern]  # noqa: PTH207
    return {match: _stamp(match) for match in matches if Path(match).is_file()}


def _raw(path: str) -> BinaryIO:
    return io.BufferedReader(open_remote(path), CHUNK) if is_remote(path) else open(path, "rb")


def _unpacked(path: str, raw: BinaryIO) -> BinaryIO:
    # a web address may end in a query, such as the hub's ?download=true
    match Path(path.partition("?")[0] if path.startswith("http") and is_remote(path) else path).suffix:
        case ".gz":
            return cast(BinaryIO, gzip.open(raw))
        case ".zst" | ".zstd":
            return cast(BinaryIO, io.BufferedReader(_ZstdFrames(raw)))
        case ".bz2":
            return cast(BinaryIO, bz2.open(raw))
        case ".xz":
            return cast(BinaryIO, lzma.open(raw))
    return raw


def _damaged(path: str, error: Exception) -> ConfigError:
    rule = f"its compressed data is damaged ({error})"
    return ConfigError.of("sources.paths", path, rule, "fetch the file again")


def _stamp(path: str) -> str:
    status = Path(path).stat()
    return f"{status.st_size}/{status.st_mtime_ns}"


class _ZstdFrames(io.RawIOBase):
    """Zstandard data, all its frames; unlike the library's own reader, data cut short is an error and not an end."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._inner = zstandard.ZstdDecompressor().decompressobj()
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and self._fill():
            pass
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _fill(self) -> bool:
        """Unpack one more piece. False at the end. Raises EOFError when the data stops inside a frame."""
        if self._inner.eof:
            rest = self._inner.unused_data or self._raw.read(1 << 16)
            if not rest:
                return False
            self._inner = zstandard.ZstdDecompressor().decompressobj()
        elif not (rest := self._raw.read(1 << 16)):
            raise EOFError("it is cut short")
        self._ready = self._inner.decompress(rest)
        return True
