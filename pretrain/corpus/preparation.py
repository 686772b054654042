"""One preparation: recipe, units and workspace, as every process that works on it knows them from the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from pretrain.config.corpus import Corpus
from pretrain.config.errors import ConfigError
from pretrain.corpus.across.marks import Wanted
from pretrain.corpus.document import Unit
from pretrain.corpus.read import SHOWN, ReadTask, UnitResult, done, within_limits
from pretrain.corpus.workspace import Workspace
from pretrain.shards.files import write_atomically
from tokenizer import Tokenizer


@dataclass(frozen=True)
class Preparation:
    """What the phases work on."""

    recipe: Corpus
    workspace: Workspace
    units: dict[str, list[Unit]]
    """Of each source, in order."""
    given: Tokenizer | None = None
    """The recipe's, where it is loaded already."""

    def save(self) -> None:
        """For processes on other machines."""
        units = {name: [asdict(unit) for unit in found] for name, found in self.units.items()}
        plain = {"key": self.workspace.key, "recipe": self.recipe.plain(), "units": units}
        write_atomically(self.workspace.work / "preparation.json", orjson.dumps(plain))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The preparation that is under way in a corpus directory."""
        plain = orjson.loads((directory / ".prepare" / "preparation.json").read_bytes())
        units = {
            name: [Unit(**{**unit, "items": tuple(unit["items"])}) for unit in found]
            for name, found in plain["units"].items()
        }
        recipe = Corpus.parse({**plain["recipe"], "directory": str(directory)})
        return cls(recipe, Workspace(directory, plain["key"]), units)

    @property
    def by_hash(self) -> bool:
        """Whether documents stand in the order of their hashes."""
        return self.recipe.order == "hash"

    def read_tasks(self) -> list[ReadTask]:
        """A task for each unit of each source."""
        marks = Wanted(lines=self.recipe.deduplicate.lines) if self.recipe.deduplicate.lines else self.last_marks
        return [
            ReadTask(name, self.recipe.sources[name], unit, self._directory("read", name, unit), self.by_hash, marks)
            for name, found in self.units.items()
            for unit in found
        ]

    @property
    def last_marks(self) -> Wanted:
        """The marks of the documents as they are compared at last."""
        return Wanted(fuzzy=self.recipe.deduplicate.fuzzy, decontaminate=self.recipe.decontaminate)

    def results(self, stage: str) -> dict[str, list[UnitResult]]:
        """What `stage` ("read" or "lines") made of the units of each source, up to its limits.

        Raises ConfigError when a unit is missing, so that nothing is ever made of a part.
        """
        return {name: self._results(stage, name) for name in self.units}

    def _results(self, stage: str, name: str) -> list[UnitResult]:
        results: list[UnitResult] = []
        shown = Counter[str]()
        for unit in self.units[name]:
            result = done(self._directory(stage, name, unit))
            if result is None:
                rule = f"unit {unit.index:,} has not come through the phase `{stage}`"
                raise ConfigError.of(f"sources.{name}", unit.items[0], rule, "run `pretrain corpus prepare` again")
            result.dropped = list(_first(result.dropped, shown))
            results.append(result)
            if not within_limits(self.recipe.sources[name], results):
                break
        return results

    def lines_directory(self, name: str, unit: UnitResult) -> str:
        """Where a unit without its repeated lines goes."""
        return str(self.workspace.unit_directory("lines", name, unit.index))

    def _directory(self, stage: str, name: str, unit: Unit) -> str:
        return str(self.workspace.unit_directory(stage, name, unit.index))


def _first(dropped: list[dict[str, Any]], shown: Counter[str]) -> Iterator[dict[str, Any]]:
    """The examples that will be shown: those of tens of thousands of units would fill the memory."""
    for row in dropped:
        shown[row["rule"]] += 1
        if shown[row["rule"]] <= SHOWN:
            yield row
