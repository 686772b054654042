"""The table that a run ends with: its last validation beside the n-gram lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def closing_table(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Text lines from the rows of metrics.jsonl: nats and bits per byte of each source, then the lines to beat.

    Empty when the run was never validated.
    """
    last: dict[str, dict[str, Any]] = {row["kind"]: row for row in rows}
    if "loss" not in (validation := last.get("validation", {})):
        return []
    sources = [name.removeprefix("loss/") for name in validation if name.startswith("loss/")]
    width = max(map(len, ["validation loss", *sources]))
    lines = [f"{'validation loss':<{width}}  {'nats/token':>10}  {'bits/byte':>9}"]
    for name, suffix in [*((source, f"/{source}") for source in sources), ("all", "")]:
        loss, bits = validation[f"loss{suffix}"], validation[f"bits_per_byte{suffix}"]
        lines.append(f"{name:<{width}}  {loss:>10.4f}  {bits:>9.4f}")
    for name in ("bigram", "unigram"):
        if name in last.get("baseline", {}):
            lines.append(f"{name + 's':<{width}}  {last['baseline'][name]:>10.4f}  counted on the same training tokens")
    return lines
