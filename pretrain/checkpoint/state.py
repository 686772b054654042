"""state.json: where a run stood, in plain text."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson

from pretrain.config.errors import ConfigError, Problem
from pretrain.config.layout import Layout
from pretrain.data.plan import DataPlan, differences

FORMAT_VERSION = 5
GONE = "gone"
"""Instead of a fingerprint of initial weights whose directory is not there any more."""


@dataclass(frozen=True)
class TrainState:
    """All that a run needs to go on, besides model, optimizer and random numbers."""

    run_id: str
    """Of the run that wrote it; a run loads only its own checkpoints."""
    step: int
    """Optimizer steps done."""
    samples: int
    """Samples served; with the plan the whole state of the data."""
    tokens: int
    """Tokens predicted."""
    order_hash: str
    """Running hash of every sample served."""
    plan: dict[str, Any]
    """The data plan."""
    plan_fingerprint: str
    manifest_fingerprint: str
    tokenizer_fingerprint: str
    model_fingerprint: str
    layout: dict[str, Any]
    """Grid of processes, schedule, ZeRO stage, number format and optimizer that the engine's files are written for."""
    corpus: dict[str, int] = field(default_factory=dict)
    """By source, tokens of its training split: to say what changed."""
    served: dict[str, int] = field(default_factory=dict)
    """By source, tokens predicted; for a person: they follow from plan and samples."""
    spikes: dict[str, Any] = field(default_factory=dict)
    """What judging the next step depends on (resilience.spikes.History): with the loss scale of fp16, and how many
    updates were left out."""
    initial_weights: str = ""
    """Fingerprint of the imported weights that the run began with; empty: drawn from the seed."""
    format_version: int = FORMAT_VERSION

    @property
    def updates(self) -> int:
        """Steps whose update was made."""
        overflows = (self.spikes.get("scale") or {}).get("overflows", 0)
        return self.step - int(self.spikes.get("left_out", 0)) - int(overflows)

    def encode(self) -> bytes:
        """As it stands in the file."""
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2)


def read_state(checkpoint: Path) -> TrainState:
    """The state of a checkpoint. Raises ConfigError when it is of another format."""
    try:
        plain = orjson.loads((checkpoint / "state.json").read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        fix = "give a directory such as runs/x/checkpoints/step-00000100"
        raise ConfigError.of("checkpoint", str(checkpoint), f"must be a checkpoint ({error})", fix) from None
    if plain.get("format_version") == 2:  # from before spikes were judged
        plain |= {"spikes": {}, "format_version": 3}
    if plain.get("format_version") == 3:  # from before sources were counted
        plain |= {"corpus": {}, "served": {}, "format_version": 4}
    if plain.get("format_version") == 4:  # from before weights were imported
        plain |= {"initial_weights": "", "format_version": FORMAT_VERSION}
    if isinstance(plain.get("layout"), dict):  # from before there was a choice
        plain["layout"] = {"optimizer": "adamw"} | plain["layout"]
    if plain.get("format_version") != FORMAT_VERSION or set(plain) != {field.name for field in fields(TrainState)}:
        rule = f"has format {plain.get('format_version')}, this version reads {FORMAT_VERSION}"
        raise ConfigError.of("checkpoint", str(checkpoint), rule, "use the version of pretrain that wrote it")
    return TrainState(**plain)


def check_same(saved: TrainState, now: TrainState, checkpoint: Path) -> None:
    """Refuse to go on from a checkpoint of another run, model, corpus or plan. Raises ConfigError."""
    fix = "give this run another name, or restore what it started with (run.yaml inside the checkpoint)"
    rules = {
        "run_id": "was written by another run",
        "model_fingerprint": "is of another model",
        "tokenizer_fingerprint": f"was trained with another tokenizer; the corpus now has {now.tokenizer_fingerprint}",
        "manifest_fingerprint": f"was trained on another corpus, then and now: {_corpora(saved.corpus, now.corpus)}",
    }
    problems = [
        Problem(f"checkpoint {checkpoint.name} {field}", getattr(saved, field), rule, fix)
        for field, rule in rules.items()
        if getattr(saved, field) != getattr(now, field)
    ]
    if (then := saved.layout["optimizer"]) != now.layout["optimizer"]:
        rule = f"was trained with {then}, whose moments mean nothing to {now.layout['optimizer']}"
        fix_optimizer = f"optimizer: {then}, or begin another run"
        problems.append(Problem(f"checkpoint {checkpoint.name} optimizer", then, rule, fix_optimizer))
    gone = now.initial_weights == GONE and saved.initial_weights  # and not needed any more
    if now.initial_weights != saved.initial_weights and not gone:
        rule = f"began with {_weights(saved)}, the run says that it does with {_weights(now)}"
        problems.append(Problem(f"checkpoint {checkpoint.name} initial_weights", saved.initial_weights, rule, fix))
    plans = [DataPlan.from_plain(state.plan).until(saved.step) for state in (saved, now)]
    if plans[0] != plans[1]:
        what = "; ".join(differences(*plans))
        rule = f"its first {saved.step:,} steps had another data plan, then and now: {what}"
        problems.append(Problem(f"checkpoint {checkpoint.name} plan", saved.plan_fingerprint, rule, fix))
    if problems:
        raise ConfigError(problems)


def _weights(state: TrainState) -> str:
    return f"imported weights ({state.initial_weights})" if state.initial_weights else "weights drawn from its seed"


def _corpora(then: dict[str, int], now: dict[str, int]) -> str:
    """How many tokens of each source there were and are."""
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if not then:
        return "of which formats before 4 say no more"
    said = (f"{name} {then.get(name, 'not there')} and {now.get(name, 'not there')} tokens" for name in names)
    return "; ".join(said) or "as many tokens of each source, but not the same"


def layout_words(layout: dict[str, Any]) -> str:
    """Such as `pipe 2 x data 1 x tensor 2, 1F1B, ZeRO 1, fp32`."""
    grid = Layout(layout["pipe"], layout["data"], layout["tensor"])
    schedule = {"": "", "1f1b": "1F1B", "dualpipev": "DualPipeV"}[layout["schedule"]]
    return ", ".join(filter(None, (str(grid), schedule, f"ZeRO {layout['zero']}", layout["compute"])))
