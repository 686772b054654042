"""What is done to training processes from inside, whatever launcher started them: slow steps, and planted faults.

The run's PYTHONPATH begins with a directory whose sitecustomize.py calls `arm`, so that the command that starts the run
is the user's own. Nothing is imported before training imports it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.cluster.machine import ROOT

Patch = Callable[[Any], None]
STEPS = "steps.jsonl"
"""Beside sitecustomize.py: when rank 0 had done each step, whatever became of it later."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong inside one rank."""

    kind: str
    """A key of planted.PLANTED."""
    rank: int = 1
    step: int = 6
    """Counted from 1: in this step, or in the checkpoint after it."""
    once: bool = True
    """In one attempt only."""
    host: str = ""
    """Where, for what is wrong with a machine."""
    factor: float = 0.0
    """By which a poisoned batch multiplies its loss; 0: NaN, on its rank alone."""


def write_site(directory: Path, step_seconds: float, fault: Fault | None = None) -> str:
    """The PYTHONPATH with which every step takes at least `step_seconds`, on every rank, and `fault` happens."""
    directory.mkdir(parents=True)
    planted = asdict(fault) if fault else None
    lines = ["from tests.cluster.faults import arm", f"arm({str(directory)!r}, {step_seconds!r}, {planted!r})"]
    (directory / "sitecustomize.py").write_text("\n".join(lines) + "\n")
    return f"{directory}:{ROOT}"


def read_steps(directory: Path) -> list[tuple[float, int]]:
    """(unix seconds, step) of every step that rank 0 has done, in any attempt."""
    path = directory / STEPS
    lines = path.read_text().splitlines() if path.exists() else []
    return [(row["time"], row["step"]) for row in map(json.loads, lines)]


def when_it_happened(site: Path) -> float | None:
    """Unix seconds at which the planted fault happened first; None as long as it has not."""
    path = site / "happened"
    return float(path.read_text()) if path.exists() and path.stat().st_size else None


def arm(directory: str, step_seconds: float, planted: dict[str, Any] | None = None) -> None:
    """Have modules of the training changed when they are imported."""
    site, patches = Path(directory), list[tuple[str, Patch]]()
    patches.append(("pretrain.training.loop", lambda loop: _slow(loop, site, step_seconds)))
    if planted:
        from tests.cluster.planted import PLANTED

        fault = Fault(**planted)
        name, plant = PLANTED[fault.kind]
        patches.append((name, lambda module: plant(module, fault, site)))
    sys.meta_path.insert(0, Patched(patches))


def _slow(loop: Any, site: Path, step_seconds: float) -> None:
    """Steps take their time, and are written down."""
    step = loop._step

    def slowed(session: Any, state: Any, *rest: Any) -> Any:
        time.sleep(step_seconds)
        result = step(session, state, *rest)
        if session.world.rank == 0:
            with open(site / STEPS, "a") as file:
                file.write(json.dumps({"time": time.time(), "step": state.step + 1}) + "\n")
        return result

    loop._step = slowed


class Patched(importlib.abc.MetaPathFinder):
    """Finds modules as the others do, and changes some of them once they are loaded."""

    def __init__(self, patches: Sequence[tuple[str, Patch]]) -> None:
        self._patches = list(patches)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        mine = [patch for module, patch in self._patches if module == name]
        if not mine:
            return None
        self._patches = [(module, patch) for module, patch in self._patches if module != name]
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def load_and_patch(module: ModuleType) -> None:
            load(module)
            for patch in mine:
                patch(module)

        spec.loader.exec_module = load_and_patch  # type: ignore[method-assign]
        return spec
