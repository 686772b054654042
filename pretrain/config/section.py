"""The base of every part of a configuration: frozen, typed, unknown keys refused, a doc line under each field."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pretrain.config.errors import ConfigError, Problem, nearest


class Section(BaseModel):
    """A part of a configuration. Subclasses document each field with a string under it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=False,
        use_attribute_docstrings=True,
        validate_default=True,
        protected_namespaces=(),
    )

    @classmethod
    def parse(cls, data: Mapping[str, Any], where: str = "") -> Self:
        """Build from plain YAML data. Raises ConfigError with every problem; `where` prefixes the field names."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(_problems(cls, error, where)) from None

    @classmethod
    def keys(cls) -> set[str]:
        """The keys that a YAML may have in the section."""
        return set(cls.model_fields)

    def plain(self) -> dict[str, Any]:
        """The section as YAML and JSON can hold it."""
        return self.model_dump(mode="json")

    def fingerprint(self) -> str:
        """Sixteen hex digits that change when any field does."""
        return fingerprint(self.plain())


def fingerprint(plain: object) -> str:
    """Sixteen hex digits of the canonical JSON of plain data."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


T = TypeVar("T", bound="Section")


def only_for(section: T, owners: Mapping[str, Sequence[str]], what: str, by: str = "name") -> T:
    """`section`, whose `name` must have every field that was given: `owners` says which names a field is for.

    A default may stand anywhere: what is resolved and stored writes all of them out. `by` is the field that has the
    name. Raises ValueError.
    """
    name = getattr(section, by)
    for field in sorted(section.model_fields_set & set(owners)):
        if name not in owners[field] and getattr(section, field) != type(section).model_fields[field].default:
            raise ValueError(f"{field} is for {what} {', '.join(owners[field])}, this is {name}; fix: remove {field}")
    return section


def _problems(cls: type[BaseModel], error: ValidationError, where: str) -> list[Problem]:
    return [_problem(cls, dict(item), where) for item in error.errors(include_url=False)]


def _problem(cls: type[BaseModel], item: dict[str, Any], where: str) -> Problem:
    location = [str(part) for part in item["loc"] if not str(part).startswith(("function-", "tagged-"))]
    field = ".".join(([where] if where else []) + location) or "the configuration"
    if item["type"] == "extra_forbidden":
        known = _keys_at(cls, location[:-1])
        guess = nearest(location[-1], known)
        fix = f"did you mean {guess!r}?" if guess else f"known keys: {', '.join(sorted(known)) or 'none'}"
        return Problem(field, item["input"], f"unknown key {location[-1]!r}", fix)
    if item["type"] == "missing":
        return Problem(field, None, "is required", f"add {location[-1]!r} to the YAML")
    if item["type"] == "model_type":
        keys = ", ".join(sorted(_keys_at(cls, location)))
        return Problem(field, item["input"], "must be a mapping of fields", f"write its fields: {keys}")
    rule = str(item["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    rule, _, fix = rule.partition("; fix: ")
    if item["type"] == "literal_error" and (guess := nearest(str(item["input"]), re.findall("'(.*?)'", rule))):
        fix = f"did you mean {guess!r}?"
    return Problem(field, item["input"], rule, fix or "give a value that satisfies the rule")


def _keys_at(cls: type[BaseModel], location: list[str]) -> set[str]:
    """The keys that the section found by walking `location` down from `cls` accepts."""
    current: Any = cls
    for part in location:
        field = getattr(current, "model_fields", {}).get(part)
        if field is None:
            continue  # a list index or a union branch
        current = _section_in(field.annotation) or current
    return current.keys() if issubclass(current, Section) else set(current.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section inside `Section | None`, `list[Section]`, `dict[str, Section]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := _section_in(inner):
            return found
    return None
