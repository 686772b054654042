"""Advice for a budget as text."""

from __future__ import annotations

from collections.abc import Iterator

from pretrain.config.units import short
from pretrain.planning.advice.advice import Advice, Preset
from pretrain.planning.advice.budget import A100_PEAK, Budget


def advice_lines(advice: Advice) -> Iterator[str]:
    """What the budget is, what it pays for, and two tables: presets and laws."""
    yield from _budget(advice.budget)
    yield _answer(advice)
    yield ""
    yield from _presets(advice)
    yield ""
    yield from _laws(advice)


def _budget(budget: Budget) -> Iterator[str]:
    a100 = f" = {budget.a100_days(budget.flops):,.0f} A100-days" if not budget.gpus else ""
    yield f"budget  {budget.text} = {budget.flops:.3g} model FLOPs = {budget.pf_days:,.4g} PF-days{a100}"
    used = budget.utilisation
    name, peak = (budget.gpus.name, budget.gpus.peak) if budget.gpus else ("A100", A100_PEAK)
    again = f"a quarter of it recompute: {used.model:.1%} model FLOPs" if used.recompute else "no recompute"
    yield f"speed   {used.hardware:.1%} of {name}'s {peak:g} TFLOP/s, {again}"


def _answer(advice: Advice) -> str:
    if not advice.fitting:
        least = advice.presets[0]
        return f"answer  no preset can be trained: {_sized(least)} needs {advice.share(least):,.3g} times the budget"
    best, gpus = advice.fitting[-1], advice.budget.gpus
    share = advice.share(best)
    time = f" in {_days(share * gpus.days)} of the {gpus.days:.4g} days" if gpus else ""
    return f"answer  {_sized(best)} can be trained{time} ({share:.1%} of the budget)"


def _sized(preset: Preset) -> str:
    return f"{preset.name} ({preset.parameters / 1e9:.4g}B parameters) on {short(preset.tokens)} tokens"


def _presets(advice: Advice) -> Iterator[str]:
    budget = advice.budget
    yield f"{'preset':26}{'parameters':>11}{'tokens':>9}{'days' if budget.gpus else 'A100-days':>11}{'of budget':>11}"
    for preset in advice.presets:
        days = budget.days(preset.flops) or budget.a100_days(preset.flops)
        size, share = f"{short(preset.parameters):>11}{short(preset.tokens):>9}", advice.share(preset)
        fits = "fits" if share <= 1 else "too large"
        yield f"{preset.name:26}{size}{_days(days):>11}{_share(share):>11}  {fits}"


def _laws(advice: Advice) -> Iterator[str]:
    yield f"{'all of it, best split by':26}{'parameters':>11}{'tokens':>9}{'each':>11}{'loss':>11}"
    for law, (parameters, tokens, loss) in advice.splits:
        size = f"{short(parameters):>11}{short(tokens):>9}{tokens / parameters:>11.1f}"
        yield f"{law.name:26}{size}{f'{loss:.3f}' if loss else '-':>11}"
    yield "each: tokens for each parameter; Kaplan counts parameters without embeddings"
    yield "loss: nats per token of each paper's own text, not to be compared between papers"


def _days(days: float) -> str:
    return f"{days:,.1f}" if days >= 1 else f"{days:.2g}"


def _share(share: float) -> str:
    return f"{share:.1%}" if share < 10 else f"{share:,.0f} x"
