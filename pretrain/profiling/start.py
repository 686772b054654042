"""From what was asked to a profile: everything is checked before the processes of the run join."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pretrain.config.errors import ConfigError
from pretrain.config.run import Run
from pretrain.data.dataset import Corpus
from pretrain.data.plan import DataPlan
from pretrain.entry import checked, explained, joined
from pretrain.parallel.place import find_place

OLD = ("trace-rank*.json.gz", "memory-rank*.pickle")
"""Files of an earlier profile, which may have had more ranks."""


@dataclass(frozen=True)
class Asked:
    """What to profile."""

    steps: int = 3
    warmup: int = 2
    """Steps before, which are not recorded."""
    out: Path | None = None
    """Directory of what is written. Default: profile/ in the run's."""
    shapes: bool = False
    """Tell operators apart by the shapes of their inputs."""
    nvtx: bool = False
    """Ranges for Nsight Systems, and no record of our own."""


def profile(path: str, overrides: Sequence[str], asked: Asked) -> int:
    """Profile the run in `path` from its initial weights. Called in every process of the run; returns the exit code.

    Raises ConfigError when the run, its data, its layout or what is asked are wrong.
    """
    run, manifest = checked(path, overrides)
    steps = chosen_steps(Corpus(manifest, run.sequence_length, run.data.document_mask).plan(run), run, asked)
    if asked.nvtx:
        _check_gpu()
    directory = _prepared(asked.out or Path(run.run_directory) / "profile")
    with joined(run) as world, explained(world):
        from pretrain.profiling.run import profile_steps

        profile_steps(run, manifest, world, asked, steps, directory)
    return 0


def chosen_steps(plan: DataPlan, run: Run, asked: Asked) -> range:
    """The steps to run, warm-up first, from 0: the first with a whole batch, or the last ones where these are too few.

    Raises ConfigError when the run has not so many.
    """
    total, needed = plan.steps(run.train.tokens), asked.warmup + asked.steps
    if needed > total:
        rule = f"must, with {asked.warmup} of warm-up, be at most the {total:,} steps of the run"
        warmup = min(asked.warmup, total - 1)
        fix = f"--steps {min(asked.steps, total - warmup)} --warmup {warmup}, or a larger train.tokens"
        raise ConfigError.of("--steps", asked.steps, rule, fix)
    first = min(plan.phases[-1].first_step, total - needed)
    return range(first, first + needed)


def _check_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        fix = "leave it out: the trace has the same ranges"
        raise ConfigError.of("--nvtx", True, "needs an NVIDIA GPU and torch with CUDA", fix)


def _prepared(directory: Path) -> Path:
    """The directory, made where there is none, without the traces of an earlier profile."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        if find_place(os.environ).rank == 0:
            for pattern in OLD:
                for path in directory.glob(pattern):
                    path.unlink()
    except OSError as error:
        rule = f"must be a writable directory ({error.strerror})"
        raise ConfigError.of("--out", str(directory), rule, "give another one") from None
    return directory
