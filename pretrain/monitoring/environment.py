"""environment.txt: packages, commit and hardware of a run. No environment variables: they may hold secrets."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch


def describe_environment(code: Path) -> str:
    """The text of environment.txt; `code` is where the project's source lies."""
    packages = sorted({f"{d.metadata['Name']}=={d.version}" for d in metadata.distributions()}, key=str.lower)
    sections = {
        "hardware": _hardware(),
        "git commit": _git(code, "rev-parse", "HEAD"),
        "git status": _git(code, "status", "--short"),
        "packages": "\n".join(packages),
        "git diff": _git(code, "diff", "HEAD"),
    }
    return "\n".join(f"== {title}\n{text.strip() or '-'}\n" for title, text in sections.items())


def git_commit(code: Path) -> str:
    """The commit that `code` stands at, or "-" outside a checkout."""
    return _git(code, "rev-parse", "HEAD").strip() or "-"


def _hardware() -> str:
    lines = [
        f"host {platform.node()}",
        f"system {platform.platform()}",
        f"python {platform.python_version()}",
        f"processor {_cpu_name()}, {torch.get_num_threads()} threads",
    ]
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        lines.append(f"gpu {index} {device.name}, {device.total_memory / 2**30:.1f} GiB")
    return "\n".join(lines)


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(code: Path, *arguments: str) -> str:
    if not (code / ".git").exists():
        return ""  # installed from a wheel: git would find whatever repository the environment lies in
    try:
        done = subprocess.run(["git", *arguments], cwd=code, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
