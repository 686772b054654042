"""Megatron-LM's indexed datasets: PREFIX.bin holds tokens back to back, PREFIX.idx says where each document lies.

Layout of .idx, little endian: b"MMIDIDX\\0\\0", u64 version (1), u8 token type (8 uint16, 4 int32), u64 sequences S,
u64 document indices D + 1, then int32 lengths[S] in tokens, int64 offsets[S] in bytes, int64 documents[D + 1] (first
sequence of each document, and S). We write one sequence a document; files with several are read too.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pretrain.config.errors import ConfigError
from pretrain.shards.files import AtomicFile
from pretrain.shards.remote import Remote, located, read_range

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
HEADER = struct.Struct("<9sQBQQ")
CODES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float64", 7: "float32", 8: "uint16"}
READABLE = ("uint16", "int32")
LARGEST_UINT16_VOCABULARY = 65_500
"""Megatron-LM's rule: vocabularies from this size on are stored as int32."""

Tokens = npt.NDArray[np.uint32] | npt.NDArray[np.uint16] | npt.NDArray[np.int32]


def token_dtype(vocab_size: int) -> str:
    """numpy name of the type that stores tokens of a vocabulary: uint16 or int32."""
    return "uint16" if vocab_size < LARGEST_UINT16_VOCABULARY else "int32"


def wrapped(dtype: str, vocab_size: int) -> str | None:
    """What to say of a vocabulary that the type of its tokens has no room for: its larger ids were cut short."""
    room = np.iinfo(dtype).max + 1
    return f"has tokens as {dtype}, which has no room for a vocabulary of {vocab_size:,}" if vocab_size > room else None


class IndexedWriter:
    """Streams documents into PREFIX.bin and PREFIX.idx, whole at the end of the `with` block or not at all.

    Memory: 4 bytes a document. `files` then holds size and checksum by suffix. A full disk raises ConfigError.
    """

    def __init__(self, prefix: Path, dtype: str) -> None:
        self._prefix = prefix
        self._dtype = np.dtype(dtype)
        self._lengths = array("i")
        self._bin = AtomicFile(_suffixed(prefix, ".bin"))
        self.tokens = 0
        self.files: dict[str, dict[str, Any]] = {}

    def add(self, tokens: Tokens, lengths: Iterable[int]) -> None:
        """Append documents: their tokens back to back, and the tokens of each."""
        lengths = array("i", [int(length) for length in lengths])
        if sum(lengths) != len(tokens):
            raise ValueError(f"lengths sum to {sum(lengths)}, there are {len(tokens)} tokens")
        self._bin.write(np.ascontiguousarray(tokens, dtype=self._dtype).view(np.uint8))
        self._lengths.extend(lengths)
        self.tokens += len(tokens)

    @property
    def documents(self) -> int:
        """Documents added."""
        return len(self._lengths)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        index = None
        try:
            if kind is None:
                index = AtomicFile(_suffixed(self._prefix, ".idx"))
                self._write_index(index)
                self.files = {".bin": self._bin.commit(), ".idx": index.commit()}
        finally:
            self._bin.discard()
            if index is not None:
                index.discard()

    def _write_index(self, file: AtomicFile) -> None:
        lengths = np.frombuffer(self._lengths, dtype="<i4") if self._lengths else np.empty(0, "<i4")
        ends = np.cumsum(lengths, dtype="<i8") * self._dtype.itemsize
        code = next(code for code, name in CODES.items() if name == self._dtype.name)
        file.write(HEADER.pack(MAGIC, VERSION, code, len(lengths), len(lengths) + 1))
        file.write(lengths)
        file.write(ends - lengths.astype("<i8") * self._dtype.itemsize)
        file.write(np.arange(len(lengths) + 1, dtype="<i8"))


class IndexedReader:
    """PREFIX.bin and PREFIX.idx, mapped into memory; nothing is read before it is asked for. Of remote files the
    arrays that are asked for are fetched.

    Raises ConfigError when a file is missing, not of this format, or not of the size that the header says.
    """

    def __init__(self, prefix: str | Path) -> None:
        self.prefix = located(prefix)
        path = _suffixed(self.prefix, ".idx")
        self._path = path
        try:
            header = read_range(path, 0, HEADER.size)
            size = path.stat().st_size
            self._bin_size = _suffixed(self.prefix, ".bin").stat().st_size
        except OSError as error:
            raise _refused(error.filename or path, f"cannot be read ({error.strerror or error})") from None
        if len(header) < HEADER.size or not header.startswith(MAGIC):
            raise _refused(path, "is not a Megatron-LM index: it must start with MMIDIDX")
        _, version, code, sequences, document_indices = HEADER.unpack(header)
        self.sequences, self.documents = int(sequences), int(document_indices) - 1
        if version != VERSION or CODES.get(code) not in READABLE:
            raise _refused(
                path, f"has version {version} and token type {code}, this reads 1 with 8 (uint16) or 4 (int32)"
            )
        self.dtype = np.dtype(CODES[code]).newbyteorder("<")
        expected = HEADER.size + 12 * self.sequences + 8 * document_indices
        if size != expected or self.documents < 0:
            raise _refused(path, f"must have {expected:,} bytes for {self.sequences:,} sequences; it has {size:,}")
        if self._bin_size % self.dtype.itemsize:
            raise _refused(_suffixed(self.prefix, ".bin"), f"must hold whole {self.dtype.name} tokens; it is cut short")

    @property
    def token_count(self) -> int:
        """Tokens in .bin."""
        return self._bin_size // self.dtype.itemsize

    @cached_property
    def tokens(self) -> npt.NDArray[Any]:
        """[tokens] of the token type: all documents back to back."""
        if not self._bin_size:
            return np.empty(0, self.dtype)  # an empty file cannot be mapped
        if isinstance(self.prefix, Remote):
            return np.frombuffer(_suffixed(self.prefix, ".bin").read_bytes(), self.dtype)
        return np.memmap(_suffixed(self.prefix, ".bin"), dtype=self.dtype, mode="r")

    @cached_property
    def lengths(self) -> npt.NDArray[np.int32]:
        """[sequences] int32, tokens of each."""
        return self._part(HEADER.size, "<i4", self.sequences)

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """[sequences] int64, bytes into .bin."""
        return self._part(HEADER.size + 4 * self.sequences, "<i8", self.sequences)

    @cached_property
    def document_starts(self) -> npt.NDArray[np.int64]:
        """[documents + 1] int64, the first sequence of each document, and the number of sequences."""
        return self._part(HEADER.size + 12 * self.sequences, "<i8", self.documents + 1)

    def __len__(self) -> int:
        return self.sequences

    def __getitem__(self, sequence: int) -> npt.NDArray[Any]:
        """Tokens of one sequence: a view into the mapped file."""
        start = int(self.offsets[sequence]) // self.dtype.itemsize
        return self.tokens[start : start + int(self.lengths[sequence])]

    @cached_property
    def _index(self) -> npt.NDArray[np.uint8]:
        return np.memmap(self._path, dtype=np.uint8, mode="r")

    def _part(self, start: int, dtype: str, count: int) -> npt.NDArray[Any]:
        # The header has 34 bytes, so the arrays are not aligned; numpy handles that.
        stop = start + count * np.dtype(dtype).itemsize
        if isinstance(self._path, Remote):
            return np.frombuffer(read_range(self._path, start, stop), dtype)
        return self._index[start:stop].view(dtype)


def _suffixed(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)


def _refused(path: str | Path, rule: str) -> ConfigError:
    return ConfigError.of("data.manifest", str(path), rule, "restore the file, or run `pretrain corpus prepare` again")
