"""What every architecture of Hugging Face says of itself: which models it holds, and its config.json.

One subclass an architecture, each in a small file. Most of it is tables: a field of our model that no table of an
architecture mentions must have the value that it has when nobody sets it, so a new field is refused until it is told
how to be written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pretrain.checkpoint.huggingface.fields import UNRELATED, neutral, resolved
from pretrain.checkpoint.huggingface.match import Match
from pretrain.config.errors import ConfigError, Problem
from pretrain.config.model import Model

Config = dict[str, Any]
Words = Mapping[str, tuple[str, Mapping[str, str]]]

NEVER: Mapping[str, object] = {"quantization_config": None, "auto_map": None, "is_encoder_decoder": False}
"""Keys of any config.json that must have this value: no quantized weights, no code from the directory."""


class Architecture:
    """The base. Instances have no state."""

    name: ClassVar[str]
    """The class in transformers, such as LlamaForCausalLM."""
    model_type: ClassVar[str]
    """What config.json calls it."""
    base: ClassVar[str]
    """Prefix of all names but the head's; files written from the model without its head leave it out."""
    head: ClassVar[str] = "lm_head"
    """Of a head that is not tied."""
    keys: ClassVar[Mapping[str, str]]
    """Their key -> our field, with the same value. Two keys of one field must agree."""
    words: ClassVar[Words] = {}
    """Their key -> (our field, {their word: ours}). The first word that fits is written."""
    holds: ClassVar[Mapping[str, object]] = {}
    """Our field -> the one value that it must have."""
    fixed: ClassVar[Mapping[str, object]] = {}
    """Their key -> the one value that our model computes."""
    translated: ClassVar[tuple[str, ...]] = ()
    """Our fields that a subclass writes and reads in `config` and `fields`."""
    dropouts: ClassVar[tuple[str, ...]] = ()
    """Their keys for dropout: written for those who go on training; not read, a run says its own."""
    buffers: ClassVar[tuple[str, ...]] = ()
    """Endings of tensors that older versions saved and nobody needs."""

    def matches(self, model: Model) -> Iterator[Match]:
        """How each of our parameters lies there."""
        raise NotImplementedError

    def rules(self, model: Model) -> Iterator[Problem]:
        """Further reasons why a model does not fit."""
        if model.d_model % model.heads:
            yield self.misfit("heads", model.heads, f"must divide d_model ({model.d_model}), whatever d_head is,")

    def rounding(self, model: Model) -> str | None:
        """Which numbers of a model that fits are not the same bits there."""
        return None

    def misfits(self, model: Model) -> list[Problem]:
        """Why the architecture does not hold `model`; empty when it does."""
        known = {*self.keys.values(), *self.translated, *UNRELATED}
        allowed: dict[str, tuple[object, ...]] = {field: (value,) for field, value in self.holds.items()}
        allowed |= {field: tuple(dict.fromkeys(words.values())) for field, words in self.words.values()}
        found = []
        for field, value in resolved(model).items():
            can = (value,) if field in known else allowed.get(field) or (neutral(model, field),)
            if value not in can:
                found.append(self.misfit(field, value, f"must be {' or '.join(map(str, can))}"))
        return [*found, *self.rules(model)]

    def misfit(self, field: str, value: object, rule: str) -> Problem:
        """A problem with one of our fields."""
        fix = "only a model trained so can be exported; checkpoints of all models are read by pretrain itself"
        return Problem(f"model.{field}", value, f"{rule} in {self.name}", fix)

    def config(self, model: Model) -> Config:
        """What config.json says of a model that fits."""
        ours = resolved(model)
        config = {key: ours[field] for key, field in self.keys.items()}
        for key, (field, words) in self.words.items():
            config[key] = next(theirs for theirs, word in words.items() if word == ours[field])
        return config | dict.fromkeys(self.dropouts, model.dropout)

    def fields(self, config: Config) -> Config:
        """Our fields from a config.json. Raises ConfigError naming every key that our model does not compute."""
        problems, fields = [], dict(self.holds)
        for key, value in {**NEVER, **self.fixed}.items():
            if config.get(key, value) != value:
                problems.append(wrong_key(key, config[key], f"must be {json.dumps(value)}"))
        for key, field in self.keys.items():
            if key in config and fields.setdefault(field, config[key]) != config[key]:
                problems.append(wrong_key(key, config[key], f"must be {fields[field]}, as other keys say"))
        for key, (field, words) in self.words.items():
            fields[field] = words.get(config[key])
            if fields[field] is None:
                problems.append(wrong_key(key, config[key], f"must be one of {', '.join(words)}"))
        if problems:
            raise ConfigError(problems)
        return fields


def wrong_key(key: str, value: object, rule: str) -> Problem:
    """A problem with one key of config.json."""
    return Problem(f"config.json {key}", value, rule, "this model cannot be imported: pretrain does not compute that")


def kinds(model: Model) -> tuple[str, ...]:
    """What a layer with biases has."""
    return ("weight", "bias") if model.bias else ("weight",)
