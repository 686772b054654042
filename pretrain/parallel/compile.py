"""Blocks compiled by torch.compile (Ansel et al. 2024), each by itself.

All blocks have the same code and shapes, so that one is compiled and the others use it; the whole model would take as
many times longer as it has layers (torchtitan does the same). Embedding, head and loss stay as they are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from importlib.util import find_spec

import torch

from pretrain.config.errors import ConfigError
from pretrain.model.layers import Block


def add_compile(blocks: Iterable[Block]) -> None:
    """Have each block compiled when it is first called, in place."""
    for block in blocks:
        block.compile(dynamic=False)


def check_compiler() -> None:
    """Raise ConfigError where torch.compile has no compiler on this machine."""
    if torch.cuda.is_available():  # untested here: no GPU
        compilers = (os.environ.get("CC"), "gcc", "clang")
        missing = "Triton" if find_spec("triton") is None else _none_of("C compiler", *compilers)
    else:
        missing = _none_of("C++ compiler", _cpp_compiler())
    if missing:
        fix = "load or install it (CC and CXX name others), or train.compile: false"
        raise ConfigError.of("train.compile", True, f"needs {missing} on the machines that train", fix)


def _none_of(what: str, *names: str | None) -> str:
    given = [name for name in names if name]
    return "" if any(map(shutil.which, given)) else f"a {what} ({' or '.join(given)})"


def _cpp_compiler() -> str:
    """What torch's compiler would call."""
    from torch._inductor import config

    return next(name for name in config.cpp.cxx if name)
