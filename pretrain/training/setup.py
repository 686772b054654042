"""From a checked run to everything that the loop needs, on one rank."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pretrain.checkpoint.state import TrainState
from pretrain.config.deepspeed import deepspeed_config
from pretrain.config.run import Run
from pretrain.data.dataset import Corpus
from pretrain.data.order import Order
from pretrain.data.plan import DataPlan
from pretrain.model.init import initialize
from pretrain.model.transformer import Transformer
from pretrain.parallel.process import World
from pretrain.parallel.zero import make_engine
from pretrain.shards.manifest import Manifest
from pretrain.training.optimizer import make_optimizer


@dataclass(frozen=True)
class Session:
    """What stays the same from the first step to the last."""

    run: Run
    world: World
    corpus: Corpus
    plan: DataPlan
    order: Order
    engine: Any

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.plan.steps(self.run.train.tokens)

    def micro_batches(self, step: int) -> int:
        """Micro-batches of each rank in `step`."""
        return self.plan.batch(step)[1] // (self.run.batch.micro_batch_size * self.world.size)


def open_session(run: Run, manifest: Manifest, world: World) -> Session:
    """Corpus, order, and the model under its engine, at step 0."""
    corpus = Corpus(manifest, run.sequence_length, run.data.document_mask)
    plan = corpus.plan(run)
    torch.manual_seed(run.train.seed + world.rank)  # dropout draws from it; weights do not
    with torch.device("meta"):
        model = Transformer(run.model)
    initialize(model, run.model, run.train.seed, device=str(world.device))
    optimizer = make_optimizer(model, run.optimizer, world.device)
    engine = make_engine(model, optimizer, deepspeed_config(run, world.size), world)
    return Session(run, world, corpus, plan, corpus.order(plan), engine)


def first_state(session: Session, run_id: str) -> TrainState:
    """Where the run stands before its first step."""
    run, manifest, plan = session.run, session.corpus.manifest, session.plan
    return TrainState(
        run_id=run_id,
        step=0,
        samples=0,
        tokens=0,
        order_hash="",
        plan=plan.plain(),
        plan_fingerprint=plan.fingerprint(),
        manifest_fingerprint=manifest.fingerprint(),
        tokenizer_fingerprint=manifest.tokenizer.fingerprint,
        model_fingerprint=run.model.model_copy(update={"attention": "auto"}).fingerprint(),
        layout={"processes": session.world.size, "zero": run.parallel.zero, "compute": run.precision.compute},
    )


def code_directory() -> Path:
    """Where the project's source lies."""
    return Path(__file__).resolve().parents[2]
