"""The sinks that a run asks for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretrain.config.constraints.monitoring import read_address
from pretrain.config.own import SINK
from pretrain.config.run import Run
from pretrain.monitoring.jsonl import JsonLines, cut_back
from pretrain.monitoring.lines import PlainLines
from pretrain.monitoring.metrics import Sink


def make_sinks(
    run: Run, directory: Path, run_id: str, step: int, total_tokens: int, about: dict[str, Any]
) -> Iterator[Sink]:
    """The sinks of the writing rank for a run that stands at `step`; `about` is added to W&B's config."""
    cut_back(directory / "metrics.jsonl", step)
    yield JsonLines(directory / "metrics.jsonl")
    yield PlainLines(total_tokens, open(directory / "logs" / "train.log", "a", encoding="utf-8"))
    terminal = run.monitoring.terminal
    if terminal == "rich" or (terminal == "auto" and sys.stdout.isatty()):
        from pretrain.monitoring.live import LiveView

        yield LiveView(run.name, total_tokens)
    elif terminal != "none":
        yield PlainLines(total_tokens)
    if run.monitoring.tensorboard:
        from pretrain.monitoring.tensorboard import TensorBoard

        yield TensorBoard(directory / "tensorboard", step)
    if run.monitoring.wandb.mode != "disabled":
        from pretrain.monitoring.wandb import WeightsAndBiases

        yield WeightsAndBiases(run, directory, run_id, about)
    if run.monitoring.webhook:
        from pretrain.monitoring.webhook import WebhookSink

        yield WebhookSink(read_address(run.monitoring.webhook), run.name, run.monitoring.webhook.timeout)
    for number, own in enumerate(run.monitoring.sinks):
        yield own.make(f"monitoring.sinks.{number}", SINK)
