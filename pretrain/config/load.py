"""From a YAML file and dotted overrides to a checked, resolved run."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pretrain.config.errors import ConfigError, nearest
from pretrain.config.run import Run

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
"""The shipped configurations: beside the packages, in a checkout and in an installed wheel alike."""

PARTS = {"model": "models", "cluster": "clusters"}
"""Sections of a run that may name a file, and the folder of configs/ it lies in."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its traps: a key may stand only once, and 3e-4 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_run(path: str | Path, overrides: Sequence[str] = ()) -> Run:
    """Read RUN.yaml (a path, or the name of a file in configs/runs/) with overrides such as `train.tokens=2M`.

    Raises ConfigError for a missing or malformed file, unknown keys, wrong types and impossible values.
    """
    plain = load_yaml(find(path, "runs"), overrides)
    if "sources" in plain and "model" not in plain:
        raise ConfigError.of("file", str(path), "must be a run; this is the recipe of a corpus", "give a RUN.yaml")
    return resolve(plain)


def resolve(plain: Mapping[str, Any]) -> Run:
    """The run of a YAML's mapping, whose parts may be names. Raises ConfigError."""
    plain = dict(plain)
    for section, folder in PARTS.items():
        if section in plain:
            plain[section] = _resolve_part(section, folder, plain[section])
    return Run.parse(plain)


def load_yaml(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file with dotted overrides applied. Raises ConfigError with file and line."""
    try:
        plain = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError.of("file", str(path), f"must be readable ({error.strerror})", "check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError.of("file", str(path), f"must be YAML: {_one_line(error)}", "correct that line") from None
    if not isinstance(plain, dict):
        raise ConfigError.of("file", str(path), "must hold a YAML mapping", "write `key: value` lines")
    for override in overrides:
        _override(plain, override)
    return plain


def find(name: str | Path, folder: str) -> Path:
    """The file that `name` means: a path that exists, or configs/<folder>/<name>.yaml. Raises ConfigError."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = CONFIGS / folder / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    known = sorted(file.stem for file in (CONFIGS / folder).glob("*.yaml"))
    guess = nearest(str(name), known)
    fix = f"did you mean {guess!r}?" if guess else f"give a path, or one of: {', '.join(known)}"
    raise ConfigError.of("file", str(name), f"must be a file or a name in configs/{folder}/", fix)


def _override(plain: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError.of("override", override, "must be written key=value", "for example train.tokens=2M")
    *path, last = key.split(".")
    section = plain
    for depth, part in enumerate(path):
        value = section.get(part) or {}
        if isinstance(value, str) and part in (*PARTS, "hardware"):
            value = {"preset": value}
        if (part, value) == ("parallel", "auto"):
            value = {"auto": True}
        if not isinstance(value, dict):
            where = ".".join(path[: depth + 1])
            raise ConfigError.of("override", override, f"{where} is not a section", f"override {where} itself")
        section[part] = value
        section = value
    try:
        section[last] = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        rule, fix = f"its value must be YAML: {_one_line(error)}", "quote it"
        raise ConfigError.of("override", override, rule, fix) from None


def _resolve_part(section: str, folder: str, value: object) -> dict[str, Any]:
    """A part named by file becomes the file's fields, overridden by those that stand beside the name."""
    if isinstance(value, str):
        value = {"preset": value}
    if not isinstance(value, Mapping):
        raise ConfigError.of(section, value, "must be a name or a mapping", f"write `{section}: NAME` or its fields")
    fields = dict(value)
    preset = fields.pop("preset", None)
    if preset is not None:
        try:
            base = load_yaml(find(str(preset), folder))
        except ConfigError as error:
            problem = error.problems[0]
            raise ConfigError.of(section, preset, problem.rule, problem.fix) from None
        fields = merge(_with_hardware(base) if section == "cluster" else base, fields)
    return _with_hardware(fields) if section == "cluster" else fields


def _with_hardware(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a cluster with `hardware: NAME` replaced by those of that GPU."""
    value = cluster.get("hardware")
    if isinstance(value, str):
        value = {"preset": value}
    if not isinstance(value, Mapping) or "preset" not in value:
        return dict(cluster)
    fields = {key: field for key, field in value.items() if key != "preset"}
    return {**cluster, "hardware": merge(load_hardware(str(value["preset"])), fields)}


def load_hardware(name: str) -> dict[str, Any]:
    """The `hardware:` block of a file in configs/clusters/ (or of a path). Raises ConfigError, naming those known."""
    path = Path(name) if Path(name).is_file() else CONFIGS / "clusters" / f"{name}.yaml"
    block = load_yaml(path).get("hardware") if path.is_file() else None
    if not isinstance(block, Mapping):
        guess = nearest(name, known := known_hardware())
        fix = f"did you mean {guess!r}? known: {', '.join(known)}" if guess else f"one of: {', '.join(known)}"
        raise ConfigError.of("cluster.hardware", name, "must be a file in configs/clusters/ with `hardware:`", fix)
    return dict(block)


def known_hardware() -> list[str]:
    """The names that `hardware: NAME` may have."""
    files = sorted((CONFIGS / "clusters").glob("*.yaml"))
    return [file.stem for file in files if isinstance(load_yaml(file).get("hardware"), Mapping)]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, mapping by mapping."""
    both = {
        key: merge(base[key], value) if isinstance(value, Mapping) and isinstance(base.get(key), Mapping) else value
        for key, value in over.items()
    }
    return {**base, **both}


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}: {getattr(error, 'problem', error)}"
