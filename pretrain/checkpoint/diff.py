"""`diff`: did two checkpoints, of any layouts, come from the same training?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from pretrain.checkpoint.saved import Kind, Saved
from pretrain.checkpoint.show import align
from pretrain.checkpoint.state import TrainState, layout_words, read_state
from pretrain.checkpoint.verify import open_saved, read, read_records, wrong_size
from pretrain.config.errors import ConfigError
from pretrain.config.load import load_run
from pretrain.config.run import Run

SECTIONS = ("model", "optimizer", "schedule")
"""Of the run's configuration: what decides the weights besides the data plan, which the state holds."""
LONGEST = 40
"""Characters of a value that are printed."""


@dataclass(frozen=True)
class Side:
    """One of the two checkpoints."""

    path: Path
    state: TrainState
    run: Run
    saved: Saved

    def fields(self) -> dict[str, Any]:
        """All that it says of itself, flat: `step`, `plan.seed`, `layout.pipe`, `model.layers` ..."""
        # past losses and norms are results, as the weights are: they differ in the last bits between layouts
        spikes = {key: value for key, value in self.state.spikes.items() if key not in ("losses", "norms")}
        state = asdict(replace(self.state, spikes=spikes))
        plain = {**state, **{name: getattr(self.run, name).plain() for name in SECTIONS}}
        return dict(_flatten(plain))


class Far(NamedTuple):
    """How far two tensors are apart; infinite where a number is not finite."""

    absolute: float
    """The largest difference of two entries."""
    relative: float
    """That, in parts of the largest entry of both tensors."""


@dataclass(frozen=True)
class Difference:
    """How far a parameter's weight and moments are apart."""

    name: str
    far: dict[Kind, Far]

    @property
    def weight(self) -> float:
        """Of the weight, absolute: optimizer steps have the size of the learning rate whatever the weight's."""
        return self.far["weight"].absolute

    @property
    def moments(self) -> float:
        """Of the moments, relative: they are gradients, and squares of them, whose size says nothing."""
        return max((far.relative for kind, far in self.far.items() if kind != "weight"), default=0.0)

    @property
    def largest(self) -> float:
        """What a tolerance is held against."""
        return max(self.weight, self.moments)


def open_side(checkpoint: Path) -> Side:
    """A checkpoint to compare. Raises ConfigError when it is plainly damaged; checksums are left to `verify`."""
    if wrong := wrong_size(checkpoint, read_records(checkpoint)):
        raise ConfigError.of("checkpoint", str(checkpoint), f"is damaged: {wrong}", "use an earlier one")
    saved = open_saved(checkpoint)
    return Side(checkpoint, read_state(checkpoint), load_run(checkpoint / "run.yaml"), saved)


def field_differences(a: Side, b: Side) -> list[tuple[str, Any, Any]]:
    """(field, value in a, value in b) wherever they differ; None where one has no such field."""
    ours, theirs = a.fields(), b.fields()
    names = dict.fromkeys([*ours, *theirs])
    return [(name, ours.get(name), theirs.get(name)) for name in names if ours.get(name) != theirs.get(name)]


def parameter_differences(a: Side, b: Side) -> Iterator[Difference]:
    """Of every parameter, in the order of the layers, what both have. The shapes must agree. Raises ConfigError."""
    for name in a.saved.names:
        kinds = [kind for kind in a.saved.kinds(name) if kind in b.saved.kinds(name)]
        yield Difference(name, {kind: far(read(a.saved, name, kind), read(b.saved, name, kind)) for kind in kinds})


def far(a: Tensor, b: Tensor) -> Far:
    """How far two tensors of the same shape are apart."""
    absolute = (a - b).abs().max().item()
    largest = max(a.abs().max().item(), b.abs().max().item())
    if not isfinite(absolute) or not isfinite(largest):
        return Far(inf, inf)
    return Far(absolute, absolute / largest if absolute else 0.0)


def fields_text(a: Side, b: Side) -> str:
    """The two checkpoints and the fields in which they differ."""
    heads = [f"{letter}  {side.path}  {layout_words(side.state.layout)}" for letter, side in (("A", a), ("B", b))]
    rows = [(name, _short(left), _short(right)) for name, left, right in field_differences(a, b)]
    return "\n".join([*heads, "", align([("field", "A", "B"), *rows], left={0, 1, 2}) if rows else "no field differs"])


def parameters_text(differences: list[Difference]) -> str:
    """A line for each parameter that differs: absolutely and relatively, in the weight and in each moment."""
    kinds = list(dict.fromkeys(kind for one in differences for kind in one.far))
    rows = [
        (one.name, *(cell for kind in kinds for cell in _cells(one.far.get(kind))))
        for one in differences
        if any(found.absolute for found in one.far.values())
    ]
    heading = ("parameter", *(title for kind in kinds for title in (kind, "relative")))
    return align([heading, *rows], left={0}) if rows else ""


def _cells(far: Far | None) -> Iterator[str]:
    """Of one kind, which a parameter may not have."""
    yield from ("", "") if far is None else (f"{number:.2e}" if number else "0" for number in far)


def summary(differences: list[Difference], tolerance: float) -> str:
    """`identical`, or the largest differences and where they are."""
    if not any(found.absolute for one in differences for found in one.far.values()):
        return f"identical: weights and moments of all {len(differences)} parameters"
    weight = max(differences, key=lambda one: one.weight)
    moments = max(differences, key=lambda one: one.moments)
    verdict = "within" if max(weight.weight, moments.moments) <= tolerance else "more than"
    return (
        f"weights differ by up to {weight.weight:.2e} ({weight.name}), "
        f"moments by up to {moments.moments:.2e} of their largest entry ({moments.name}): {verdict} {tolerance:g}"
    )


def _flatten(plain: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."
