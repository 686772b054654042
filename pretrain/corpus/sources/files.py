"""Finding and opening files: globs, gzip, Zstandard."""

from __future__ import annotations

import glob
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from pretrain.config.corpus import CorpusSource
from pretrain.config.errors import ConfigError
from pretrain.corpus.document import Unit


def units(source: CorpusSource) -> list[Unit]:
    """One unit a file, sorted within each glob. Raises ConfigError when a path or glob matches nothing."""
    found: dict[str, None] = {}
    for pattern in source.paths:
        # Path.glob takes no absolute patterns.
        matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else [pattern]  # noqa: PTH207
        files = [match for match in matches if Path(match).is_file()]
        if not files:
            rule = "matches no file" if glob.has_magic(pattern) else "must be an existing file"
            raise ConfigError.of("sources.paths", pattern, rule, "check the path; it is relative to where you are")
        found.update(dict.fromkeys(files))
    return [Unit(index, (path,), stamp=_stamp(path)) for index, path in enumerate(found)]


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A file for reading bytes, unpacked by its suffix (.gz, .zst).

    Raises ConfigError when it cannot be opened or its compressed data is damaged: what follows the damage is unknown.
    """
    try:
        with open(path, "rb") as raw:
            if path.endswith(".gz"):
                yield cast(BinaryIO, gzip.open(raw))
            elif path.endswith((".zst", ".zstd")):
                yield cast(BinaryIO, io.BufferedReader(_ZstdFrames(raw)))
            else:
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        fix = "fetch the file again"
        raise ConfigError.of("sources.paths", path, f"its compressed data is damaged ({error})", fix) from None
    except OSError as error:
        raise ConfigError.of("sources.paths", path, f"cannot be read ({error.strerror})", "check the file") from None


def lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of a binary file, without their ends."""
    for line in file:
        yield line.rstrip(b"\r\n")


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
