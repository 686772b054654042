"""What a run serves, for questions about it: from a run directory, one of its checkpoints, or a YAML that never ran."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pretrain.checkpoint.files import list_checkpoints
from pretrain.checkpoint.state import TrainState, read_state
from pretrain.config.errors import ConfigError
from pretrain.config.load import load_run
from pretrain.config.run import Run
from pretrain.data.dataset import Corpus
from pretrain.data.order import Order
from pretrain.data.plan import DataPlan, Window
from pretrain.resilience.skipped import read_skipped
from pretrain.shards.manifest import load_manifest


@dataclass(frozen=True)
class Served:
    """A run's corpus and order, and how far its newest checkpoint is."""

    name: str
    """As the user called it."""
    run: Run
    corpus: Corpus
    order: Order
    states: tuple[TrainState, ...]
    """Of its checkpoints, newest first; none when it has none."""

    @property
    def steps(self) -> int:
        """Steps done, by the newest checkpoint."""
        return self.states[0].step if self.states else 0

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.order.plan.steps(self.run.train.tokens)

    @property
    def samples(self) -> int:
        """Samples of the order up to the last that the whole run serves."""
        window = self.order.plan.window(range(self.total_steps - 1, self.total_steps))
        return window.first_sample + window.samples


def open_served(path: str) -> Served:
    """Open a run directory, a checkpoint, a name in runs/ or a RUN.yaml. Reads no tokens.

    Raises ConfigError when it is none of these, or its corpus is not the one that the checkpoints were trained on.
    """
    place = next((place for place in (Path(path), Path("runs") / path) if place.is_dir()), None)
    if place is not None and (place / "state.json").is_file():
        return _open(path, load_run(place / "run.yaml"), [place], None)
    if place is not None and (place / "run.yaml").is_file():
        return _open(path, load_run(place / "run.yaml"), list_checkpoints(place / "checkpoints"), place)
    if place is not None:
        fix = "give runs/NAME, runs/NAME/checkpoints/step-00000100 or a RUN.yaml"
        raise ConfigError.of("run", path, "must be a run directory or a checkpoint: it has no run.yaml", fix)
    run = load_run(path)
    directory = Path(run.run_directory)
    return _open(path, run, list_checkpoints(directory / "checkpoints"), directory)


def _open(name: str, run: Run, checkpoints: list[Path], directory: Path | None) -> Served:
    """`directory` None: one checkpoint, whose own plan counts."""
    states = list[TrainState]()
    for checkpoint in checkpoints:
        with suppress(ConfigError):  # a damaged one among others
            states.append(read_state(checkpoint))
    corpus = Corpus(load_manifest(run.data.manifest), run.sequence_length, run.data.document_mask)
    fingerprint = corpus.manifest.fingerprint()
    if states and states[0].manifest_fingerprint != fingerprint:
        rule = f"is now another corpus ({fingerprint}): {name} was trained on {states[0].manifest_fingerprint}"
        raise ConfigError.of("data.manifest", run.data.manifest, rule, "restore the one it was trained on")
    if directory is None:
        plan = DataPlan.from_plain(read_state(checkpoints[0]).plan)
    else:
        rows = read_skipped(directory)
        plan = corpus.plan(run).without(Window(row.first_sample, row.samples) for row in rows)
    return Served(name, run, corpus, corpus.order(plan), tuple(states))
