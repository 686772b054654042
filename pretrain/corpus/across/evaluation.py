"""The n-grams of evaluation sets, from files that the user gives."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from pretrain.config.across import Decontamination
from pretrain.config.errors import ConfigError
from pretrain.corpus.across.words import Hashes, Words
from pretrain.corpus.sources.files import opened


@dataclass(frozen=True)
class Evaluation:
    """G different n-grams, by ascending hash."""

    hashes: Hashes
    """[G]"""
    example: npt.NDArray[np.int64]
    """[G] the first example that holds each."""
    examples: list[str]
    """FILE:LINE of each."""


def evaluation(config: Decontamination) -> Evaluation:
    """Read the files. Raises ConfigError when one is missing or damaged, or there is nothing to look for."""
    stamps = [(file, Path(file).stat()) for file in find_files(config)]
    return _read(config, tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in stamps))


@lru_cache(maxsize=1)
def _read(config: Decontamination, stamps: tuple[tuple[str, int, int], ...]) -> Evaluation:
    """Kept as long as the files are as they were: every slice of every run asks for it."""
    places, texts = [], []
    for file, *_ in stamps:
        for number, text in _examples(file):
            places.append(f"{file}:{number}")
            texts.append(text)
    words = Words.of(texts)
    hashes, first = words.ngrams(config.ngram)
    if not len(hashes):
        rule = f"no example has {config.ngram} words"
        raise ConfigError.of(
            "decontaminate.files", ", ".join(config.files), rule, "check the files, or give ngram less"
        )
    unique, where = np.unique(hashes, return_index=True)
    return Evaluation(unique, words.text[first[where]], places)


def find_files(config: Decontamination) -> list[str]:
    """All files, sorted within each glob."""
    found: dict[str, None] = {}
    for pattern in config.files:
        files = [name for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file()]  # noqa: PTH207
        if not files:
            fix = "check the path; it is relative to where you are"
            raise ConfigError.of("decontaminate.files", pattern, "matches no file", fix)
        found.update(dict.fromkeys(files))
    return list(found)


def _examples(file: str) -> Iterator[tuple[int, str]]:
    plain = ".json" in Path(file).name
    with opened(file) as opened_file:
        for number, line in enumerate(opened_file, 1):
            if not line.strip():
                continue
            try:
                yield number, " ".join(_strings(orjson.loads(line))) if plain else line.decode()
            except (orjson.JSONDecodeError, UnicodeDecodeError) as error:
                rule = f"line {number:,} cannot be read ({error})"
                raise ConfigError.of("decontaminate.files", file, rule, "give JSON Lines or text") from None


def _strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value: questions, choices, answers."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)
