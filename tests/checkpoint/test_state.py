"""state.json: formats of before are read."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import orjson
import pytest

from pretrain.checkpoint.state import FORMAT_VERSION, GONE, TrainState, check_same, read_state
from pretrain.config.errors import ConfigError
from pretrain.data.plan import DataPlan, Phase, Stage

PLAN = DataPlan(1, 16, ("web",), (Phase(0, 0, 4),), (Stage(0, (1,)),))

LAYOUT = {"pipe": 1, "optimizer": "muon"}
STATE = TrainState("id", 5, 20, 320, "ab", {}, "p", "m", "t", "o", LAYOUT, {"web": 900}, {"web": 300}, {"left_out": 2})


def written(folder: Path, version: int, *without: str) -> Path:
    plain = {name: value for name, value in asdict(STATE).items() if name not in without}
    (folder / "state.json").write_bytes(orjson.dumps({**plain, "format_version": version}))
    return folder


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(STATE.encode())
    assert read_state(tmp_path) == STATE and STATE.updates == 3


def test_formats_of_before(tmp_path: Path) -> None:
    fourth = read_state(written(tmp_path, 4, "initial_weights"))
    assert (fourth.initial_weights, fourth.served, fourth.format_version) == ("", {"web": 300}, FORMAT_VERSION)
    third = read_state(written(tmp_path, 3, "corpus", "served", "initial_weights"))
    assert (third.served, third.spikes, third.format_version) == ({}, {"left_out": 2}, FORMAT_VERSION)
    second = read_state(written(tmp_path, 2, "corpus", "served", "spikes", "initial_weights"))
    assert (second.served, second.spikes, second.step) == ({}, {}, 5)


def test_a_checkpoint_that_names_no_optimizer_is_adamws(tmp_path: Path) -> None:
    old = replace(STATE, layout={"pipe": 1})
    (tmp_path / "state.json").write_bytes(old.encode())
    assert read_state(tmp_path).layout == {"pipe": 1, "optimizer": "adamw"}


def test_another_optimizer_is_refused(tmp_path: Path) -> None:
    state = replace(STATE, plan=PLAN.plain())
    with pytest.raises(ConfigError, match="was trained with muon, whose moments mean nothing to adamw"):
        check_same(state, replace(state, layout={"pipe": 1, "optimizer": "adamw"}), tmp_path)


@pytest.mark.parametrize(("version", "without"), [(1, ()), (99, ()), (FORMAT_VERSION, ("served",))])
def test_others_are_refused(tmp_path: Path, version: int, without: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=f"has format {version}, this version reads {FORMAT_VERSION}"):
        read_state(written(tmp_path, version, *without))


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"web": 800}, "web 900 and 800 tokens"),
        ({"books": 5}, "web 900 and not there tokens; books not there and 5 tokens"),
        ({"web": 900}, "as many tokens of each source, but not the same"),
    ],
)
def test_another_corpus_is_refused_with_what_changed(tmp_path: Path, now: dict[str, int], words: str) -> None:
    state = replace(STATE, plan=PLAN.plain())
    with pytest.raises(ConfigError, match=f"another corpus, then and now: {words}"):
        check_same(state, replace(state, manifest_fingerprint="other", corpus=now), tmp_path)
    check_same(state, state, tmp_path)


def test_another_tokenizer_is_refused_naming_both(tmp_path: Path) -> None:
    state = replace(STATE, plan=PLAN.plain())
    words = "tokenizer_fingerprint = 't'\n +rule: was trained with another tokenizer; the corpus now has u"
    with pytest.raises(ConfigError, match=words):
        check_same(state, replace(state, tokenizer_fingerprint="u"), tmp_path)


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        ("ab", "cd", r"began with imported weights \(ab\), the run says that it does with imported weights \(cd\)"),
        ("ab", "", "the run says that it does with weights drawn from its seed"),
        ("", "ab", "began with weights drawn from its seed"),
        ("", GONE, "began with weights drawn from its seed"),
    ],
)
def test_other_initial_weights_are_refused(tmp_path: Path, then: str, now: str, words: str) -> None:
    """Those that are not there any more are not needed."""
    state = replace(STATE, plan=PLAN.plain(), initial_weights=then)
    with pytest.raises(ConfigError, match=words):
        check_same(state, replace(state, initial_weights=now), tmp_path)
    check_same(state, state, tmp_path)
    check_same(replace(state, initial_weights="ab"), replace(state, initial_weights=GONE), tmp_path)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be a checkpoint"):
        read_state(tmp_path)
