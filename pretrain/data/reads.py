"""How windows are read: from local files at once, from object storage in few requests; counted.

Local files take one pread a window, which no merging beats in random order. A request to object storage costs as much
time as many kilobytes: windows that lie close together are fetched as one range, all ranges of a step at the same time.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pretrain.data.batch import Cost
from pretrain.shards.remote import Remote, read_ranges

OPEN_FILES = 128
"""File descriptors that one process keeps open over all its sources."""
GAP = 16_384
"""Bytes between two windows that are read and thrown away rather than asking twice."""


class Part(NamedTuple):
    """Where bytes of a remote file are to go."""

    path: Remote
    offset: int
    buffer: memoryview

    @property
    def end(self) -> int:
        """The byte after the last."""
        return self.offset + len(self.buffer)


class Files:
    """Open shards, the least recently used closed first. Safe from several threads."""

    def __init__(self, limit: int = OPEN_FILES) -> None:
        self._limit = limit
        self._open: OrderedDict[Path, int] = OrderedDict()
        self._lock = threading.Lock()  # a file must not be closed by one thread while another reads it

    def read_into(self, path: Path, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from byte `offset` of `path`; how many reads it took. Raises OSError when it ends before."""
        done = reads = 0
        while done < len(buffer):
            with self._lock:
                read = os.preadv(self._descriptor(path), [buffer[done:]], offset + done)
            if read == 0:
                raise OSError(
                    f"{path} ends at byte {offset + done}, {len(buffer) - done} bytes early: restore the file"
                )
            done, reads = done + read, reads + 1
        return reads

    def _descriptor(self, path: Path) -> int:
        descriptor = self._open.get(path)
        if descriptor is None:
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            self._open[path] = descriptor
            if len(self._open) > self._limit:
                os.close(self._open.popitem(last=False)[1])
        else:
            self._open.move_to_end(path)
        return descriptor


class Reads:
    """What is read together: buffers are full when `finish` returns."""

    def __init__(self, files: Files) -> None:
        self._files, self._later = files, list[Part]()
        self._bytes = self._requests = 0

    def read_into(self, path: Path, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` from byte `offset` of `path`, now or in `finish`. Raises OSError when it ends before."""
        if isinstance(path, Remote):
            self._later.append(Part(path, offset, buffer))
            return
        self._requests += self._files.read_into(path, buffer, offset)
        self._bytes += len(buffer)

    def finish(self) -> Cost:
        """Fetch what is left, and what all of it took."""
        groups = merge(self._later, GAP)
        if groups:
            ranges = [(group[0].path, group[0].offset, max(part.end for part in group)) for group in groups]
            for group, (_, start, _), block in zip(groups, ranges, read_ranges(ranges), strict=True):
                for part in group:
                    part.buffer[:] = block[part.offset - start : part.end - start]
                self._bytes, self._requests = self._bytes + len(block), self._requests + 1
        self._later.clear()
        return Cost(self._bytes, self._requests)


def merge(parts: Iterable[Part], gap: int) -> list[list[Part]]:
    """Parts of the same file with at most `gap` bytes between them, together; as they lie in the files."""
    groups, end = list[list[Part]](), 0
    for part in sorted(parts, key=lambda part: (str(part.path), part.offset)):
        if groups and groups[-1][0].path == part.path and part.offset - end <= gap:
            groups[-1].append(part)
            end = max(end, part.end)
        else:
            groups.append([part])
            end = part.end
    return groups
