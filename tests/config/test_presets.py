"""Every preset's run: the values of its paper, literally, on a number of processes for which all rules hold."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from pretrain.config.auto import choose_layout
from pretrain.config.constraints import check_run
from pretrain.config.counts import parameter_count
from pretrain.config.load import CONFIGS, load_run
from pretrain.config.run import Run

BILLION = 10**9


class Paper(NamedTuple):
    """What a paper says; sizes in tokens."""

    batch: int
    learning_rate: float
    tokens: int
    warmup: int
    decay: int
    ramp: int
    """Over which the batch grows from 32,768 tokens; 0: it does not."""
    processes: int
    """That the file names."""


def gpt3(samples: int, learning_rate: float, ramp: int, processes: int) -> Paper:
    """Brown et al. 2020, Table 2.1 and Appendix B."""
    return Paper(
        samples * 2048, learning_rate, 300 * BILLION, 375_000_000, 260 * BILLION, ramp * BILLION, processes
    )  # fmt: skip


def llama(learning_rate: float, tokens: int, processes: int) -> Paper:
    """Touvron et al. 2023, Table 2 and section 2.3: 2,000 steps of warm-up."""
    return Paper(4_194_304, learning_rate, tokens, 8_388_608_000, tokens, 0, processes)


PAPERS = {
    "gpt3-125m": gpt3(256, 6.0e-4, 4, 8),
    "gpt3-350m": gpt3(256, 3.0e-4, 4, 8),
    "gpt3-760m": gpt3(256, 2.5e-4, 4, 8),
    "gpt3-1.3b": gpt3(512, 2.0e-4, 4, 64),
    "gpt3-2.7b": gpt3(512, 1.6e-4, 4, 64),
    "gpt3-6.7b": gpt3(1024, 1.2e-4, 8, 64),
    "gpt3-13b": gpt3(1024, 1.0e-4, 8, 128),
    "gpt3-175b": gpt3(1536, 0.6e-4, 12, 1024),
    "llama-7b": llama(3.0e-4, 10**12, 64),
    "llama-13b": llama(3.0e-4, 10**12, 128),
    "llama-33b": llama(1.5e-4, 14 * 10**11, 512),
    "llama-65b": llama(1.5e-4, 14 * 10**11, 2048),
    # Radford et al. 2019 print the batch of 512 x 1,024 alone, Kim et al. 2021 also the learning rate and the length
    "gpt2-1.5b": Paper(524_288, 2.0e-4, 40 * BILLION, 375_000_000, 40 * BILLION, 0, 32),
    "hyperclova-204b": Paper(2_097_152, 0.6e-4, 300 * BILLION, 375_000_000, 300 * BILLION, 0, 1024),
}


def published(run: Run, processes: int) -> Paper:
    """What a run's file says."""
    length, ramp = run.sequence_length, run.batch.ramp
    if ramp is not None:
        assert ramp.start.samples(length) * length == 32_768
    return Paper(
        run.batch.global_batch_size.samples(length) * length,
        run.optimizer.learning_rate,
        run.train.tokens,
        run.schedule.warmup,
        run.schedule.decay or run.train.tokens,
        ramp.tokens if ramp else 0,
        processes,
    )


@pytest.mark.parametrize("name", PAPERS)
def test_the_values_are_the_papers(name: str) -> None:
    run = load_run(name)
    assert published(run, PAPERS[name].processes) == PAPERS[name]
    assert run.name == name and run.model == load_run("quickstart", [f"model={name}"]).model
    adam = run.optimizer
    assert (adam.name, adam.betas, adam.epsilon, adam.weight_decay, adam.clip) == ("adamw", (0.9, 0.95), 1e-8, 0.1, 1.0)
    assert (run.schedule.name, run.schedule.min_ratio) == ("cosine", 0.1)


@pytest.mark.parametrize("name", PAPERS)
def test_it_is_valid_on_the_processes_it_names(name: str) -> None:
    processes = PAPERS[name].processes
    check_run(choose_layout(load_run(name), processes, 8), processes, 8)
    assert f"On {processes:,} GPUs" in _head(name).replace("Runs on", "On")


def test_every_preset_has_a_run() -> None:
    presets = {path.stem for path in (CONFIGS / "models").glob("*.yaml")} - {"tiny"}
    assert presets == PAPERS.keys()
    assert {path.stem for path in (CONFIGS / "runs").glob("*.yaml")} - {"quickstart"} >= presets


@pytest.mark.parametrize("name", PAPERS)
def test_a_value_has_one_home(name: str) -> None:
    """The model's file has its shape and points at the run for the rest."""
    model = (CONFIGS / "models" / f"{name}.yaml").read_text()
    assert f"configs/runs/{name}.yaml" in model and "learning rate" not in model


def _head(name: str) -> str:
    text = Path(CONFIGS / "runs" / f"{name}.yaml").read_text()
    return " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))


def table_row(name: str) -> str:
    """A line of docs/models.md, from the files."""
    run = load_run(name, [] if name != "hyperclova-204b" else ["model.vocab_size=51200"])
    said, model = published(run, 0), run.model
    shape = f"{parameter_count(model).total:,} | {model.layers} | {model.d_model} | {model.heads}"
    rate = f"{said.learning_rate / 1e-4:.1f}e-4"
    return f"| {name} | {shape} | {said.batch:,} | {rate} | {said.warmup:,} | {said.decay:,} | {said.tokens:,} |"


def test_the_page_shows_the_files() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith(tuple(f"| {name} |" for name in PAPERS))]
    assert rows == [table_row(name) for name in PAPERS]
