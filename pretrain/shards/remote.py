"""Shards on object storage: paths whose text is a URL, read through fsspec. Local paths do what they always did.

What fsspec needs for a protocol (s3fs for s3://, gcsfs for gs://) is the user's to install.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PosixPath
from typing import Any, cast

from pretrain.config.errors import ConfigError

PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


class Remote(PosixPath):
    """A file or directory at a URL: `/`, `name`, `parent` and `with_name` are those of any path.

    Whatever goes wrong while reading is an OSError.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)  # a path has no double slashes

    def is_file(self) -> bool:
        """Whether there is such an object."""
        try:
            return stat.S_ISREG(self.stat().st_mode)
        except FileNotFoundError:
            return False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Only kind and size are known."""
        with told(self):
            system, path = open_system(self)
            try:
                info = system.info(path)
            except FileNotFoundError:  # with what pathlib looks at
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self)) from None
        kind = stat.S_IFREG if info["type"] == "file" else stat.S_IFDIR
        return os.stat_result((kind | 0o444, 0, 0, 1, 0, 0, info["size"] or 0, 0, 0, 0))

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Refused: what writes makes its directory first."""
        raise ConfigError.of("directory", str(self), "can only be read", "give a directory on a disk")

    def read_bytes(self) -> bytes:
        """All of it."""
        with told(self):
            system, path = open_system(self)
            return bytes(system.cat_file(path))


def located(path: str | Path) -> Path:
    """A Remote for a URL; file:// is an ordinary path."""
    if isinstance(path, Path) or "://" not in path:
        return Path(path) if isinstance(path, str) else path
    return Path(path.removeprefix("file://")) if path.startswith("file://") else Remote(path)


def open_system(path: Path) -> tuple[Any, str]:
    """fsspec's file system of a Remote, and the path in it. Raises ConfigError when its package is missing."""
    from fsspec.core import url_to_fs

    protocol = str(path).partition("://")[0]
    try:
        system, inside = url_to_fs(str(path))
    except ImportError as error:
        package = PACKAGES.get(protocol)
        fix = f"pip install {package}" if package else str(error)
        raise ConfigError.of("data.manifest", str(path), f"needs a package to read {protocol}://", fix) from None
    except ValueError as error:
        fix = "give a path, or a URL such as s3://bucket/corpus/manifest.json"
        raise ConfigError.of("data.manifest", str(path), f"cannot be opened ({error})", fix) from None
    return system, inside


def read_range(path: Path, start: int, stop: int) -> bytes:
    """Bytes `start` to `stop` of a file, fewer where it ends before."""
    if isinstance(path, Remote):
        with told(path):
            system, inside = open_system(path)
            return bytes(system.cat_file(inside, start=start, end=stop))
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(stop - start)


def opened(path: Path) -> io.BufferedReader:
    """A file for reading bytes from the front, or anywhere."""
    if isinstance(path, Remote):
        with told(path):
            system, inside = open_system(path)
            return cast(io.BufferedReader, system.open(inside, "rb"))
    return open(path, "rb")


def file_sizes(paths: Iterable[Path]) -> Iterator[int | None]:
    """Bytes of each file, None where there is none. Object storage is asked once for each directory."""
    listed: dict[Path, dict[str, int]] = {}
    for path in paths:
        if not isinstance(path, Remote):
            try:
                yield path.stat().st_size
            except FileNotFoundError:
                yield None
            continue
        if path.parent not in listed:
            listed[path.parent] = dict(_list(path.parent))
        yield listed[path.parent].get(path.name)


def fetch_directory(path: Path, target: Path) -> None:
    """Copy the files of a directory (a tokenizer's) into a new one."""
    if not isinstance(path, Remote):
        shutil.copytree(path, target)
        return
    target.mkdir(parents=True)
    for name, _ in _list(path):
        (target / name).write_bytes((path / name).read_bytes())


@contextlib.contextmanager
def local_directory(path: Path) -> Iterator[Path]:
    """The directory, or a temporary copy of a remote one."""
    if not isinstance(path, Remote):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        fetch_directory(path, Path(folder) / path.name)
        yield Path(folder) / path.name


def read_ranges(ranges: Sequence[tuple[Path, int, int]]) -> list[bytes]:
    """The bytes (path, start, stop) of remote files of one file system, asked for at the same time where it can."""
    with told(ranges[0][0]):
        systems = [open_system(path) for path, _, _ in ranges]
        paths = [inside for _, inside in systems]
        _, starts, stops = zip(*ranges, strict=True)
        found = systems[0][0].cat_ranges(paths, list(starts), list(stops))
    for (path, start, stop), block in zip(ranges, found, strict=True):
        with told(path):
            if isinstance(block, BaseException):
                raise block
        if len(block) != stop - start:
            raise OSError(f"{path} ends at byte {start + len(block)}, {stop - start - len(block)} bytes early")
    return found  # type: ignore[no-any-return]


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Every error of a storage library becomes an OSError with the path."""
    try:
        yield
    except (OSError, ConfigError):
        raise
    except Exception as error:
        raise OSError(f"{path} cannot be read ({type(error).__name__}: {error})") from error


def _list(directory: Path) -> Iterator[tuple[str, int]]:
    """Name and size of each file."""
    with told(directory):
        system, inside = open_system(directory)
        try:
            entries = system.ls(inside, detail=True)
        except FileNotFoundError:
            return
        for entry in entries:
            if entry["type"] == "file":
                yield entry["name"].rpartition("/")[2], entry["size"]
