"""What training reads: once for each tensor group, the same from a URL and from a copy."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pretrain.resilience.attempts import read_attempts
from tests.example import small_run
from tests.processes import finish, start, told, train_processes, train_rows
from tests.remote import upload

LENGTH = 64
STEPS, BATCH = 6, 4


def run_of(corpus: Path | str, directory: Path, **changes: Any) -> dict[str, Any]:
    """A few steps of samples of 64 tokens."""
    settings = {"train": {"tokens": STEPS * BATCH * LENGTH}, "model": {"context": LENGTH, "dropout": 0.0}}
    return small_run(Path(corpus), directory, **settings, data={"manifest": str(corpus)}, **changes)


def note_reads(directory: Path) -> None:
    """Have this rank write down every read of a shard."""
    from pretrain.data.reads import Files

    real = Files.read_into

    def read_into(self: Files, path: Path, buffer: memoryview, offset: int) -> int:
        with open(directory / f"reads-{os.environ['RANK']}.jsonl", "a") as file:
            file.write(json.dumps([path.name, offset, len(buffer)]) + "\n")
        return real(self, path, buffer, offset)

    Files.read_into = read_into  # type: ignore[method-assign]


def reads(directory: Path, rank: int) -> list[list[Any]]:
    path = directory / f"reads-{rank}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("masked", [False, True])
def test_a_tensor_group_reads_each_byte_once(masked: bool, corpus: Path, tmp_path: Path) -> None:
    """Windows of 65 tokens for 64 that are predicted: 1.016 of a step's bytes, whoever else needs them."""
    alone = train_processes(run_of(corpus, tmp_path / "one"), 1, [f"data.document_mask={masked}"])
    changes = ["parallel.tensor=2", f"data.document_mask={masked}"]
    rows = train_processes(run_of(corpus, tmp_path / "two"), 2, changes, before=note_reads)
    assert reads(tmp_path / "two", 1) == []
    mine = [tuple(read) for read in reads(tmp_path / "two", 0)]
    assert len(set(mine)) == len(mine)
    trained = [read for read in mine if "-train-" in read[0]]
    assert sum(size for _, _, size in trained) == STEPS * BATCH * (LENGTH + 1) * 2
    assert train_rows(rows, "data_bytes") == [BATCH * (LENGTH + 1) * 2] * STEPS
    assert sum(train_rows(rows, "data_requests")) == len(trained)
    assert BATCH * (LENGTH + 1) * 2 <= 1.05 * BATCH * LENGTH * 2
    for column in ("loss", "data_bytes", "data_requests", "batch_tokens"):
        assert train_rows(rows, column) == pytest.approx(train_rows(alone, column), abs=1e-5)


def test_both_ends_of_a_pipeline_read(corpus: Path, tmp_path: Path) -> None:
    """The first stage needs the inputs, the last one the targets; tensor ranks still read nothing twice."""
    rows = train_processes(run_of(corpus, tmp_path), 4, ["parallel.tensor=2", "parallel.pipe=2"], before=note_reads)
    assert [bool(reads(tmp_path, rank)) for rank in range(4)] == [True, False, True, False]
    assert train_rows(rows, "data_bytes") == [2 * BATCH * (LENGTH + 1) * 2] * STEPS


def put_into_memory(directory: Path) -> None:
    """The file system in memory is each process's own."""
    upload(directory / "corpus", "memory://training")


def test_a_run_from_a_url(corpus: Path, tmp_path: Path) -> None:
    local = train_processes(run_of(corpus, tmp_path / "local"), 1)
    (tmp_path / "remote").mkdir()
    (tmp_path / "remote" / "corpus").symlink_to(corpus.parent)
    url = "memory://training/manifest.json"
    remote = train_processes(run_of(url, tmp_path / "remote"), 1, before=put_into_memory)
    assert train_rows(remote, "loss") == train_rows(local, "loss")
    assert sum(train_rows(remote, "data_requests")) < sum(train_rows(local, "data_requests"))
    (tokenizer,) = (tmp_path / "remote" / "checkpoints").glob("step-*/tokenizer")
    assert (tokenizer / "tokenizer.json").read_text() == (corpus.parent / "tokenizer" / "tokenizer.json").read_text()


def test_a_staged_run(corpus: Path, tmp_path: Path) -> None:
    """Two processes of one machine: one copies, both read the copy; the next run copies nothing."""
    local = train_processes(run_of(corpus, tmp_path / "local"), 2)
    stage = [f"data.stage={tmp_path / 'scratch'}"]
    staged = train_processes(run_of(corpus, tmp_path / "staged"), 2, stage, before=note_reads)
    assert train_rows(staged, "loss") == train_rows(local, "loss")
    again = train_processes(run_of(corpus, tmp_path / "again"), 2, stage)
    messages = [row["message"] for rows in (staged, again) for row in rows if row["kind"] == "event"]
    one, other = [message for message in messages if message.startswith("staged in")]
    (home,) = (tmp_path / "scratch").iterdir()
    assert home.name.startswith("synthetic-") and str(home) in one
    assert "kB copied in" in one and ": 0B copied in" in other
    assert "staging: " in told(run_of(corpus, tmp_path / "staged"), 0)
    assert "staging: " not in told(run_of(corpus, tmp_path / "staged"), 1)


def test_no_room_is_told_by_every_rank(corpus: Path, tmp_path: Path) -> None:
    run = run_of(corpus, tmp_path / "run")
    codes = finish(
        start(run, 2, [f"data.stage={tmp_path / 'scratch'}", "resilience.health.check=false"], before=no_room)
    )
    assert codes == [2, 2]
    for rank in range(2):
        assert "rule: must have room for" in told(run, rank) and "100B are free" in told(run, rank)
    assert read_attempts(tmp_path / "run")[-1].outcome == "refused"


def no_room(directory: Path) -> None:
    import shutil

    shutil.disk_usage = lambda _: shutil._ntuple_diskusage(1000, 900, 100)  # type: ignore[attr-defined]
