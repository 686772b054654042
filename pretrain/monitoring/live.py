"""A live view for terminals: progress, the last step, loss per source beside its validation loss."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from pretrain.config.units import short
from pretrain.monitoring.lines import clock, norm_words, other_line
from pretrain.monitoring.metrics import Kind, Row

SPARKS = "▁▂▃▄▅▆▇█"


class LiveView:
    """Redrawn a few times a second; validations and events stay above it as lines."""

    def __init__(self, name: str, total_tokens: int, console: Console | None = None) -> None:
        self._name, self._total = name, total_tokens
        self._train: Row = {}
        self._validation: Row = {}
        self._losses: deque[float] = deque(maxlen=10_000)
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self.render)
        self._live.start()

    def write(self, kind: Kind, row: Row) -> None:
        """Take a row into the view."""
        if kind == "train":
            self._train = row
            self._losses.append(float(row["loss"]))
        elif kind == "event":
            self._live.console.print(f"step {row['step']:,}  {row['message']}", highlight=False)
        elif kind != "inside":
            if kind == "validation":
                self._validation = row
            self._live.console.print(other_line(kind, row), highlight=False)

    def flush(self) -> None:
        """Nothing is held back."""

    def rewind(self, step: int) -> None:
        """The next row shows where the run stands."""

    def close(self) -> None:
        """Leave the last picture on the screen."""
        self._live.stop()

    def render(self) -> Group:
        """The view as it stands."""
        if not self._train:
            return Group(Text(f"{self._name}: waiting for the first step"))
        return Group(self._progress(), self._numbers(), self._sources(), Text(sparkline(list(self._losses), 72)))

    def _progress(self) -> Progress:
        row = self._train
        left = max(0, self._total - int(row["tokens"])) / max(1e-9, float(row["tokens_per_second"]))
        label = f"{short(float(row['tokens']))} of {short(self._total)} tokens, {clock(left)} left"
        bar = Progress(TextColumn("[bold]{task.description}"), BarColumn(40), TextColumn(label))
        bar.add_task(self._name, total=self._total, completed=min(self._total, int(row["tokens"])))
        return bar

    def _numbers(self) -> Table:
        row, table = self._train, Table.grid(padding=(0, 3))
        shown = {
            "step": f"{row['step']:,}",
            "loss": f"{row['loss']:.4f}",
            "grad norm": norm_words(row),
            "lr": f"{row['learning_rate']:.2e}",
            "tokens/s": short(float(row["tokens_per_second"])),
            "TFLOP/s": f"{row['tflops']:.3g}",
            "MFU": f"{100 * float(row['mfu']):.1f}%",
            "data wait": f"{1000 * float(row['data_seconds']):.0f} ms",
            "memory": f"{float(row['memory_bytes']) / 2**30:.2f} GiB",
        }
        table.add_row(*(Text(name, style="dim") for name in shown))
        table.add_row(*shown.values())
        return table

    def _sources(self) -> Table:
        table = Table("source", "loss", "validation", "bits per byte", box=None, padding=(0, 3, 0, 0))
        for name in [key.removeprefix("loss/") for key in self._train if key.startswith("loss/")]:
            cells = (self._train[f"loss/{name}"], self._validation.get(f"loss/{name}"))
            bits = self._validation.get(f"bits_per_byte/{name}")
            table.add_row(name, *("" if cell is None else f"{cell:.4f}" for cell in (*cells, bits)))
        return table


def sparkline(values: list[float], width: int) -> str:
    """`values` as a line of `width` block characters, each the mean of its share."""
    if len(values) > width:
        edges = [len(values) * n // width for n in range(width + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    scale = (len(SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(SPARKS[round((value - low) * scale)] for value in values)
