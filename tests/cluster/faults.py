"""What is done to training processes from inside, whatever launcher started them: steps that take their time.

The run's PYTHONPATH begins with a directory whose sitecustomize.py calls `arm`, so that the command that starts the run
is the user's own. Nothing is imported before training imports it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from tests.cluster.machine import ROOT

Patch = Callable[[ModuleType], None]


def write_site(directory: Path, step_seconds: float) -> str:
    """The PYTHONPATH with which every step takes at least `step_seconds`, on every rank."""
    directory.mkdir(parents=True)
    lines = ["from tests.cluster.faults import arm", f"arm({step_seconds!r})"]
    (directory / "sitecustomize.py").write_text("\n".join(lines) + "\n")
    return f"{directory}:{ROOT}"


def arm(step_seconds: float) -> None:
    """Have the module of steps changed when it is imported."""

    def slow(module: ModuleType) -> None:
        train_step = module.train_step

        def slowed(*arguments: object, **more: object) -> object:
            time.sleep(step_seconds)
            return train_step(*arguments, **more)

        module.train_step = slowed  # type: ignore[attr-defined]

    sys.meta_path.insert(0, Patched({"pretrain.training.step": slow}))


class Patched(importlib.abc.MetaPathFinder):
    """Finds modules as the others do, and changes some of them once they are loaded."""

    def __init__(self, patches: dict[str, Patch]) -> None:
        self._patches = patches

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if (patch := self._patches.pop(name, None)) is None:
            return None
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def load_and_patch(module: ModuleType) -> None:
            load(module)
            patch(module)

        spec.loader.exec_module = load_and_patch  # type: ignore[method-assign]
        return spec
