"""A trained filter on disk: a folder with model.json, which a person can read, and the files that it lists.

The fingerprint is of what decides the scores: the settings and the checksums of the files, not of what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson

from pretrain.config.errors import ConfigError
from pretrain.config.section import fingerprint
from pretrain.shards.files import sha256, write_atomically

Kind = Literal["classifier", "perplexity"]
Tensors = Mapping[str, npt.NDArray[Any]]
FORMAT = 1
"""Raised when the same files would give other scores than before."""
ABOUT, TENSORS = "model.json", "model.safetensors"


def save(
    directory: Path, kind: Kind, settings: dict[str, Any], tensors: Tensors, told: dict[str, Any], *beside: str
) -> str:
    """Write a filter and return its fingerprint. `beside`: files of it that are there already; `told` is for people."""
    from safetensors.numpy import save as to_bytes

    files = {TENSORS: write_atomically(directory / TENSORS, to_bytes({k: np.asarray(v) for k, v in tensors.items()}))}
    files |= {name: {"bytes": (directory / name).stat().st_size, "sha256": sha256(directory / name)} for name in beside}
    decisive = {"kind": kind, "format": FORMAT, "settings": settings, "files": files}
    plain = {"fingerprint": fingerprint(decisive), **decisive, **told}
    write_atomically(directory / ABOUT, orjson.dumps(plain, option=orjson.OPT_INDENT_2) + b"\n")
    return str(plain["fingerprint"])


def about(path: str, kind: Kind) -> dict[str, Any]:
    """What model.json says. Raises ConfigError when there is no such filter."""
    try:
        plain = orjson.loads((Path(path) / ABOUT).read_bytes())
        decisive = {key: plain[key] for key in ("kind", "format", "settings", "files")}
        whole = plain["fingerprint"] == fingerprint(decisive)
    except OSError:
        raise _refused(path, kind, f"must be the folder of a trained {kind} filter") from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise _refused(path, kind, f"its {ABOUT} is damaged") from None
    if (plain["kind"], plain["format"]) != (kind, FORMAT):
        held = f"holds a {plain['kind']} filter of format {plain['format']}"
        raise _refused(path, kind, f"must hold a {kind} filter of format {FORMAT}, this {held}")
    if not whole:
        raise _refused(path, kind, f"its {ABOUT} was changed: the fingerprint is not that of its settings and files")
    found: dict[str, Any] = plain
    return found


def verified(path: str, kind: Kind) -> str:
    """The fingerprint of a filter whose files have their checksums. Raises ConfigError otherwise."""
    plain = about(path, kind)
    for name, record in plain["files"].items():
        file = Path(path) / name
        if not file.is_file() or sha256(file) != record["sha256"]:
            raise _refused(path, kind, f"its file {name} is missing or damaged")
    return str(plain["fingerprint"])


def tensors(path: str) -> Tensors:
    """The arrays of a filter."""
    from safetensors.numpy import load_file

    loaded: Tensors = load_file(Path(path) / TENSORS)
    return loaded


def _refused(path: str, kind: Kind, rule: str) -> ConfigError:
    fix = f"make it with `pretrain corpus train-{kind} RECIPE --good SOURCES --raw SOURCES --output {path}`"
    return ConfigError.of(f"{kind}.path", path, rule, fix)
