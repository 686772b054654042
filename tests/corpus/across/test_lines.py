"""Repeated lines, by hand."""

from __future__ import annotations

from pathlib import Path

from pretrain.config.across import Lines
from pretrain.corpus.across.lines import split_text
from pretrain.corpus.prepare import prepare
from pretrain.shards.manifest import load_manifest
from tests.corpus.helpers import documents, jsonl, recipe, write_jsonl

MENU = "Home About Contact"
TEXTS = [f"{MENU}\nFirst things first.\nYes", "home, about... CONTACT\nSecond thing.\nYes", f"{MENU}", "Third\n\nthing"]


def prepared(tmp_path: Path, tokenizer: Path, **lines: object) -> tuple[list[str], list[tuple[object, ...]]]:
    path = write_jsonl(tmp_path / "a.jsonl", TEXTS)
    made = recipe(
        tmp_path / "out", tokenizer, {"a": jsonl(path)}, deduplicate={"lines": lines}, order="file", validation=0
    )
    manifest = load_manifest(prepare(made))
    stages = [(s.name, s.documents_in, s.documents_out) for s in manifest.sources["a"].stages]
    return documents(manifest, "a", "train"), stages


def test_the_first_line_stays(tmp_path: Path, tokenizer: Path) -> None:
    """Case and punctuation do not count; the third document has nothing left."""
    texts, stages = prepared(tmp_path, tokenizer)
    assert texts == [TEXTS[0], "Second thing.", "Third\n\nthing"]
    assert stages == [("read", 4, 4), ("length", 4, 4), ("lines", 4, 3), ("deduplicate", 3, 3)]


def test_short_lines_may_repeat(tmp_path: Path, tokenizer: Path) -> None:
    assert prepared(tmp_path, tokenizer, minimum_words=2)[0][1] == "Second thing.\nYes"


def test_paragraphs() -> None:
    assert split_text(Lines(unit="paragraph"), "a\nb\n\nc\n \n\nd") == ["a\nb", "c", "d"]


def test_first_is_by_source_and_record_not_by_hash(tmp_path: Path, tokenizer: Path) -> None:
    """With `order: hash` too, and across files and sources."""
    shared = "The same line stands in each of them."
    texts = [f"{shared}\nown {i}" for i in range(40)]
    one, two = write_jsonl(tmp_path / "a.jsonl", texts[:20]), write_jsonl(tmp_path / "b.jsonl", texts[20:])
    made = recipe(
        tmp_path / "out", tokenizer, {"b": jsonl(two), "a": jsonl(one)}, deduplicate={"lines": {}}, validation=0
    )
    manifest = load_manifest(prepare(made))
    with_line = [text for name in ("a", "b") for text in documents(manifest, name, "train") if shared in text]
    assert with_line == [texts[20]]


def test_what_is_beyond_a_limit_does_not_count(tmp_path: Path, tokenizer: Path) -> None:
    """Its lines stand nowhere, so another source keeps them."""
    line = "This line stands in both."
    first = write_jsonl(tmp_path / "a.jsonl", ["Only this one is within the limit.", line, line])
    second = write_jsonl(tmp_path / "b.jsonl", [f"{line}\nOwn."])
    sources = {"a": jsonl(first, maximum_documents=1), "b": jsonl(second)}
    made = recipe(tmp_path / "out", tokenizer, sources, deduplicate={"lines": {}}, validation=0)
    manifest = load_manifest(prepare(made))
    assert documents(manifest, "b", "train") == [f"{line}\nOwn."]
    stages = [(s.name, s.documents_in, s.documents_out) for s in manifest.sources["a"].stages]
    assert stages[1:] == [("length", 1, 1), ("limit", 1, 1), ("lines", 1, 1), ("deduplicate", 1, 1)]
