"""pretrain train RUN.yaml [key=value ...]"""

from __future__ import annotations

from pretrain.cli.config import Overrides, RunFile


def train(run: RunFile, overrides: Overrides = None) -> None:
    """Train a model; goes on by itself where the run directory has a checkpoint.

    In several processes: torchrun --nproc_per_node 2 -m pretrain.train RUN.yaml
    """
    from pretrain import train as entry

    entry.run_or_exit(run, overrides or [])
