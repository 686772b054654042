"""A chosen layout written into a run's YAML: only values of `parallel` and the micro-batch change, the rest stays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import unified_diff
from pathlib import Path
from typing import NamedTuple

import yaml

from pretrain.config.errors import ConfigError
from pretrain.config.parallel import Parallel
from pretrain.config.run import Run


class Edit(NamedTuple):
    """Text that replaces what stands from `start` to `end`."""

    start: int
    end: int
    text: str


def check_file(path: str | None, overrides: Sequence[str] = ()) -> None:
    """Raises ConfigError where there is no file `path` to write into, or the layout would be that of another run."""
    if overrides:
        rule = "does not go with --write: the file would get the layout of a run that it does not describe"
        raise ConfigError.of("key=value", " ".join(overrides), rule, "write it into the file first")
    if path is None or not Path(path).is_file():
        rule = "needs a RUN.yaml to write into, by its path"
        name = path if path and "=" not in path else "gpt3-175b"
        fix = f"cp configs/runs/{name}.yaml mine.yaml; pretrain plan mine.yaml --write"
        raise ConfigError.of("--write", path, rule, fix)


def write_layout(path: str, run: Run) -> str:
    """Write `run`'s layout into the file `path`; what changed. Raises ConfigError where there is no such file."""
    check_file(path)
    as_it_is = Path(path).read_bytes().decode()
    before = as_it_is.replace("\r\n", "\n")
    after = with_layout(before, run)
    ends = "\r\n" if "\r\n" in as_it_is else "\n"
    Path(path).write_bytes(after.replace("\n", ends).encode())
    lines = unified_diff(before.splitlines(), after.splitlines(), path, path, lineterm="", n=1)
    return "\n".join(lines) or f"{path} has this layout already"


def with_layout(text: str, run: Run) -> str:
    """The YAML `text` with the layout of `run`; comments, order and all other fields stay."""
    text = _set(text, "batch", {"micro_batch_size": run.batch.micro_batch_size})
    return _set(text, "parallel", _fields(text, run.parallel))


def _fields(text: str, parallel: Parallel) -> dict[str, object]:
    """Of the layout: the grid, ZeRO, what is not the default, and what the text has already."""
    there = yaml.safe_load(text).get("parallel")
    default, plain = Parallel().plain(), parallel.plain()
    shown = {"tensor", "pipe", "zero", *(there if isinstance(there, dict) else ())}
    return {name: value for name, value in plain.items() if name in shown or value != default[name]}


def _set(text: str, section: str, fields: dict[str, object]) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    if root.flow_style:
        raise ConfigError.of("--write", section, "needs a file with a line for each key", "not {name: ..., model: ...}")
    nodes = {key.value: value for key, value in root.value}
    if section not in nodes:
        return f"{text.rstrip()}\n{section}: {_flow(fields)}\n"
    node = nodes[section]
    if isinstance(node, yaml.MappingNode) and node.value:
        edits = _inside(text, node, fields)
    else:
        edits = [Edit(node.start_mark.index, node.end_mark.index, _flow(fields))]
    for start, end, replacement in sorted(edits, reverse=True):  # from the end: places before it stay
        text = text[:start] + replacement + text[end:]
    return text


def _inside(text: str, node: yaml.MappingNode, fields: dict[str, object]) -> list[Edit]:
    """New values where the keys stand, and new keys after the first of them."""
    there = {key.value: value for key, value in node.value}
    edits = [
        Edit(there[name].start_mark.index, there[name].end_mark.index, _scalar(value))
        for name, value in fields.items()
        if name in there and yaml.safe_load(yaml.serialize(there[name])) != value
    ]
    if added := {name: value for name, value in fields.items() if name not in there}:
        key, value = node.value[0]
        if node.flow_style:
            edits.append(Edit(value.end_mark.index, value.end_mark.index, f", {_flow(added)[1:-1]}"))
        else:
            at, indent = _line_end(text, value.end_mark.index), " " * key.start_mark.column
            lines = "".join(f"\n{indent}{name}: {_scalar(field)}" for name, field in added.items())
            edits.append(Edit(at, at, lines))
    return edits


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _flow(fields: dict[str, object]) -> str:
    return "{" + ", ".join(f"{name}: {_scalar(value)}" for name, value in fields.items()) + "}"


def _scalar(value: object) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
