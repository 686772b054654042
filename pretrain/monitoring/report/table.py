"""The numbers of many rows as columns: eight bytes each, so that a million rows fit into memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.float64]
CHUNK = 8192
"""Rows that are turned into arrays together."""


class Table:
    """Rows of one kind, oldest first. A number that a row does not have, or that was none, is NaN."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._chunks: list[dict[str, Column]] = []
        self._names: dict[str, None] = {}

    def add(self, row: dict[str, Any]) -> None:
        """Append a row; its texts are dropped."""
        self._rows.append(row)
        if len(self._rows) == CHUNK:
            self._close()

    def __len__(self) -> int:
        return sum(len(chunk["step"]) for chunk in self._chunks) + len(self._rows)

    def __contains__(self, name: str) -> bool:
        self._close()
        return name in self._names

    def __getitem__(self, name: str) -> Column:
        self._close()
        parts = [chunk[name] if name in chunk else np.full(len(chunk["step"]), np.nan) for chunk in self._chunks]
        return np.concatenate(parts) if parts else np.empty(0)

    def below(self, name: str) -> list[str]:
        """The sources x for which there is a column `name/x`, in the order in which they came."""
        self._close()
        return [column.removeprefix(f"{name}/") for column in self._names if column.startswith(f"{name}/")]

    def last(self, name: str) -> float | None:
        """The last number of a column; None where there is none."""
        numbers = self[name]
        numbers = numbers[np.isfinite(numbers)]
        return float(numbers[-1]) if len(numbers) else None

    def _close(self) -> None:
        """Turn the rows that wait into arrays."""
        if not self._rows:
            return
        chunk = {}
        layouts = dict.fromkeys(map(tuple, self._rows))  # few: nearly all rows have the same names
        for name in dict.fromkeys(name for names in layouts for name in names):
            try:
                chunk[name] = np.array([row.get(name) for row in self._rows], dtype=np.float64)
            except (TypeError, ValueError):
                continue  # a column of texts
        self._names |= dict.fromkeys(chunk)
        self._chunks.append(chunk)
        self._rows = []
