"""Two runs: the first step that differs, or the proof that none does."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from pretrain.config.errors import ConfigError
from pretrain.served.compare import agreed_steps, compare
from pretrain.served.open import open_served
from tests.served.conftest import MakeRun, tampered


def follow(_what: str, items: Iterable[tuple[int, bool]], *_: object) -> Iterable[tuple[int, bool]]:
    return items


def words(a: str, b: str) -> tuple[bool, list[str]]:
    compared = compare(open_served(a), open_served(b), follow)
    return compared.same, compared.text.splitlines()


def test_equal_runs_are_proven_equal(make_run: MakeRun) -> None:
    a, b = make_run("a", done=(2, 5)), make_run("b", done=(2, 5, 9), batch={"micro_batch_size": 1})
    same, lines = words(a, b)
    assert same and lines[0] == "the same samples in all of the 5 steps that both have done"
    assert lines[1].startswith("the order hash in the checkpoints of step 5 is ")
    assert (
        words(f"{a}/checkpoints/step-00000002", b)[1][0] == "the same samples in all of the 2 steps that both have done"
    )
    assert words(a, make_run("c"))[1] == ["the same samples in all of the 20 steps that both will do"]


@pytest.mark.parametrize(
    ("changes", "first", "how", "why"),
    [
        ({"train": {"seed": 7}}, 1, "sample 1 of the step: ", "train.seed"),
        ({"data": {"skip": [{"first_sample": 30, "samples": 4}]}}, 8, "sample 3 of the step: ", "data.skip"),
        ({"batch": {"global_batch_size": 8}}, 1, "takes 4 samples in it", "batch"),
        (
            {"data": {"stages": [{"from_tokens": 640, "mixture": {"books": 1}}]}},
            11,
            "sample 2 of the step: ",
            "data.mixture",
        ),
        ({"data": {"mixture": {"web": 1, "books": 1}}}, 1, "sample ", "data.mixture"),
    ],
    ids=["seed", "skipped", "batch", "stage", "mixture"],
)
def test_the_first_step_that_differs(
    make_run: MakeRun, changes: dict[str, dict[str, object]], first: int, how: str, why: str
) -> None:
    a, b = open_served(make_run("a")), open_served(make_run("b", **changes))
    by_hand = next(
        step
        for step in range(1, 21)
        if [part.tolist() for part in a.order.step(step - 1)] != [part.tolist() for part in b.order.step(step - 1)]
    )
    compared = compare(a, b, follow)
    assert not compared.same and by_hand == first
    lines = compared.text.splitlines()
    assert lines[0] == (
        "step 1 differs" if first == 1 else f"steps 1 to {first - 1} are the same, step {first} differs"
    )
    assert how in lines[1]
    assert lines[-1].startswith(f"  {why}: ")


def test_what_plans_say_alike_is_not_looked_at(make_run: MakeRun) -> None:
    a = open_served(make_run("a")).order
    b = open_served(make_run("b", data={"skip": [{"first_sample": 30, "samples": 4}]})).order
    assert agreed_steps(a, a, 20) == 20
    assert agreed_steps(a, b, 20) == 7
    assert agreed_steps(a, b, 5) == 5


def test_a_hash_that_differs_is_no_proof(make_run: MakeRun) -> None:
    a, b = make_run("a", done=(5,)), make_run("b", done=(5,))
    state = tampered(open_served(b), 5)
    (Path(b) / "checkpoints" / "step-00000005" / "state.json").write_bytes(state.encode())
    same, lines = words(a, b)
    assert not same and "one was served something else than its plan says" in lines[1]


def test_corpora_that_differ_are_compared_by_their_tokens(make_run: MakeRun, prepared: Path, tmp_path: Path) -> None:
    """A copy with one token changed: the step that reads it, found by reading."""
    a = make_run("a")
    copy = Path(shutil.copytree(prepared.parent, tmp_path / "copy")) / "manifest.json"
    served = open_served(a)
    shard = served.corpus.train[0].shards[0]
    with (copy.parent / f"{shard.path}.bin").open("r+b") as file:
        file.seek(2 * 40)
        changed = bytes([file.read(1)[0] ^ 1])
        file.seek(2 * 40)
        file.write(changed)
    text = copy.read_text().replace(shard.files[".bin"]["sha256"], "0" * 64)
    copy.write_text(text)
    b = make_run("b", data={"manifest": str(copy)})
    expected = min(
        served.order.plan.step_of(index) + 1
        for position in served.corpus.train[0].samples_with(range(40, 41))
        for index in served.order.indices(0, position, served.samples)
    )
    same, lines = words(a, b)
    assert not same and lines[0] == "the corpora differ: the tokens of the steps are read and compared"
    assert lines[1].endswith(f"step {expected} differs")


def test_what_is_no_run_is_refused(make_run: MakeRun, prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no run\.yaml"):
        open_served(str(tmp_path))
    with pytest.raises(ConfigError, match="must be a file or a name"):
        open_served("nothing")
    path = Path(make_run(done=(3,)))
    copy = Path(shutil.copytree(prepared.parent, tmp_path / "copy")) / "manifest.json"
    copy.write_text(copy.read_text().replace('"sha256": "', '"sha256": "0'))
    plain = yaml.safe_load((path / "run.yaml").read_text())
    (path / "run.yaml").write_text(yaml.safe_dump({**plain, "data": {"manifest": str(copy)}}))
    with pytest.raises(ConfigError, match="is now another corpus"):
        open_served(str(path))
