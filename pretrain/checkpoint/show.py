"""`show`: where a checkpoint stands and what it holds, as plain data and as text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from pretrain.checkpoint.files import FileRecord, list_checkpoints
from pretrain.checkpoint.saved import Kind, Saved
from pretrain.checkpoint.state import TrainState, layout_words, read_state
from pretrain.checkpoint.verify import open_saved, read, read_records, wrong_size
from pretrain.checkpoint.weights import find_checkpoint
from pretrain.config.counts import parameter_count
from pretrain.config.errors import ConfigError
from pretrain.config.load import load_run
from pretrain.config.run import Run
from pretrain.config.units import size
from pretrain.data.plan import DataPlan, Window


@dataclass(frozen=True)
class Row:
    """A checkpoint among others."""

    checkpoint: str
    damage: str | None
    """What is wrong, by the sizes of its files alone; None where nothing is."""
    state: TrainState | None
    """None where it cannot be read."""
    bytes: int

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        known = ("step", "tokens", "samples", "layout")
        fields = {field: getattr(self.state, field, None) for field in known}
        return {"checkpoint": self.checkpoint, "bytes": self.bytes, "damage": self.damage, **fields}


@dataclass(frozen=True)
class Contents:
    """One checkpoint, described without reading a tensor."""

    checkpoint: Path
    state: TrainState
    run: Run
    files: list[FileRecord]
    damage: str | None
    """What is wrong, by the sizes of the files alone; None where nothing is."""
    shapes: dict[str, tuple[int, ...]]
    """By canonical name."""
    moments: list[Kind]
    """Names of what the optimizer keeps of parameters."""

    @property
    def skipped(self) -> tuple[Window, ...]:
        """Samples of the order that are left out, by data.skip or by rollbacks."""
        return DataPlan.from_plain(self.state.plan).skipped

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def parameters(self) -> int:
        """Entries of all parameters, the rows that pad the vocabulary included."""
        return sum(map(prod, self.shapes.values()))

    @property
    def padding(self) -> int:
        """Entries of the rows that pad the vocabulary."""
        return parameter_count(self.run.model).padding

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        position = {field: getattr(self.state, field) for field in ("run_id", "step", "tokens", "samples", "layout")}
        return {
            "checkpoint": str(self.checkpoint),
            "run": self.run.name,
            **position,
            "skipped": [asdict(window) for window in self.skipped],
            "updates": self.state.updates,
            "files": {file.path: file.bytes for file in self.files},
            "bytes": self.bytes,
            "damage": self.damage,
            "optimizer": {"name": self.run.optimizer.name, "moments": self.moments},
            "parameters": self.parameters,
            "padding": self.padding,
            "shapes": self.shapes,
        }


class Statistics(NamedTuple):
    """Of the entries of one tensor."""

    mean: float
    std: float
    min: float
    max: float
    largest: float
    """Absolute value."""


def checkpoints_at(path: Path) -> list[Path]:
    """A checkpoint directory itself, or all checkpoints of a run directory, newest first. Raises ConfigError."""
    found = find_checkpoint(path)
    return [found] if found == path else list_checkpoints(found.parent)


def read_row(checkpoint: Path) -> Row:
    """A checkpoint for the table of all; never raises for a damaged one."""
    damage, state, files = None, None, []
    try:
        files = read_records(checkpoint)
        damage = wrong_size(checkpoint, files)
        state = read_state(checkpoint)
    except ConfigError as error:
        damage = damage or error.problems[0].rule
    return Row(checkpoint.name, damage, state, sum(file.bytes for file in files))


def read_contents(checkpoint: Path) -> Contents:
    """What a checkpoint holds. Raises ConfigError when it does not say so."""
    state, files = read_state(checkpoint), read_records(checkpoint)
    run, saved = load_run(checkpoint / "run.yaml"), open_saved(checkpoint)
    return Contents(checkpoint, state, run, files, wrong_size(checkpoint, files), saved.shapes, saved.moments)


def read_statistics(saved: Saved) -> Iterator[tuple[str, Kind, Statistics]]:
    """Of weight and moments of every parameter, one tensor in memory at a time. Raises ConfigError."""
    for name in saved.names:
        for kind in saved.kinds(name):
            value = read(saved, name, kind)
            low, high = (edge.item() for edge in value.aminmax())
            spread, mean = value.std(correction=0).item(), value.mean().item()
            yield name, kind, Statistics(mean, spread, low, high, value.abs().max().item())


def rows_text(rows: Sequence[Row]) -> str:
    """All checkpoints of a run, a line each."""
    lines = [("checkpoint", "step", "tokens", "size", "layout", "files")]
    for row in rows:
        step, tokens = (f"{row.state.step:,}", f"{row.state.tokens:,}") if row.state else ("?", "?")
        layout = layout_words(row.state.layout) if row.state else "?"
        lines.append((row.checkpoint, step, tokens, f"{size(row.bytes)}", layout, row.damage or "whole"))
    return align(lines, left={0, 4, 5})


def contents_text(contents: Contents) -> str:
    """Everything but the values."""
    state, run = contents.state, contents.run
    padding = f", {contents.padding:,} of them padding of the vocabulary" if contents.padding else ""
    lines = [
        f"{contents.checkpoint}",
        f"position    step {state.step:,}, {state.tokens:,} tokens, {state.samples:,} samples",
        f"run         {run.name}, id {state.run_id}",
        *_left_out(contents),
        f"layout      {layout_words(state.layout)}",
        f"files       {len(contents.files)}, {size(contents.bytes)}, {contents.damage or 'whole by their sizes'}",
        f"optimizer   {run.optimizer.name}: {', '.join(contents.moments)}",
        f"parameters  {contents.parameters:,}{padding}",
        "",
        _shapes_text(contents.shapes, run.model.tied_embeddings),
    ]
    return "\n".join(lines)


def _left_out(contents: Contents) -> Iterator[str]:
    """A line for each skipped window, and one for the updates that were left out."""
    for window in contents.skipped:
        yield f"left out    samples {window.first_sample} to {window.first_sample + window.samples - 1} of the order"
    if number := contents.state.step - contents.state.updates:
        yield f"left out    the updates of {number} steps"


def statistics_text(statistics: Iterator[tuple[str, Kind, Statistics]]) -> str:
    """A line for each tensor."""
    rows = [(name, kind, *(f"{value:.3e}" for value in numbers)) for name, kind, numbers in statistics]
    return align([("parameter", "of", *Statistics._fields), *rows], left={0, 1})


def align(rows: Sequence[Sequence[str]], left: set[int]) -> str:
    """Rows as lines with aligned columns: those in `left` begin at the same place, the others end there."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [f"{cell:{'<' if place in left else '>'}{widths[place]}}" for place, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _shapes_text(shapes: dict[str, tuple[int, ...]], tied: bool) -> str:
    """A line for each parameter, those that every block has together."""
    kinds = Counter((re.sub(r"^blocks\.\d+\.", "blocks.*.", name), shape) for name, shape in shapes.items())
    width = len(str(max(kinds.values())))
    rows = [
        (name, (f"{count:{width}} x " if ".*." in name else " " * (width + 3)) + str(list(shape)))
        for (name, shape), count in kinds.items()
    ]
    return align([*rows, *([("head.weight", " " * (width + 3) + "embedding.tokens.weight")] if tied else [])], {0, 1})
