"""Own parts by import path: what is refused, and with which words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pretrain.config.constraints import check_run
from pretrain.config.corpus import Corpus
from pretrain.config.errors import ConfigError
from pretrain.config.own import SINK, Own
from pretrain.config.schema import run_schema
from tests.config.test_constraints import make_run

SINKS = """
from pathlib import Path
from pretrain.config.units import Tokens

class Best:
    def __init__(self, path: Path, unit: str = "nats", after: Tokens = 0, of: tuple[int, int] = (0, 1)) -> None:
        if unit == "furlongs":
            raise ValueError("no such unit")
        self.values = (path, unit, after)
    def write(self, kind, row): ...
    def flush(self): ...
    def rewind(self, step): ...
    def close(self): ...

class Mute:
    pass
"""


@pytest.fixture(autouse=True)
def laboratory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `lab_sinks` in the working directory, which is not yet where Python looks."""
    (tmp_path / "lab_sinks.py").write_text(SINKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "lab_sinks", raising=False)


def test_arguments_become_what_the_class_asks_for() -> None:
    own = Own.parse({"class": "lab_sinks.Best", "path": "x/y", "after": "1B"})
    assert own.make("here", SINK).values == (Path("x/y"), "nats", 1_000_000_000)
    assert own.plain() == {"class": "lab_sinks.Best", "path": "x/y", "after": "1B"}
    assert Own.parse(own.plain()) == own


@pytest.mark.parametrize(
    ("sink", "words"),
    [
        ({"class": "lab_sinks.Best", "pth": "x", "path": "x"}, ("sinks.0.pth", "no parameter 'pth'", "mean 'path'?")),
        ({"class": "lab_sinks.Best"}, ("monitoring.sinks.0.path", "needs it: Path", "add `path:`")),
        ({"class": "lab_sinks.Best", "path": "x", "unit": 3}, ("monitoring.sinks.0.unit = 3", "takes str")),
        ({"class": "lab_sinks.Best", "path": "x", "after": []}, ("lab_sinks.Best takes int: ",)),
        ({"class": "lab_sinks.Best", "path": "x", "of": 3}, ("lab_sinks.Best takes tuple[int, int]: ",)),
        ({"class": "lab_sinks.Bets", "path": "x"}, ("has no class 'Bets'", "did you mean lab_sinks.Best?")),
        ({"class": "lab_sings.Best", "path": "x"}, ("cannot be imported", "No module named 'lab_sings'")),
        ({"class": "lab_sinks.Mute"}, ("must have the methods write, flush, rewind, close",)),
    ],
)
def test_bad_parts_are_told_before_anything_starts(sink: dict[str, Any], words: tuple[str, ...]) -> None:
    run = make_run(monitoring={"sinks": [sink]})
    with pytest.raises(ConfigError) as error:
        check_run(run, 1)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("path", ["Best", "lab_sinks.", "a b.c", 3, ""])
def test_a_path_that_is_none(path: object) -> None:
    with pytest.raises(ConfigError, match=r"must be an import path: module\.Class"):
        make_run(monitoring={"sinks": [{"class": path}]})


def test_a_constructor_that_raises() -> None:
    own = Own.parse({"class": "lab_sinks.Best", "path": "x", "unit": "furlongs"})
    with pytest.raises(ConfigError, match="its constructor raised ValueError: no such unit"):
        own.make("monitoring.sinks.0", SINK)


def test_a_source_names_no_other_kind() -> None:
    source = {"class": "lab.Mails", "kind": "jsonl", "paths": "x", "weight": 1}
    with pytest.raises(ConfigError, match="class says that it is your own, kind that it is jsonl"):
        Corpus.parse({"name": "x", "tokenizer": "t", "sources": {"a": source}})


def test_the_schema_for_editors_knows_them() -> None:
    schema = run_schema()
    own = schema["$defs"]["Own"]
    assert own["required"] == ["class"] and own["additionalProperties"] is True
    assert set(own["properties"]) == {"class"}
