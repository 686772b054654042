"""Counts as people write them: "300B" tokens, "0.5M", "30 min", "2 GiB", "256 samples"."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema, model_serializer, model_validator

MAGNITUDE = {
    "": 1,
    "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12,
    "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40,
}  # fmt: skip
SECONDS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "day": 86400}

_NUMBER = re.compile(r"^\s*([0-9][0-9_,]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*([A-Za-z]*)\s*$")


def parse_count(value: object, unit: str = "") -> int:
    """`300B` -> 300000000000. Decimal magnitudes k M B T, binary ones Ki Mi Gi Ti; `unit` may follow ("2M tokens").

    Raises ValueError when the text is not a whole number of `unit`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be a count such as 300B, 0.5M or 32k, not {type(value).__name__}")
    match = _NUMBER.match(str(value))
    if not match:
        raise ValueError(f"must be a count such as 300B, 0.5M or 32k{f' ({unit})' if unit else ''}")
    number, magnitude, word = match.groups()
    if unit and not word and _singular(magnitude) == _singular(unit):
        magnitude, word = "", magnitude
    if word and _singular(word) != _singular(unit):
        raise ValueError(f"has the unit {word!r}, expected {unit or 'none'}")
    if magnitude.lower() not in MAGNITUDE:
        raise ValueError(f"has the unknown unit {magnitude!r}; magnitudes are k, M, B, T, Ki, Mi, Gi, Ti")
    count = Decimal(number.replace("_", "").replace(",", "")) * MAGNITUDE[magnitude.lower()]
    if count != int(count):
        raise ValueError(f"must be a whole number{f' of {unit}' if unit else ''}, this is {count}")
    return int(count)


def parse_seconds(value: object) -> float:
    """`30 min` -> 1800.0. A bare number is seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _NUMBER.match(str(value))
    if not match or match[3] or _singular(match[2] or "s") not in SECONDS:
        raise ValueError("must be a time such as 90 s, 30 min, 12 h or 2 days")
    return float(match[1].replace("_", "").replace(",", "")) * SECONDS[_singular(match[2] or "s")]


def parse_bytes(value: object) -> int:
    """`512MB` -> 512000000, `2 GiB` -> 2147483648. A bare number is bytes."""
    if isinstance(value, str):
        value = re.sub(r"(?<=[0-9kKmMgGtTi ])[bB](ytes?)?\s*$", "", value)
    return parse_count(value)


def short(count: float) -> str:
    """12.3k, 4.56M, 1.2B."""
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * limit:  # rounds to 1 of it
            return f"{count / limit:.3g}{unit}"
    return f"{count:.3g}"


def size(count: float) -> str:
    """Bytes: 12.3kB, 4.56MB, 1.2GB."""
    return f"{short(count).replace('B', 'G')}B"


def _singular(word: str) -> str:
    word = word.lower()
    return word[:-1] if len(word) > 1 and word.endswith("s") else word


class BatchSize(BaseModel):
    """A number of samples, given as such (`256`, `256 samples`) or in tokens (`4Mi`, `524288 tokens`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    amount: int
    unit: Literal["samples", "tokens"]

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        if isinstance(value, dict | BatchSize):
            return value
        text = str(value).strip().lower()
        in_tokens = text.endswith(("token", "tokens")) or (re.search(r"[a-z]$", text) and "sample" not in text)
        unit = "tokens" if in_tokens else "samples"
        amount = parse_count(value, unit)
        if amount < 1:
            raise ValueError(f"must be at least 1 {unit[:-1]}")
        return {"amount": amount, "unit": unit}

    @model_serializer
    def _write(self) -> int | str:
        return self.amount if self.unit == "samples" else f"{self.amount} tokens"

    def samples(self, sequence_length: int) -> int:
        """The size in samples of `sequence_length` tokens. Raises ValueError naming the two nearest whole sizes."""
        if self.unit == "samples":
            return self.amount
        samples, rest = divmod(self.amount, sequence_length)
        if rest or not samples:
            near = [n for n in (samples, samples + 1) if n]
            choices = " or ".join(f"{n} samples ({n * sequence_length:,} tokens)" for n in near)
            raise ValueError(
                f"{self.amount:,} tokens are {self.amount / sequence_length:.2f} samples "
                f"of {sequence_length:,} tokens; nearest: {choices}"
            )
        return samples


class Interval(BaseModel):
    """How often something happens: `100 steps`, `1B tokens` or `30 min`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    amount: float
    unit: Literal["steps", "tokens", "seconds"]

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        if isinstance(value, dict | Interval):
            return value
        text = str(value).strip().lower()
        for unit in ("steps", "tokens"):
            if text.endswith((unit, unit[:-1])):
                return _positive(parse_count(value, unit), unit)
        if (word := re.search(r"[a-z]+$", text)) and word[0] not in MAGNITUDE:
            return _positive(parse_seconds(value), "seconds")
        raise ValueError("needs its unit: `100 steps`, `1B tokens` or `30 min`")

    @model_serializer
    def _write(self) -> str:
        return f"{self.amount:g} s" if self.unit == "seconds" else f"{int(self.amount)} {self.unit}"


def _positive(amount: float, unit: str) -> dict[str, object]:
    if amount <= 0:
        raise ValueError("must be greater than 0")
    return {"amount": amount, "unit": unit}


def _schema(*examples: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}], "examples": list(examples)})


Count = Annotated[int, BeforeValidator(parse_count), _schema("2048", "50k")]
Tokens = Annotated[int, BeforeValidator(lambda value: parse_count(value, "tokens")), _schema("300B", "2M tokens")]
Bytes = Annotated[int, BeforeValidator(parse_bytes), _schema("512MB", "2 GiB")]
Seconds = Annotated[
    float,
    BeforeValidator(parse_seconds),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}], "examples": ["90 s", "30 min", "12 h"]}),
]
Size = Annotated[BatchSize, _schema("256", "256 samples", "524288 tokens", "0.5Mi")]
Every = Annotated[Interval, WithJsonSchema({"type": "string", "examples": ["100 steps", "1B tokens", "30 min"]})]
