"""A tokenizer of 400 entries, and disks that are soon full."""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.corpus.helpers import texts
from tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its directory."""
    path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([*texts("sample", 50), *(f"{i * i} {i:x} {i:b}" for i in range(300))], 400).save(path)
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a folder that holds only so many bytes: a tmpfs where we may mount, else a limit on each file."""
    folder, mounted = tmp_path / "disk", []
    folder.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def make(size: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if os.getuid() == 0 and not subprocess.run(command, capture_output=True).returncode:
            mounted.append(folder)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 16, before[1]))
        return folder

    yield make
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)
