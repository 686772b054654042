"""Files that are not on this machine: whatever fsspec reaches (s3://, gs://, hf://, https://, memory://)."""

from __future__ import annotations

import glob
import io
from typing import Any

from pretrain.config.errors import ConfigError, nearest

PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
"""Scheme -> what fsspec needs for it beside itself."""
MARKS = (
    "etag", "ETag", "md5Hash", "blob_id", "Content-MD5", "generation",
    "LastModified", "last_modified", "Last-Modified", "updated", "mtime", "created",
)  # fmt: skip
"""What file systems call that which changes with a file, surest first."""


def is_remote(path: str) -> bool:
    """Whether a path is for fsspec."""
    return "://" in path


def find(pattern: str) -> dict[str, str]:
    """URL -> stamp of the files of a URL or glob, sorted; {} when there is none.

    Raises ConfigError when the package for its scheme is missing or its host or bucket cannot be reached.
    """
    system, name = _system(pattern)
    try:
        system.invalidate_cache()  # listings of an earlier call
        listed = system.glob(name, detail=True) if is_glob(pattern) else {name: system.info(name)}
    except FileNotFoundError:
        return {}
    except Exception as error:  # each library has its own kinds
        raise _unreached(pattern, error) from None
    return {
        str(system.unstrip_protocol(found)): _stamp(about)
        for found, about in sorted(listed.items())
        if about["type"] == "file"
    }


def is_glob(path: str) -> bool:
    """Whether a path names several files. `?` begins the query of a web address."""
    return glob.has_magic(path.replace("?", "") if path.startswith("http") else path)


def open_remote(url: str, sequential: bool = True) -> io.RawIOBase:
    """A remote file for reading: ahead when `sequential`, else only the bytes that are asked for. Raises OSError."""
    system, name = _system(url)
    try:
        return _File(system.open(name, "rb", cache_type="readahead" if sequential else "none"))
    except Exception as error:
        raise OSError(_reason(error)) from error


def _system(url: str) -> tuple[Any, str]:
    import fsspec

    scheme = url.partition("://")[0]
    fix = "give the files themselves, or fetch them first"
    if "::" in url:
        raise ConfigError.of("sources.paths", url, "must not be a chain of file systems (::)", fix)
    try:
        system, name = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = PACKAGES.get(scheme)
        fix = f"pip install {package}" if package else str(error)
        raise ConfigError.of("sources.paths", url, f"{scheme}:// needs a package that is missing", fix) from None
    except ValueError:
        guess = nearest(scheme, fsspec.available_protocols())
        fix = f"did you mean {guess}://?" if guess else fix
        raise ConfigError.of("sources.paths", url, f"{scheme}:// is not known to fsspec", fix) from None
    except Exception as error:
        raise _unreached(url, error) from None
    return system, name


def _unreached(url: str, error: Exception) -> ConfigError:
    fix = "check the address, the network and the credentials, which fsspec or the library of the scheme look up"
    return ConfigError.of("sources.paths", url, f"cannot be reached ({_reason(error)})", fix)


def _reason(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def _stamp(about: dict[str, Any]) -> str:
    return f"{about.get('size')}/{next((about[mark] for mark in MARKS if about.get(mark)), '')}"


class _File(io.RawIOBase):
    """A file of fsspec. What its library raises becomes OSError, as with files of this machine."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except Exception as error:
            raise OSError(_reason(error)) from error
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
