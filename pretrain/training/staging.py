"""The corpus copied to a disk of each machine before the first step: verified, not twice, and only what the run needs.

One process a machine copies, the others wait. A file has its name only when its checksum is the manifest's, so what
an earlier attempt or another run of the same corpus left there is taken as it is. The order knows nothing of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TextIO

from pretrain.config.errors import ConfigError
from pretrain.config.run import Run
from pretrain.config.units import size
from pretrain.monitoring.lines import clock
from pretrain.parallel.place import find_place
from pretrain.parallel.process import World
from pretrain.shards.files import AtomicFile
from pretrain.shards.manifest import SPLITS, Manifest, Shard, Split
from pretrain.shards.remote import fetch_directory, file_sizes, opened

THREADS = 4
"""Files copied at the same time: one stream fills neither a network nor a disk."""
BLOCK = 1 << 22
"""Bytes read at a time."""
SECONDS_BETWEEN_LINES = 10.0


class File(NamedTuple):
    """One file to copy."""

    source: Path
    target: Path
    bytes: int
    sha256: str


class Copied(NamedTuple):
    """What one process did."""

    bytes: int
    seconds: float


def stage(run: Run, manifest: Manifest, world: World) -> tuple[Manifest, list[str]]:
    """The manifest of the copy on this machine's disk, and what to tell about it. All ranks call it together.

    Raises ConfigError on every rank alike when a copy does not fit, or a file is damaged or cannot be read or written.
    """
    if run.data.stage is None:
        return manifest, []
    done: Copied | ConfigError | None = None
    if find_place(os.environ).local_rank == 0:
        try:
            done = copy_corpus(manifest, Path(run.data.stage), needed_sources(run, manifest), world.is_writer)
        except ConfigError as error:
            done = error
    everyone = [one for one in world.gather(done) if one is not None]
    for one in everyone:
        if isinstance(one, ConfigError):
            raise one
    copies = [one for one in everyone if isinstance(one, Copied)]
    machines = f" on each of {len(copies)} machines" if len(copies) > 1 else ""
    most, slowest = max(one.bytes for one in copies), max(one.seconds for one in copies)
    home = home_of(manifest, Path(run.data.stage))
    return copied_to(manifest, home), [f"staged in {home}{machines}: {size(most)} copied in {slowest:.1f} s"]


def needed_sources(run: Run, manifest: Manifest) -> set[str]:
    """The sources that some mixture of the run gives a weight."""
    default = {name: float(source.weight) for name, source in manifest.sources.items()}
    mixtures = [run.data.mixture or default, *(stage.mixture for stage in run.data.stages)]
    return {name for mixture in mixtures for name, weight in mixture.items() if weight}


def home_of(manifest: Manifest, directory: Path) -> Path:
    """Where the copy of a corpus lies: corpora share a directory."""
    return directory / f"{manifest.name}-{manifest.fingerprint()}"


def copied_to(manifest: Manifest, home: Path) -> Manifest:
    """The manifest of the copy in `home`."""

    def moved(split: Split) -> Split:
        return replace(split, shards=tuple(replace(shard, path=_inside(shard.path)) for shard in split.shards))

    sources = {
        name: replace(source, splits={split: moved(part) for split, part in source.splits.items()})
        for name, source in manifest.sources.items()
    }
    return replace(manifest, directory=home, sources=sources)


def copy_corpus(manifest: Manifest, directory: Path, sources: Collection[str], show: bool = False) -> Copied:
    """Copy what is not there yet of the train shards of `sources`, of all validation shards, and the tokenizer.

    Raises ConfigError when it does not fit, or a file is damaged or cannot be read or written.
    """
    home, started = home_of(manifest, directory), time.monotonic()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _locked(home):
            files = list(_files(manifest, home, sources))
            sizes = file_sizes(file.target for file in files)
            missing = [file for file, there in zip(files, sizes, strict=True) if there != file.bytes]
            total = sum(file.bytes for file in missing)
            _check_room(home, total)
            with _shown(total, sys.stderr if show else None) as advance, ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(lambda file: _copy(file, advance), missing))
            _copy_tokenizer(manifest, home)
    except OSError as error:
        fix = "check the disk and the corpus; what has been copied is kept"
        raise ConfigError.of("data.stage", str(home), f"cannot be filled ({error})", fix) from None
    return Copied(total, time.monotonic() - started)


def _files(manifest: Manifest, home: Path, sources: Collection[str]) -> Iterator[File]:
    for name, source in manifest.sources.items():
        for split in SPLITS:
            for shard in source.splits[split].shards if split != "train" or name in sources else ():
                yield from _files_of(manifest, home, shard)


def _files_of(manifest: Manifest, home: Path, shard: Shard) -> Iterator[File]:
    for suffix, known in shard.files.items():
        target = home / (_inside(shard.path) + suffix)
        yield File(manifest.directory / (shard.path + suffix), target, known["bytes"], known["sha256"])


def _inside(path: str) -> str:
    """A shard's path inside the copy: adopted shards lie anywhere."""
    return "/".join({"..": "up", "/": "root"}.get(part, part) for part in Path(path).parts)


def _check_room(home: Path, needed: int) -> None:
    free = shutil.disk_usage(home).free
    if needed > free:
        rule = f"must have room for {size(needed)} more; {size(free)} are free"
        fix = "free some, give a directory on a larger disk, or leave data.stage out"
        raise ConfigError.of("data.stage", str(home.parent), rule, fix)


def _copy(file: File, advance: Callable[[int], None]) -> None:
    writing = AtomicFile(file.target)
    try:
        with opened(file.source) as reading:
            while block := reading.read(BLOCK):
                writing.write(block)
                advance(len(block))
        if writing.sha256 != file.sha256:
            rule = "is not what the manifest says: its checksum differs"
            fix = "restore it (`pretrain corpus verify` finds all such files)"
            raise ConfigError.of("data.stage", str(file.source), rule, fix)
        writing.commit()
    finally:
        writing.discard()


def _copy_tokenizer(manifest: Manifest, home: Path) -> None:
    target = home / manifest.tokenizer.path
    if not target.exists():
        half = target.with_name(target.name + ".tmp")
        shutil.rmtree(half, ignore_errors=True)
        fetch_directory(manifest.directory / manifest.tokenizer.path, half)
        os.replace(half, target)


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Wait until no other process (of another run, say) copies here."""
    with open(home / ".lock", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _shown(total: int, stream: TextIO | None) -> Iterator[Callable[[int], None]]:
    """What is to be called with the bytes of each block: a bar on a terminal, plain lines elsewhere."""
    if stream is None or not total:
        yield lambda _: None
    elif stream.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        columns = ("staging", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(file=stream)) as progress:
            task = progress.add_task("", total=total)
            yield lambda count: progress.advance(task, count)
    else:
        yield Lines(total, stream).advance


class Lines:
    """A line every `seconds`, and at the end."""

    def __init__(self, total: int, stream: TextIO, seconds: float = SECONDS_BETWEEN_LINES) -> None:
        self._total, self._stream, self._seconds = total, stream, seconds
        self._done, self._started = 0, time.monotonic()
        self._last, self._lock = self._started, threading.Lock()

    def advance(self, count: int) -> None:
        """So many more bytes are copied."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if self._done < self._total and now - self._last < self._seconds:
                return
            self._last, rate = now, self._done / max(now - self._started, 1e-9)
            left = clock((self._total - self._done) / rate)
            line = f"staging: {size(self._done)} of {size(self._total)}, {size(rate)}/s, {left} left"
            print(line, file=self._stream, flush=True)
