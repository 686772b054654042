"""The names of all numbers that a run writes, as W&B shows them: what an alert may be about."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from pretrain.config.errors import ConfigError, Problem, nearest
from pretrain.config.model import Model
from pretrain.config.run import Run

TRAIN = (
    "tokens", "first_sample", "loss", "z_loss", "grad_norm", "loss_scale", "overflow", "left_out", "learning_rate",
    "batch_tokens", "step_seconds", "data_seconds", "data_bytes", "data_requests", "tokens_per_second", "tflops", "mfu",
    "memory_bytes",
)  # fmt: skip
OTHERS = {
    "validation": ("validation_seconds", "loss", "perplexity", "bits_per_byte"),
    "baseline": ("unigram", "bigram"),
    "checkpoint": ("bytes", "blocked_seconds", "waited_seconds", "write_seconds"),
    "planned": (
        "step_seconds", "measured_step_seconds", "tokens_per_second", "measured_tokens_per_second", "memory_bytes",
        "measured_memory_bytes",
    ),
}  # fmt: skip
PER_SOURCE = ("tokens", "loss", "batch_tokens", "validation/loss", "validation/perplexity", "validation/bits_per_byte")
OF_PART = ("grad_norm", "weight_norm", "update_ratio")
OF_LAYER = ("activation_rms", "activation_max")
OF_BLOCK = ("attention_entropy", "attention_entropy_min", "attention_logit_max", "mlp_zero")
NOISE = ("noise_signal", "noise_variance", "noise_scale_tokens")


def metric_names(model: Model, sources: Collection[str]) -> list[str]:
    """All of them, for a corpus with these sources."""
    others = [f"{kind}/{name}" for kind, names in OTHERS.items() for name in names]
    per_source = [f"{name}/{source}" for name in PER_SOURCE for source in sources]
    return [*TRAIN, *others, *per_source, *(f"inside/{name}" for name in inside_names(model))]


def inside_names(model: Model) -> Iterator[str]:
    """Those of a step that is looked into."""
    blocks = [f"blocks.{layer}" for layer in range(model.layers)]
    ends = ["embedding.tokens", "head.norm"]
    ends += ["embedding.positions"] if model.positions == "learned" else []
    ends += [] if model.tied_embeddings else ["head"]
    parts = ("attention_norm", "attention", *(() if model.parallel_block else ("mlp_norm",)), "mlp")
    inner = [f"{block}.{part}" for block in blocks for part in parts]
    places = {OF_PART: [*ends, *inner], OF_LAYER: ["embedding", *blocks], OF_BLOCK: blocks}
    yield from NOISE
    for names, where in places.items():
        yield from (f"{name}/{place}" for name in names for place in where)


def unknown_metrics(run: Run, sources: Collection[str] | None = None) -> Iterator[Problem]:
    """Alerts about numbers that this run does not write. `sources` None: any may be in the corpus."""
    about = {n: alert.metric for n, alert in enumerate(run.monitoring.alerts) if alert.metric is not None}
    names = metric_names(run.model, sources or ()) if about else []
    for number, metric in about.items():
        field = f"monitoring.alerts.{number}.metric"
        if metric.startswith("inside/") and run.monitoring.inside is None:
            fix = "add monitoring.inside: {every: 100 steps}"
            yield Problem(field, metric, "is written only with monitoring.inside", fix)
        elif not _known(metric, names, sources is None):
            guess = nearest(metric, names)
            fix = f"did you mean {guess!r}?" if guess else "for example loss, grad_norm or validation/loss"
            yield Problem(field, metric, "is no number that this run writes", fix)


def check_alert_sources(run: Run, sources: Collection[str]) -> None:
    """Raises ConfigError for alerts about sources that the corpus does not have."""
    if problems := list(unknown_metrics(run, sources)):
        raise ConfigError(problems)


def _known(metric: str, names: list[str], any_source: bool) -> bool:
    if any(fnmatchcase(name, metric) for name in names):
        return True
    return any_source and any(metric.startswith(f"{name}/") for name in PER_SOURCE)
