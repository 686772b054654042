"""Real profiles of a small run: one process, a tensor pair, a pipeline."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pretrain.profiling.ranges import PARTS
from tests.example import small_run
from tests.processes import finish, start, told


def profile(path: str, overrides: list[str]) -> None:
    """In the process: `pretrain profile`."""
    from pretrain.entry import or_exit
    from pretrain.profiling import start

    or_exit(lambda: start.profile(path, overrides, start.Asked(steps=2, warmup=2, shapes=True)))


def profiled(run: dict[str, Any], size: int) -> tuple[dict[str, Any], Path]:
    """What `pretrain profile` found, and where it lies."""
    codes = finish(start(run, size, work=profile))
    assert codes == [0] * size, "\n".join(told(run, rank) for rank in range(size))
    directory = Path(run["directory"]) / "profile"
    return json.loads((directory / "profile.json").read_text()), directory


def trace(directory: Path, rank: int) -> list[dict[str, Any]]:
    """The events of a rank."""
    with gzip.open(directory / f"trace-rank{rank}.json.gz") as file:
        return json.load(file)["traceEvents"]  # type: ignore[no-any-return]


def check(found: dict[str, Any], directory: Path, ranks: int) -> None:
    """Traces have the ranges, and the parts of each step add up to what the trace says that it took."""
    assert len(found["splits"]) == ranks
    for rank, splits in enumerate(found["splits"]):
        events = trace(directory, rank)
        assert {*PARTS, "step 3", "step 4"} <= {event["name"] for event in events}
        took = {event["name"]: event["dur"] * 1e-6 for event in events if event["name"].startswith("step ")}
        assert [sum(split.values()) for split in splits] == pytest.approx([took["step 3"], took["step 4"]], abs=1e-5)
        for split in splits:
            assert min(split[part] for part in ("forward", "backward", "optimizer")) > 0.01 * sum(split.values())


def test_one_process(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path)
    found, directory = profiled(run, 1)
    check(found, directory, 1)
    assert found["steps"] == [3, 4] and found["total_steps"] == 20 and found["device"] == "cpu"
    operators = {(one["name"], one["shapes"]): one["calls"] for one in found["operators"]}
    # two steps of two micro-batches through two layers: q, k and v of 2 x 16 tokens from 32 to 96 columns
    assert operators["aten::addmm", "[[96], [32, 32], [32, 96], [], []]"] == 2 * 2 * 2
    assert "aten::mm" in {name for name, _ in operators}
    assert {"embedding", "blocks.0", "blocks.1", "head"} <= {event["name"] for event in trace(directory, 0)}
    assert found["peak_bytes"][0] > 100e6
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"asked.yaml", "rank-0.txt", "profile"}, "nothing of the run is touched"


@pytest.mark.parametrize("axis", ["tensor", "pipe"])
def test_two_processes(corpus: Path, tmp_path: Path, axis: str) -> None:
    run = small_run(corpus, tmp_path, parallel={axis: 2})
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "trace-rank7.json.gz").write_text("of an earlier profile")
    found, directory = profiled(run, 2)
    check(found, directory, 2)
    for rank in found["splits"]:
        assert all(split["communication"] > 0 for split in rank)
    assert sorted(path.name for path in directory.glob("trace-*")) == ["trace-rank0.json.gz", "trace-rank1.json.gz"]
    assert "(rank 1)" in told(run) and told(run, 1).count("profiled") == 0, "rank 0 prints"
    assert "rank 1, step 4</text>" in (directory / "profile.html").read_text()
