"""The schema of a run: everything that one YAML says, typed, with a doc line under each field."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from pretrain.config.checkpoint import Checkpoint
from pretrain.config.cluster import Cluster
from pretrain.config.model import Model
from pretrain.config.monitoring import Monitoring
from pretrain.config.optimizer import Optimizer
from pretrain.config.parallel import Parallel
from pretrain.config.precision import Precision
from pretrain.config.resilience import Resilience
from pretrain.config.schedule import Schedule
from pretrain.config.section import Section
from pretrain.config.units import Count, Every, Size, Tokens


def _weight(value: object) -> Decimal:
    try:
        weight = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("must be a number, such as 60 or 0.6") from None
    if not weight.is_finite() or weight < 0:
        raise ValueError("must not be negative")
    return weight


Weight = Annotated[
    Decimal,
    BeforeValidator(_weight),
    PlainSerializer(lambda weight: float(weight) if weight % 1 else int(weight)),
    WithJsonSchema({"type": "number", "minimum": 0}),
]
"""A share of training tokens, kept as the decimal that was written so that apportionment is exact."""

Mixture = dict[str, Weight]


class Train(Section):
    """How long, on which objective, from which seed, and when to look at the validation loss."""

    tokens: Tokens = Field(ge=1)
    """The run ends with the first step at which this many tokens have been seen."""
    seed: int = Field(1234, ge=0, lt=2**63)
    """Seed of initial weights, data order and dropout."""
    initial_weights: str | None = None
    """Directory that `pretrain import` wrote: the weights before the first step, with `model: DIR/model.yaml`. Not
    needed any more once there is a checkpoint. None: weights are drawn from the seed."""
    z_loss: float = Field(0.0, ge=0, le=1)
    """Weight of log(Z)^2 beside the cross-entropy, Z the sum of a token's exponentials: keeps logits near 0. PaLM has
    1e-4 (Chowdhery et al. 2022, section 5). `loss` in the metrics stays the cross-entropy."""
    compile: bool = False
    """Compile each block with torch.compile at the first step. Needs a C++ compiler where it trains (a GPU: Triton)."""
    validate_every: Every | None = None
    """How often the validation loss is computed; it always is at the end. None: only at the end."""
    validation_tokens: Tokens = Field(1_000_000, ge=1)
    """Validation tokens per source, from the start of its validation split."""
    ngram_baselines: bool = False
    """Count unigrams and bigrams on the tokens of this run and print their validation loss: lines to beat."""


class WeightStage(Section):
    """From a point of the run on, another mixture."""

    from_tokens: Tokens = Field(ge=0)
    """Where in the order this mixture begins, in tokens; whole samples. Skipped windows count."""
    mixture: Mixture
    """Share of training tokens per source; normalised."""


class SkippedWindow(Section):
    """Samples of the order that are never served, such as those around a loss spike."""

    first_sample: int = Field(ge=0)
    """Index in the order; each training row of metrics.jsonl has the `first_sample` of its batch."""
    samples: int = Field(ge=1)
    """How many to leave out."""


class Data(Section):
    """Which tokens are served, in which shares."""

    manifest: str
    """Path or URL (s3://..., gs://...) of the manifest.json that `pretrain corpus prepare` wrote."""
    stage: str | None = None
    """Directory on a disk of each machine to which the shards are copied before the first step. None: read where they
    lie."""
    sequence_length: Count | None = Field(None, ge=1)
    """T, tokens that a sample predicts. Default: model.context."""
    mixture: Mixture | None = None
    """Share of training tokens per source (normalised). Default: the weights of the manifest."""
    stages: tuple[WeightStage, ...] = ()
    """Later mixtures, in order."""
    skip: tuple[SkippedWindow, ...] = ()
    """Windows of the order that are left out."""
    max_epochs: float | None = Field(None, gt=0)
    """Refuse a run that goes through any source more often. Up to 4 times is about as good as new text (Muennighoff
    et al. 2023); None: only warned of."""
    document_mask: bool = False
    """Keep attention and positions inside each document; its first token is then predicted by nothing."""
    prefetch: int = Field(4, ge=0)
    """Micro-batches read ahead in the background; 0 reads in the foreground. Never changes the order."""


class Ramp(Section):
    """Batch ramp (Brown et al. 2020, Appendix B): small batches first, equal increments."""

    start: Size
    """The first global batch."""
    increment: Size | None = None
    """Added at each step of the ramp. Default: start."""
    tokens: Tokens = Field(ge=1)
    """The full batch is reached after about this many tokens."""


class Batch(Section):
    """Samples per optimizer step."""

    global_batch_size: Size
    """Samples (or tokens: `0.5Mi`, `524288 tokens`) per optimizer step, over all processes."""
    micro_batch_size: int = Field(1, ge=1)
    """Samples per forward pass of one data-parallel rank. Never changes the loss."""
    ramp: Ramp | None = None
    """Smaller batches at the start."""


class Run(Section):
    """One training run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names the run and its directory."""
    directory: str | None = None
    """Run directory. Default: runs/<name>."""
    train: Train
    """Length, seed, validation."""
    model: Model
    """The transformer: a preset's name, or its fields."""
    data: Data
    """The corpus and its mixture."""
    tokenizer: str | None = None
    """Tokenizer directory; must be the manifest's. Default: the manifest's own copy."""
    batch: Batch
    """Samples per step."""
    optimizer: Optimizer
    """Update rule."""
    schedule: Schedule = Schedule()
    """How the learning rate rises and falls."""
    precision: Precision = Precision()
    """Of weights and activations."""
    parallel: Parallel = Parallel()
    """Layout over processes."""
    checkpoint: Checkpoint = Checkpoint()
    """Saving."""
    monitoring: Monitoring = Monitoring()
    """Metrics."""
    resilience: Resilience = Resilience()
    """Hangs, restarts and what else goes wrong."""
    cluster: Cluster = Cluster()
    """Where it is launched: the name of a file in configs/clusters/, or its fields."""
    deepspeed: dict[str, Any] = Field(default_factory=dict)
    """Added to the derived DeepSpeed JSON; may not contradict it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.sequence_length > self.model.context:
            raise ValueError(
                f"data.sequence_length ({self.sequence_length}) must not exceed model.context ({self.model.context})"
                f"; fix: data.sequence_length: {self.model.context}"
            )
        return self

    @property
    def sequence_length(self) -> int:
        """T, tokens that a sample predicts."""
        return self.data.sequence_length or self.model.context

    @property
    def run_directory(self) -> str:
        """Where the run lives."""
        return self.directory or f"runs/{self.name}"
