"""Texts from the checkpoints of a run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from pretrain.config.errors import ConfigError
from pretrain.training import samples
from pretrain.training.samples import write_samples


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Checkpoints of steps 1 to 3, of which the second is damaged; models that write their step."""

    def load(path: str) -> tuple[Any, Any]:
        if path.endswith("2"):
            raise ConfigError.of("checkpoint", path, "is damaged", "use an earlier one")
        return path[-1], None

    def state(path: Path) -> Any:
        return type("State", (), {"step": int(path.name[-1]), "tokens": 64 * int(path.name[-1])})

    def text(model: Any, _tokenizer: Any, prompt: str, *_: Any) -> list[str]:
        return [prompt.upper(), model]

    for name, made in (("load_model", load), ("read_state", state), ("stream_text", text)):
        monkeypatch.setattr(samples, name, made)
    for step in (1, 2, 3):
        folder = tmp_path / "checkpoints" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        (folder / "files.json").touch()
    return tmp_path


def texts(run: Path) -> list[tuple[int, int, str, str]]:
    rows = map(orjson.loads, (run / "samples.jsonl").read_bytes().splitlines())
    return [(row["step"], row["tokens"], row["prompt"], row["text"]) for row in rows]


def test_oldest_first_and_damaged_ones_are_told(run: Path) -> None:
    told: list[str] = []
    write_samples(run, ["a", "b"], told.append)
    assert texts(run) == [(1, 64, "a", "A1"), (1, 64, "b", "B1"), (3, 192, "a", "A3"), (3, 192, "b", "B3")]
    assert told == [
        "samples from step-00000001",
        "no samples from step-00000002: is damaged",
        "samples from step-00000003",
    ]


def test_what_checkpoints_wrote_that_are_gone_stays(run: Path) -> None:
    write_samples(run, ["a"], lambda _: None)
    shutil.rmtree(run / "checkpoints" / "step-00000001")
    (run / "samples.jsonl").write_bytes((run / "samples.jsonl").read_bytes().rstrip(b"\n"))
    write_samples(run, None, lambda _: None)
    assert texts(run)[:2] == [(1, 64, "a", "A1"), (3, 192, "a", "A3")]
    assert [row[2] for row in texts(run)[2:]] == list(samples.PROMPTS)
