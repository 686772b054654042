"""From documents to shards: what is kept, in which order, and that nothing else matters."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pretrain.config.errors import ConfigError
from pretrain.corpus import spill
from pretrain.corpus.prepare import prepare
from pretrain.corpus.progress import Reporter
from pretrain.corpus.verify import verify
from pretrain.corpus.workspace import locked
from pretrain.shards.manifest import Stage, load_manifest
from pretrain.shards.tokenizer import tokenizer_of
from tests.corpus.helpers import documents, files, jsonl, origins, recipe, texts, write_jsonl
from tokenizer import load_tokenizer


def two_sources(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """300 web documents in three files; 100 book documents, of which 10 are in web and 5 stand twice."""
    web = [write_jsonl(tmp_path / f"web-{i}.jsonl", texts(f"web{i}", 100)) for i in range(3)]
    own = texts("book", 85)
    books = write_jsonl(tmp_path / "books.jsonl", [*own, *texts("web1", 10), *own[:5]])
    return {"web": jsonl(*web, id_field="id", weight="60"), "books": jsonl(books, weight="0.5")}


def test_every_document_once_with_its_origin(tmp_path: Path, tokenizer: Path) -> None:
    path = prepare(recipe(tmp_path / "out", tokenizer, two_sources(tmp_path), validation="5%", shard_size=2000))
    manifest = load_manifest(path)
    web = documents(manifest, "web", "train") + documents(manifest, "web", "validation")
    books = documents(manifest, "books", "train") + documents(manifest, "books", "validation")
    assert Counter(web) == Counter(text for i in range(3) for text in texts(f"web{i}", 100))
    assert Counter(books) == Counter(texts("book", 85))
    assert len(manifest.sources["web"].splits["train"].shards) > 2
    for split in ("train", "validation"):
        for text, origin in zip(documents(manifest, "web", split), origins(manifest, "web", split), strict=True):
            number = int(text.split()[2].rstrip(":"))
            name = text.split()[0].replace("web", "web-")
            assert origin == {
                "source": "web",
                "file": str(tmp_path / f"{name}.jsonl"),
                "record": number + 1,
                "id": f"{name}-{number}",
                "bytes": len(text.encode()),
            }


def test_counts(tmp_path: Path, tokenizer: Path) -> None:
    manifest = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, two_sources(tmp_path), validation="5%")))
    books = manifest.sources["books"]
    size = sum(len(text.encode()) for text in texts("book", 85))
    assert [(stage.name, stage.documents_in, stage.documents_out) for stage in books.stages] == [
        ("read", 100, 100), ("length", 100, 100), ("deduplicate", 100, 85),
    ]  # fmt: skip
    assert books.stages[-1].bytes_out == size == sum(split.text_bytes for split in books.splits.values())
    assert (books.weight, manifest.sources["web"].weight) == ("0.5", "60")
    assert sum(split.documents for split in books.splits.values()) == 85
    assert manifest.tokenizer.fingerprint == load_tokenizer(tokenizer).fingerprint
    assert (manifest.dtype, manifest.appends_end_of_text, manifest.tokenizer.end_of_text) == ("uint16", True, 399)


def test_validation_is_chosen_by_text_alone(tmp_path: Path, tokenizer: Path) -> None:
    """The same text is on the same side wherever it stands, and train and validation share nothing."""
    one = load_manifest(prepare(recipe(tmp_path / "a", tokenizer, two_sources(tmp_path), validation="10%")))
    moved = write_jsonl(tmp_path / "moved.jsonl", reversed(texts("web0", 100)))
    two = load_manifest(prepare(recipe(tmp_path / "b", tokenizer, {"other": jsonl(moved)}, validation="10%")))
    held_out = {text for text in documents(one, "web", "validation") if text.startswith("web0")}
    assert held_out == set(documents(two, "other", "validation"))
    assert 3 <= len(held_out) <= 20
    assert not held_out & set(documents(one, "web", "train"))


@pytest.mark.parametrize(("count", "expected"), [(1, (1, 0)), (2, (1, 1)), (5, (4, 1))])
def test_at_least_one_validation_document(
    count: int, expected: tuple[int, int], tmp_path: Path, tokenizer: Path
) -> None:
    path = write_jsonl(tmp_path / "few.jsonl", texts("few", count))
    manifest = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, {"few": jsonl(path)}, validation="0.001%")))
    assert tuple(manifest.sources["few"].splits[split].documents for split in ("train", "validation")) == expected


def test_no_validation(tmp_path: Path, tokenizer: Path) -> None:
    manifest = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, two_sources(tmp_path), validation=0)))
    assert manifest.sources["web"].splits["validation"].shards == ()
    assert manifest.sources["web"].splits["train"].documents == 300


def test_hash_order_mixes_and_file_order_keeps(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "RUN_BYTES", 5000)  # several runs a file
    monkeypatch.setattr(spill, "BATCH_BYTES", 1000)
    sources = two_sources(tmp_path)
    straight = [text for i in range(3) for text in texts(f"web{i}", 100)]
    kept = load_manifest(
        prepare(recipe(tmp_path / "a", tokenizer, sources, validation=0, order="file", shard_size=2000))
    )
    mixed = load_manifest(prepare(recipe(tmp_path / "b", tokenizer, sources, validation=0, shard_size=2000)))
    assert len(kept.sources["web"].splits["train"].shards) > 2
    assert documents(kept, "web", "train") == straight
    order = documents(mixed, "web", "train")
    assert sorted(order) == sorted(straight)
    neighbours = sum(a.split()[0] == b.split()[0] for a, b in pairwise(order))
    assert 70 <= neighbours <= 130  # a third of the pairs come from one file, as chance has it


def test_the_number_of_workers_never_shows(tmp_path: Path, tokenizer: Path) -> None:
    sources = two_sources(tmp_path)
    train = {"train": {"vocab_size": 512, "sample": "20kB"}}
    for workers in (1, 3):
        prepare(recipe(tmp_path / str(workers), train, sources, shard_size=2000, workers=workers))
    one, three = files(tmp_path / "1"), files(tmp_path / "3")
    assert one.pop("manifest.json") == three.pop("manifest.json").replace(b'/3"', b'/1"')
    assert one == three
    assert "tokenizer/tokenizer.json" in one


def test_small_runs_and_slices_change_nothing(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by constants that do not show in the tokens."""
    from pretrain.corpus import plan
    from pretrain.corpus.across import exact

    sources = two_sources(tmp_path)
    one = load_manifest(prepare(recipe(tmp_path / "a", tokenizer, sources, shard_size=2000)))
    for module, name, value in (
        (spill, "RUN_BYTES", 3000), (spill, "BATCH_BYTES", 500), (plan, "SLICE_BYTES", 2000), (exact, "PARTITION", 7),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    two = load_manifest(prepare(recipe(tmp_path / "b", tokenizer, sources, shard_size=2000)))
    for source in ("web", "books"):
        for split in ("train", "validation"):
            assert documents(two, source, split) == documents(one, source, split)
        assert two.sources[source].stages == one.sources[source].stages


def test_without_deduplication_and_ends(tmp_path: Path, tokenizer: Path) -> None:
    path = write_jsonl(tmp_path / "same.jsonl", ["same text", "same text", "another one"])
    plain = recipe(
        tmp_path / "out", tokenizer, {"same": jsonl(path)}, deduplicate=False, append_end_of_text=False, validation=0
    )
    manifest = load_manifest(prepare(plain))
    assert sorted(documents(manifest, "same", "train")) == ["another one", "same text", "same text"]
    tokens = [len(load_tokenizer(tokenizer).encode(text)) for text in ("same text", "same text", "another one")]
    assert manifest.sources["same"].splits["train"].tokens == sum(tokens)
    assert not manifest.appends_end_of_text


def test_ends_of_text(tmp_path: Path, tokenizer: Path) -> None:
    """One after each document, and none from the text of a document."""
    path = write_jsonl(tmp_path / "a.jsonl", ["one <|endoftext|> two", "three"])
    manifest = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, {"a": jsonl(path)}, validation=0)))
    from pretrain.shards.indexed import IndexedReader

    reader = IndexedReader(manifest.directory / manifest.sources["a"].splits["train"].shards[0].path)
    assert (reader.tokens == 399).sum() == 2
    assert [int(reader[i][-1]) for i in range(2)] == [399, 399]
    assert sorted(documents(manifest, "a", "train")) == ["one <|endoftext|> two", "three"]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [({"maximum_documents": 120}, 120), ({"maximum_documents": 1}, 1), ({"maximum_bytes": 1000}, 6), ({}, 300)],
)
def test_limits_take_the_first_documents(limits: dict[str, int], kept: int, tmp_path: Path, tokenizer: Path) -> None:
    sources = {"web": {**two_sources(tmp_path)["web"], **limits}}
    manifest = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, sources, validation=0)))
    straight = [text for i in range(3) for text in texts(f"web{i}", 100)]
    assert sorted(documents(manifest, "web", "train")) == sorted(straight[:kept])
    if "maximum_bytes" in limits:
        assert (
            sum(len(t.encode()) for t in straight[:kept]) <= 1000 < sum(len(t.encode()) for t in straight[: kept + 1])
        )


def test_short_documents_are_dropped(tmp_path: Path, tokenizer: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["", "abc", "abcd", "한국"])
    source = jsonl(path, minimum_bytes=4)
    manifest = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, {"a": source}, validation=0)))
    assert sorted(documents(manifest, "a", "train")) == ["abcd", "한국"]
    assert manifest.sources["a"].stages[1] == Stage("length", {"minimum_bytes": 4}, 4, 2, 13, 10)


def test_a_second_call_does_nothing(tmp_path: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = two_sources(tmp_path)
    one = recipe(tmp_path / "out", tokenizer, sources)
    prepare(one)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    prepare(one.model_copy(update={"workers": 2}), Reporter())
    assert "is up to date" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}


def test_other_weights_touch_manifest_and_report_alone(tmp_path: Path, tokenizer: Path) -> None:
    sources = two_sources(tmp_path)
    one = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, sources)))
    sources["web"] = {**sources["web"], "weight": "1.25"}
    before = files(one.directory)
    two = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, sources)))
    assert two.sources["web"] == replace(one.sources["web"], weight="1.25")
    assert (two.recipe["sources"]["web"]["weight"], two.prepared_from) == (1.25, one.prepared_from)
    assert two.fingerprint() == one.fingerprint()
    after = files(two.directory)
    assert {name for name in before | after if before[name] != after[name]} == {"manifest.json", "report.html"}


def test_a_changed_input_is_made_anew(tmp_path: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = two_sources(tmp_path)
    one = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, sources)))
    write_jsonl(tmp_path / "books.jsonl", texts("novel", 20))
    two = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, sources), Reporter()))
    assert "holds another corpus" in capsys.readouterr().err
    assert two.prepared_from != one.prepared_from
    assert {text.split()[0] for text in documents(two, "books", "train")} == {"novel"}
    assert [path.name for path in (tmp_path / "out").glob("data-*")] == [f"data-{two.prepared_from}"]


def test_a_damaged_corpus_is_made_anew(tmp_path: Path, tokenizer: Path) -> None:
    one = recipe(tmp_path / "out", tokenizer, two_sources(tmp_path))
    before = load_manifest(prepare(one))
    next((tmp_path / "out").rglob("*.bin")).write_bytes(b"")
    assert load_manifest(prepare(one)) == before


def test_two_at_once_are_refused(tmp_path: Path, tokenizer: Path) -> None:
    with locked(tmp_path / "out"), pytest.raises(ConfigError, match="is being prepared by another process"):
        prepare(recipe(tmp_path / "out", tokenizer, two_sources(tmp_path)))


def test_shards_are_bounded(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pretrain.corpus import plan

    monkeypatch.setattr(plan, "MAXIMUM_SHARDS", 3)
    manifest = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, two_sources(tmp_path), shard_size=1000)))
    assert [len(source.splits["train"].shards) for source in manifest.sources.values()] == [3, 3]
    assert sum(source.splits["train"].tokens for source in manifest.sources.values()) > 10_000


def test_the_order_of_sources_is_part_of_the_recipe(tmp_path: Path, tokenizer: Path) -> None:
    """It says whose copy of a document stays."""
    one, two = (jsonl(write_jsonl(tmp_path / f"{name}.jsonl", [*texts("same", 9), name])) for name in "ab")
    first = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, {"a": one, "b": two}, validation=0)))
    assert (first.sources["a"].splits["train"].documents, first.sources["b"].splits["train"].documents) == (10, 1)
    second = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, {"b": two, "a": one}, validation=0)))
    assert (second.sources["a"].splits["train"].documents, second.sources["b"].splits["train"].documents) == (1, 10)


def test_trains_a_sentencepiece_tokenizer(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [f"{text} {n**5:x}" for n, text in enumerate(texts("web", 200))])
    training = {"vocab_size": 600, "algorithm": "sentencepiece-unigram", "special_tokens": ["<|pad|>"]}
    folders = [
        prepare(recipe(tmp_path / n, {"train": training}, {"a": jsonl(path)}, workers=w))
        for n, w in (("a", 1), ("b", 2))
    ]
    manifests = [load_manifest(folder) for folder in folders]
    assert manifests[0].fingerprint() == manifests[1].fingerprint() and not verify(folders[0])
    tokenizer = tokenizer_of(manifests[0])
    assert (tokenizer.vocab_size, tokenizer.backend.name) == (600, "sentencepiece")
    assert (tmp_path / "a" / "tokenizer" / "tokenizer.model").read_bytes() == (
        tmp_path / "b" / "tokenizer" / "tokenizer.model"
    ).read_bytes()
