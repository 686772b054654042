"""From a checked run to everything that the loop needs, on one rank."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pretrain.checkpoint.huggingface.imported import weights_fingerprint
from pretrain.checkpoint.state import TrainState
from pretrain.config.deepspeed import deepspeed_config
from pretrain.config.layout import Layout
from pretrain.config.run import Run
from pretrain.data.dataset import Corpus
from pretrain.data.order import Order
from pretrain.data.plan import DataPlan
from pretrain.model.transformer import Transformer
from pretrain.parallel.apply import parallelize
from pretrain.parallel.engine import make_engine, partitioner, prepare_deepspeed
from pretrain.parallel.mesh import Mesh, make_mesh
from pretrain.parallel.process import World
from pretrain.parallel.runner import Runner, make_runner
from pretrain.shards.manifest import Manifest
from pretrain.training.optimizer import make_optimizer


@dataclass(frozen=True)
class Session:
    """What stays the same from the first step to the last."""

    run: Run
    mesh: Mesh
    corpus: Corpus
    plan: DataPlan
    order: Order
    runner: Runner

    @property
    def world(self) -> World:
        """All processes."""
        return self.mesh.world

    @property
    def engine(self) -> Any:
        """DeepSpeed's engine."""
        return self.runner.engine

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.plan.steps(self.run.train.tokens)

    def micro_batches(self, step: int) -> int:
        """Micro-batches of each data rank in `step`."""
        return self.plan.batch(step)[1] // (self.run.batch.micro_batch_size * self.mesh.layout.data)

    def targets(self, step: int) -> int | None:
        """Target tokens of the global batch of `step`; None where masked documents or padding make them be counted."""
        if self.run.data.document_mask or self.corpus.manifest.packing:
            return None
        return self.plan.batch(step)[1] * self.plan.sequence_length


def open_session(run: Run, manifest: Manifest, world: World) -> Session:
    """Corpus, order, and the model under its engine, at step 0."""
    corpus = Corpus(manifest, run.sequence_length, run.data.document_mask)
    plan = corpus.plan(run)
    mesh = make_mesh(world, run.parallel)
    return Session(run, mesh, corpus, plan, corpus.order(plan), open_runner(run, mesh))


def open_runner(run: Run, mesh: Mesh) -> Runner:
    """The model on the mesh under its engine, at step 0. All ranks call it together."""
    torch.manual_seed(run.train.seed + mesh.world.rank)  # dropout draws from it; weights do not
    with torch.device("meta"):
        whole = Transformer(run.model)
    prepare_deepspeed()
    config = deepspeed_config(run, mesh.world.size)
    model = parallelize(whole, mesh, run, partitioner(config, mesh))
    optimizer = make_optimizer(model, run, mesh.tensor)
    return make_runner(make_engine(model, optimizer, config, mesh), mesh)


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
        model_fingerprint=run.model.fingerprint(),
        layout=saved_layout(session.mesh.layout, run),
        corpus={name: source.splits["train"].tokens for name, source in manifest.sources.items()},
        initial_weights=weights_fingerprint(run.train.initial_weights),
    )


def saved_layout(layout: Layout, run: Run) -> dict[str, Any]:
    """What the engine's files in a checkpoint depend on."""
    parallel = run.parallel
    return {
        **layout._asdict(),
        "schedule": parallel.schedule if layout.pipe > 1 else "",
        "zero": parallel.zero,
        "compute": run.precision.compute,
        "optimizer": run.optimizer.algorithm,
    }


def code_directory() -> Path:
    """Where the project's source lies."""
    return Path(__file__).resolve().parents[2]
