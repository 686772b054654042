"""Weights & Biases: online, or offline records that `wandb sync` uploads and `wandb leet` shows."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from pretrain.config.run import Run
from pretrain.monitoring.metrics import Kind, Row

EVERY_ONE = timedelta(milliseconds=1)
"""Between two alerts of a title; 0 would be W&B's own minute."""


class WeightsAndBiases:
    """One W&B run for the whole life of a run directory: a resume goes on under the same id."""

    def __init__(self, run: Run, directory: Path, run_id: str, extra_config: dict[str, Any]) -> None:
        import wandb

        config = run.monitoring.wandb
        self._run = wandb.init(
            project=config.project,
            entity=config.entity,
            group=config.group,
            tags=list(config.tags),
            name=run.name,
            id=run_id,
            resume="allow",
            mode=config.mode,
            dir=str(directory),
            config={**run.plain(), **extra_config},
            settings=wandb.Settings(silent=config.mode != "online", save_code=False),
        )
        self._run.define_metric("*", step_metric="step")

    def write(self, kind: Kind, row: Row) -> None:
        """Training rows keep their names; others are put under their kind."""
        if kind == "event":
            self._run.summary["event"] = str(row["message"])
            if row.get("what") == "alert":  # at most so often as the rule says
                self._run.alert(title=str(row["rule"])[:63], text=str(row["message"]), wait_duration=EVERY_ONE)
            return
        prefix = "" if kind == "train" else f"{kind}/"
        axes = ("step", "tokens")
        self._run.log({name if name in axes else prefix + name: value for name, value in row.items()})
        if kind != "train":
            self._run.summary.update({prefix + n: v for n, v in row.items() if n not in axes})

    def flush(self) -> None:
        """W&B writes in its own process."""

    def rewind(self, step: int) -> None:
        """W&B keeps what it has; rows are drawn over `step`, so the new ones lie over the void ones."""

    def close(self) -> None:
        """End the W&B run."""
        self._run.finish()
