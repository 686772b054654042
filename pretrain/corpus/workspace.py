"""The directory of a corpus while it is prepared: one process at a time, finished parts kept, nothing ever mixed.

corpora/<name>/manifest.json      appears last; until then an older one stays valid with its own data
corpora/<name>/tokenizer/         the tokenizer of manifest.json
corpora/<name>/report.html, ...   what happened to the documents, for people
corpora/<name>/data-<key>/        shards; the key is over recipe, inputs and tokenizer: two recipes share no folder
corpora/<name>/.prepare/          work in progress: runs, a record of every finished unit and shard; removed at the end
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pretrain.config.errors import ConfigError
from pretrain.shards.files import sync_directory, write_atomically
from pretrain.shards.manifest import Manifest, load_manifest

DUPLICATES, CONTAMINATION = "duplicates.parquet", "contamination.jsonl"
DROPPED, STATISTICS, REPORT = "dropped.jsonl", "statistics.json", "report.html"
BESIDE = (DUPLICATES, CONTAMINATION, DROPPED, STATISTICS, REPORT)
"""For people: clusters of nearly equal documents, those that held texts of benchmarks, examples of what was dropped."""


class Workspace:
    """Paths and bookkeeping of one preparation, identified by its key."""

    def __init__(self, directory: Path, key: str) -> None:
        self.directory = directory
        self.key = key
        self.work = directory / ".prepare"
        self.manifest = directory / "manifest.json"
        self.tokenizer = directory / "tokenizer"
        self.new_tokenizer = self.work / "tokenizer"
        self.beside = self.work / "beside"
        """What will stand beside the manifest: BESIDE."""
        self.jobs = self.work / "jobs.json"
        """Phase -> job, where a cluster does the work."""

    def finished(self) -> bool:
        """Whether the manifest is of this key and its files have their sizes."""
        try:
            return load_manifest(self.manifest).prepared_from == self.key
        except ConfigError:
            return False

    def other_manifest(self) -> bool:
        """Whether a manifest of another key, or damaged, stands here."""
        return self.manifest.is_file() and not self.finished()

    def open(self) -> bool:
        """Get ready. True when an earlier call with the same key left work to go on with."""
        going_on = self.is_open()
        if not going_on:
            shutil.rmtree(self.work, ignore_errors=True)
            write_atomically(self.work / "key", self.key.encode())
        return going_on

    def is_open(self) -> bool:
        """Whether the work in progress is of this key."""
        record = self.work / "key"
        return record.is_file() and record.read_text() == self.key

    def unit_directory(self, stage: str, source: str, unit: int) -> Path:
        """Where the runs of a unit go that come out of a stage."""
        return self.work / stage / source / f"unit-{unit:06}"

    def shard_path(self, source: str, split: str, index: int) -> str:
        """Path of a shard without suffix, relative to the manifest."""
        return f"data-{self.key}/{source}/{split}-{index:05}"

    def shard_record(self, source: str, split: str, index: int) -> Path:
        """The file that records a finished shard."""
        return self.work / "shards" / f"{source}-{split}-{index:05}.json"

    def finish(self, manifest: Manifest) -> None:
        """Put tokenizer and manifest in place, then remove what is no longer needed.

        The old manifest goes first: at every moment there is the old corpus, the new one, or no manifest.
        """
        self.manifest.unlink(missing_ok=True)
        shutil.rmtree(self.tokenizer, ignore_errors=True)
        shutil.copytree(self.new_tokenizer, self.tokenizer)
        for file in self.tokenizer.iterdir():
            with open(file, "rb") as copied:
                os.fsync(copied.fileno())
        for name in BESIDE:
            (self.directory / name).unlink(missing_ok=True)
            if (self.beside / name).is_file():
                shutil.copyfile(self.beside / name, self.directory / name)
        manifest.save(self.manifest)
        sync_directory(self.directory)
        self.clean()

    def clean(self) -> None:
        """Remove what a finished corpus no longer needs; a kill in the middle of it is made good by the next call."""
        for old in self.directory.glob("data-*"):
            if old.name != f"data-{self.key}":
                shutil.rmtree(old)
        shutil.rmtree(self.work, ignore_errors=True)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory: a second preparation is refused. The lock goes with the process, however it ends."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        rule = "is being prepared by another process"
        raise ConfigError.of("directory", str(directory), rule, "wait for it, or give another directory") from None
    try:
        yield
    finally:
        os.close(descriptor)
