"""From a document to the steps that see it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from pretrain.config.errors import ConfigError
from pretrain.resilience.skipped import Skipped, add_skipped
from pretrain.served.find import Found, find_documents, found_text
from pretrain.served.open import Served, open_served
from pretrain.served.samples import read_samples, served_in
from tests.served.conftest import MakeRun
from tokenizer import load_tokenizer


def follow(_what: str, items: Iterable[object], *_: object) -> Iterable[object]:
    return items


def find(served: Served, wanted: str) -> list[Found]:
    return list(find_documents(served, [wanted], follow))  # type: ignore[arg-type]


def seen_by_reading(served: Served, tokenizer: Path) -> dict[str, list[tuple[int, int, int]]]:
    """By place of the document: (step, first token, tokens) of every piece of every sample of the run."""
    loaded, seen = load_tokenizer(tokenizer), dict[str, list[tuple[int, int, int]]]()
    for step in range(1, served.total_steps + 1):
        for sample in read_samples(served, served_in(served, step), loaded):
            for shown in sample.pieces:
                piece = shown.piece
                seen.setdefault(piece.place, []).append((step, piece.first, piece.tokens))
    return seen


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train": {"tokens": 400 * 4 * 16}},  # several epochs of both sources
        {
            "train": {"tokens": 150 * 4 * 16},
            "data": {
                "mixture": {"web": 1, "books": 3},
                "stages": [
                    {"from_tokens": 1600, "mixture": {"books": 1}},
                    {"from_tokens": 4800, "mixture": {"web": 1}},
                ],
                "skip": [{"first_sample": 7, "samples": 50}, {"first_sample": 90, "samples": 3}],
            },
        },
        {"batch": {"global_batch_size": 8, "ramp": {"start": 2, "tokens": 1000}}},
    ],
    ids=["plain", "epochs", "stages and skipped", "ramp"],
)
def test_every_document_is_found_where_reading_everything_finds_it(
    make_run: MakeRun, prepared: Path, changes: dict[str, object]
) -> None:
    served = open_served(make_run(**changes))
    seen = seen_by_reading(served, prepared.parent / "tokenizer")
    assert len(seen) > 20
    for source in served.corpus.manifest.sources.values():
        for shard in source.splits["train"].shards:
            for number in range(shard.documents):
                (found,) = find(served, f"{shard.path}:{number}")
                steps = [(one.step, one.first, one.tokens) for one in found.sightings if one.step is not None]
                assert steps == seen.get(f"{shard.path}:{number}", [])


def test_by_id_by_file_and_record_and_nothing(make_run: MakeRun, prepared: Path) -> None:
    served = open_served(make_run())
    (by_id,) = find(served, "web-7")
    (by_record,) = find(served, f"{prepared.parents[1]}/web.jsonl:8")
    assert by_id == by_record and by_id.shard.source == "web"
    assert find(served, "web-60") == [] and find(served, "no: such thing") == []


def test_a_shard_without_that_number_is_refused(make_run: MakeRun) -> None:
    served = open_served(make_run())
    shard = served.corpus.train[1].shards[0]
    with pytest.raises(ConfigError, match=f"has {shard.documents} documents"):
        find(served, f"{shard.path}:{shard.documents}")


def test_held_out_left_out_and_to_come(make_run: MakeRun) -> None:
    directory = make_run(done=(2,))
    served = open_served(directory)
    held_out = served.corpus.validation[0].shards[0].path
    assert "held out for validation" in found_text(served, find(served, f"{held_out}:0")[0])
    steps = {one.step: found for i in range(60) for found in find(served, f"web-{i}") for one in found.sightings}
    assert "  step 2: tokens" in found_text(served, steps[2])
    assert "  step 3, to come: tokens" in found_text(served, steps[3])
    sample = next(one.index for one in steps[3].sightings if one.step == 3)
    add_skipped(Path(directory), Skipped(sample, 1, 4, 0, {}, "spiked"))
    again = open_served(directory)
    text = found_text(again, find(again, f"{steps[3].shard.path}:{steps[3].document}")[0])
    assert f"  left out (skipped): tokens {steps[3].sightings[0].first}" in text or "left out (skipped)" in text
    never = open_served(make_run("short", train={"tokens": 64}))
    texts = [found_text(never, found) for i in range(60) for found in find(never, f"web-{i}")]
    assert any("is not among the 1 steps" in text for text in texts)
