"""Somebody's own part, named by import path: `{class: mylab.optim.Sophia, rho: 0.04}`.

What stands beside `class` are arguments of the class, checked against the names, types and defaults of its `__init__`
before anything starts. The path is imported when the part is checked or made, never while a YAML is parsed: a
checkpoint stays readable where the part is not installed.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import sys
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from pretrain.config.errors import ConfigError, Problem, nearest
from pretrain.config.section import Section

IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


class Seam(NamedTuple):
    """A place where an own part goes."""

    methods: tuple[str, ...]
    """What is called on it."""
    given: tuple[str, ...] = ()
    """What the framework gives to its constructor, by position."""
    keywords: tuple[str, ...] = ()
    """What the framework gives by name."""


OPTIMIZER = Seam(("step", "state_dict", "load_state_dict"), ("params",), ("lr",))
"""A torch.optim.Optimizer."""
SCHEDULE = Seam(("__call__",))
"""Called with the tokens seen at the end of a step and those of the run, it gives the learning rate / the peak."""
SINK = Seam(("write", "flush", "rewind", "close"))
"""pretrain.monitoring.metrics.Sink."""
SOURCE = Seam(("units", "read"))
"""pretrain.corpus.sources.Source."""
FILTER = Seam(("__call__",))
"""pretrain.corpus.clean.Rule: a text, or Dropped, for a text."""
MLP = Seam(("forward",), ("config",))
"""A torch module [B, T, C] -> [B, T, C] made from the Model."""


class Own(Section):
    """An own part as the YAML has it."""

    model_config = ConfigDict(json_schema_extra=lambda schema: _open(schema, ["class"]))

    path: str
    """Module and class, such as mylab.optim.Sophia, importable here or found in the working directory."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Of the class."""

    @model_validator(mode="before")
    @classmethod
    def _fold(cls, value: object) -> object:
        if isinstance(value, str):
            value = {"class": value}
        if isinstance(value, Mapping) and "class" in value:
            value = {"path": value["class"], "arguments": {k: v for k, v in value.items() if k != "class"}}
        path = value.get("path") if isinstance(value, Mapping) else None
        if not isinstance(path, str) or not IMPORT_PATH.fullmatch(path):
            raise ValueError("class must be an import path: module.Class; fix: class: mylab.optim.Sophia")
        return value

    @model_serializer(mode="wrap")
    def _unfold(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = write(self)
        return {"class": plain["path"], **plain["arguments"]}

    def load(self, where: str) -> Callable[..., Any]:
        """The class, or whatever callable the path leads to. Raises ConfigError naming `where`."""
        module_name, _, name = self.path.rpartition(".")
        module = self._import(module_name, where)
        found = getattr(module, name, None)
        if not callable(found):
            known = [key for key, value in vars(module).items() if inspect.isclass(value) or inspect.isfunction(value)]
            guess = nearest(name, known)
            fix = f"did you mean {module_name}.{guess}?" if guess else "name a class of that module"
            raise ConfigError.of(f"{where}.class", self.path, f"{module_name} has no class {name!r}", fix)
        return found  # type: ignore[no-any-return]

    def problems(self, where: str, seam: Seam, known: tuple[str, ...] = ()) -> Iterator[Problem]:
        """What is wrong with the path or the arguments. `known`: fields of the section that stand beside `class`."""
        try:
            if missing := list(self._missing_methods(where, seam)):
                yield from missing
            else:
                self._values(where, _parameters(self.load(where), seam), known)
        except ConfigError as error:
            yield from error.problems

    def check(self, where: str, seam: Seam, known: tuple[str, ...] = ()) -> None:
        """Raises ConfigError with all `problems`."""
        if found := list(self.problems(where, seam, known)):
            raise ConfigError(found)

    def make(self, where: str, seam: Seam, *given: Any, **keywords: Any) -> Any:
        """The part: the class called with what the framework gives and with its arguments.

        Raises ConfigError for a wrong path or wrong arguments, and for whatever its constructor raises.
        """
        build = self.load(where)
        values = self._values(where, _parameters(build, seam), ())
        try:
            return build(*given, **keywords, **values)
        except ConfigError:
            raise
        except Exception as error:
            rule = f"its constructor raised {type(error).__name__}: {error}"
            raise ConfigError.of(f"{where}.class", self.path, rule, "mend the class or its arguments") from error

    def source_hash(self, where: str) -> str:
        """Sixteen hex digits of the file that the class stands in: what was made by another one is made anew."""
        file = inspect.getsourcefile(self.load(where))
        return hashlib.sha256(Path(file).read_bytes() if file else b"").hexdigest()[:16]

    def _import(self, name: str, where: str) -> Any:
        try:
            _look_here()
            return importlib.import_module(name)
        except Exception as error:
            rule = f"cannot be imported ({type(error).__name__}: {error})"
            fix = "install the package, or start where its folder lies; write module.Class"
            raise ConfigError.of(f"{where}.class", self.path, rule, fix) from error

    def _values(self, where: str, parameters: Parameters, known: tuple[str, ...]) -> dict[str, Any]:
        """The arguments in the types that the class asks for."""
        problems, values = [], dict[str, Any]()
        for name, value in self.arguments.items():
            if name in parameters.types:
                try:
                    values[name] = parameters.types[name].validate_python(value)
                except ValidationError as error:
                    rule = f"{self.path} takes {parameters.words[name]}: {error.errors()[0]['msg']}"
                    problems.append(Problem(f"{where}.{name}", value, rule, "give a value of that type"))
            elif parameters.open:
                values[name] = value
            else:
                problems.append(self._unknown(where, name, [*parameters.types, *known]))
        for name in parameters.required:
            if name not in self.arguments:
                rule = f"{self.path} needs it: {parameters.words[name]}"
                problems.append(Problem(f"{where}.{name}", None, rule, f"add `{name}:`"))
        if problems:
            raise ConfigError(problems)
        return values

    def _unknown(self, where: str, name: str, known: list[str]) -> Problem:
        guess = nearest(name, known)
        fix = f"did you mean {guess!r}?" if guess else f"it takes: {', '.join(known) or 'nothing'}"
        return Problem(f"{where}.{name}", self.arguments[name], f"{self.path} has no parameter {name!r}", fix)

    def _missing_methods(self, where: str, seam: Seam) -> Iterator[Problem]:
        found = self.load(where)
        missing = [name for name in seam.methods if not hasattr(found, name)]
        if inspect.isclass(found) and missing:
            rule = f"must have the methods {', '.join(seam.methods)}; {', '.join(missing)} not found"
            yield Problem(f"{where}.class", self.path, rule, "write them, as docs/own-parts.md shows")


class Replaceable(Section):
    """A section whose algorithm may be an own part: `class`, and beside it the section's fields and its arguments."""

    model_config = ConfigDict(json_schema_extra=lambda schema: _open(schema, []))
    NAMED_BY: ClassVar[str] = "name"
    """The field that says which algorithm it is: `own` for an own one."""
    OF_OTHERS: ClassVar[Collection[str]] = ()
    """Fields of other algorithms: an own one may have arguments of these names."""

    own: Own | None = None
    """The own part; in a YAML its `class` and arguments stand in the section itself."""

    @classmethod
    def keys(cls) -> set[str]:
        """As of any section, but an own part has its `class` where the field is."""
        return super().keys() - {"own"} | {"class"}

    @model_validator(mode="before")
    @classmethod
    def _fold(cls, value: object) -> object:
        if not isinstance(value, Mapping) or "class" not in value:
            return value
        kept = set(cls.model_fields) - set(cls.OF_OTHERS)
        fields = {key: field for key, field in value.items() if key in kept}
        own = {key: field for key, field in value.items() if key not in kept}
        return {cls.NAMED_BY: "own", **fields, "own": own}

    @model_validator(mode="after")
    def _own_or_not(self) -> Self:
        if (kind := getattr(self, self.NAMED_BY)) != "own" and self.own:
            raise ValueError(
                f"class says that it is your own, {self.NAMED_BY} that it is {kind}; fix: remove one of them"
            )
        if kind == "own" and not self.own:
            raise ValueError(f"{self.NAMED_BY}: own needs a class; fix: class: mylab.module.Class")
        return self

    @model_serializer(mode="wrap")
    def _unfold(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return self.unfolded(write(self))

    def unfolded(self, plain: dict[str, Any]) -> dict[str, Any]:
        """The section as a YAML has it, from its fields."""
        own = plain.pop("own", None)
        return {**own, **plain} if own else plain


class Parameters(NamedTuple):
    """What a class takes beside what the framework gives."""

    types: dict[str, TypeAdapter[Any]]
    words: dict[str, str]
    """Their types in words."""
    required: list[str]
    open: bool
    """Whether it takes any others."""

    @classmethod
    def of(cls, parameters: list[inspect.Parameter], hints: Mapping[str, Any]) -> Self:
        """Of a signature's parameters; those without a type take anything."""
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        hinted = {p.name: hints.get(p.name, Any) for p in named}
        return cls(
            {name: _adapter(hint) for name, hint in hinted.items()},
            {name: _word(hint) for name, hint in hinted.items()},
            [p.name for p in named if p.default is p.empty],
            any(p.kind is p.VAR_KEYWORD for p in parameters),
        )


def _word(hint: Any) -> str:
    """A type as a person would say it: int for Tokens, which is Annotated[int, ...]."""
    plain = hint.__origin__ if typing.get_origin(hint) is Annotated else hint
    return plain.__name__ if isinstance(plain, type) else str(plain)


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except Exception:  # a type that pydantic cannot check, or a Section, which brings its own configuration
        try:
            return TypeAdapter(hint)
        except Exception:
            return TypeAdapter(Any)


def _parameters(build: Callable[..., Any], seam: Seam) -> Parameters:
    parameters = list(inspect.signature(build).parameters.values())[len(seam.given) :]
    try:
        hints = typing.get_type_hints(build.__init__ if inspect.isclass(build) else build, include_extras=True)
    except Exception:  # an annotation names what is not there at run time
        hints = {}
    return Parameters.of([p for p in parameters if p.name not in seam.keywords], hints)


def _look_here() -> None:
    """Modules are looked for in the working directory too, after where Python looks: a console script does not."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


def _open(schema: dict[str, Any], required: list[str]) -> None:
    """In the JSON Schema: a class by its path, and any arguments beside it."""
    properties = {key: value for key, value in schema["properties"].items() if key not in ("own", "path", "arguments")}
    path = {"type": "string", "description": "Import path of an own part; its arguments stand beside it."}
    schema["properties"] = {"class": path, **properties}
    schema["additionalProperties"] = True
    schema["required"] = [*required, *(name for name in schema.get("required", []) if name in properties)]
