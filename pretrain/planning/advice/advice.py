"""What a budget can train: the presets with their papers' tokens, and what each scaling law would train instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pretrain.config.counts import parameter_count
from pretrain.config.load import CONFIGS, load_run
from pretrain.planning.advice.budget import Budget
from pretrain.planning.advice.laws import LAWS, Law, Split

VOCABULARY = 51_200
"""Of presets that take their tokenizer's: docs/models.md counts them so."""


class Preset(NamedTuple):
    """A model of configs/models/ and the tokens that configs/runs/ trains it on: its paper's."""

    name: str
    parameters: int
    tokens: int

    @property
    def flops(self) -> float:
        """6 N D."""
        return 6.0 * self.parameters * self.tokens


@dataclass(frozen=True)
class Advice:
    """What to do with a budget."""

    budget: Budget
    splits: list[tuple[Law, Split]]
    presets: list[Preset]
    """By FLOPs, ascending."""

    def share(self, preset: Preset) -> float:
        """Of the budget."""
        return preset.flops / self.budget.flops

    @property
    def fitting(self) -> list[Preset]:
        """Those that the budget pays for."""
        return [preset for preset in self.presets if self.share(preset) <= 1]

    def plain(self) -> dict[str, object]:
        """As JSON can hold it."""
        budget = self.budget
        size = {"flops": budget.flops, "pf_days": budget.pf_days, "a100_days": budget.a100_days(budget.flops)}
        gpus = budget.gpus._asdict() if budget.gpus else None
        used = {**budget.utilisation._asdict(), "model": budget.utilisation.model}
        return {
            "budget": {"text": budget.text, **size, "gpus": gpus, "utilisation": used},
            "laws": [{"name": law.name, "source": law.source, **split._asdict()} for law, split in self.splits],
            "presets": [self._plain(preset) for preset in self.presets],
        }

    def _plain(self, preset: Preset) -> dict[str, object]:
        share, flops = self.share(preset), preset.flops
        times = {"days": self.budget.days(flops), "a100_days": self.budget.a100_days(flops)}
        return {**preset._asdict(), "flops": flops, **times, "share": share, "fits": share <= 1}


def advise(budget: Budget) -> Advice:
    """All laws and all presets."""
    return Advice(budget, [(law, law.best(budget.flops)) for law in LAWS], presets())


def presets() -> list[Preset]:
    """Models that there is a run of the same name for, by FLOPs."""
    names = {path.stem for path in (CONFIGS / "models").glob("*.yaml")}
    runs = {path.stem for path in (CONFIGS / "runs").glob("*.yaml")}
    return sorted(map(_preset, names & runs), key=lambda preset: preset.flops)


def _preset(name: str) -> Preset:
    run = load_run(name)
    model = run.model if run.model.vocab_size else run.model.model_copy(update={"vocab_size": VOCABULARY})
    return Preset(name, parameter_count(model).total, run.train.tokens)
