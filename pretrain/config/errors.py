"""The one error that bad input raises, and how it reads."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Problem:
    """One thing wrong with what the user gave: where, what, which rule it breaks, and what to write instead."""

    field: str
    value: object
    rule: str
    fix: str

    def __str__(self) -> str:
        return f"{self.field} = {_short(self.value)}\n    rule: {self.rule}\n    fix:  {self.fix}"


class ConfigError(Exception):
    """Bad input, found before any process starts or any byte is lost. Carries every problem found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[Problem]]]:
        """Pickled by its problems, so that it travels whole between processes."""
        return type(self), (self.problems,)

    @classmethod
    def of(cls, field: str, value: object, rule: str, fix: str) -> ConfigError:
        """The usual case of one problem."""
        return cls([Problem(field, value, rule, fix)])


class RunError(Exception):
    """A run ended in a way that needs a person: told without a traceback, exit code 1."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to `word`, or None when nothing is close."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return found[0] if found else None


def _short(value: object, limit: int = 120) -> str:
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= limit else text[:limit] + " ..."
