"""Texts of benchmarks: what counts as a match, and what is cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pretrain.config.errors import ConfigError
from pretrain.corpus.prepare import prepare
from pretrain.shards.manifest import load_manifest
from tests.corpus.helpers import documents, jsonl, recipe, write_jsonl

QUESTION = "Which of these thirteen different words can a model have seen before the examination begins today"
"""16 words, so four 13-grams."""


def prose(name: str, words: int) -> str:
    return " ".join(f"{name}{i}" for i in range(words))


def prepared(
    tmp_path: Path, tokenizer: Path, texts: list[str], **config: Any
) -> tuple[list[str], list[dict[str, Any]], Any]:
    """Kept documents, the list of hits, the stage."""
    tmp_path.mkdir(exist_ok=True)
    evaluation = tmp_path / "eval.jsonl"
    example = {"id": 7, "question": QUESTION, "choices": ["short"]}
    evaluation.write_text(json.dumps(example) + "\n" + json.dumps({"question": "too short"}) + "\n")
    path = write_jsonl(tmp_path / "a.jsonl", texts)
    made = recipe(
        tmp_path / "out", tokenizer, {"a": jsonl(path, id_field="id")}, order="file", validation=0,
        decontaminate={"files": str(evaluation), **config},
    )  # fmt: skip
    manifest = load_manifest(prepare(made))
    rows = [json.loads(line) for line in (tmp_path / "out" / "contamination.jsonl").read_text().splitlines()]
    return documents(manifest, "a", "train"), rows, manifest.sources["a"].stages[-1]


def test_a_match_is_cut_out_with_200_characters_on_each_side(tmp_path: Path, tokenizer: Path) -> None:
    before, after = prose("b", 120), prose("a", 120)
    clean = prose("c", 50)
    text = f"{before} {QUESTION.upper().replace(' ', ', ')}! {after}"
    texts, rows, stage = prepared(tmp_path, tokenizer, [text, clean])
    begin = text.index("WHICH")
    end = text.index("TODAY") + len("TODAY")
    assert texts == [clean, text[: begin - 200].strip(), text[end + 200 :].strip()]
    assert [(row["id"], row["example"][-12:], row["ngrams"], row["pieces"]) for row in rows] == [
        ("a-0", "eval.jsonl:1", 4, 2)
    ]
    assert (stage.documents_in, stage.documents_out) == (2, 3)


def test_twelve_words_are_no_match(tmp_path: Path, tokenizer: Path) -> None:
    text = " ".join(QUESTION.split()[:12]) + " " + prose("a", 50)
    texts, rows, _ = prepared(tmp_path, tokenizer, [text])
    assert texts == [text] and rows == []


def test_what_many_documents_hold_is_no_match(tmp_path: Path, tokenizer: Path) -> None:
    texts = [f"{prose(f'n{i}x', 20)} {QUESTION}" for i in range(4)]
    assert prepared(tmp_path / "common", tokenizer, texts, maximum_documents=3)[0] == texts
    kept, rows, _ = prepared(tmp_path / "match", tokenizer, [*texts, "left"], maximum_documents=4)
    assert kept == ["left"] and len(rows) == 4


def test_documents_in_too_many_pieces_are_dropped(tmp_path: Path, tokenizer: Path) -> None:
    text = "".join(f"{prose(f'p{i}x', 120)} {QUESTION} " for i in range(3)) + prose("end", 120)
    assert len(prepared(tmp_path / "four", tokenizer, [text, "left"], maximum_pieces=4)[0]) == 5
    assert prepared(tmp_path / "three", tokenizer, [text, "left"], maximum_pieces=3)[0] == ["left"]
    assert prepared(tmp_path / "drop", tokenizer, [text, "left"], action="drop")[0] == ["left"]


def test_windows_are_characters_not_bytes(tmp_path: Path, tokenizer: Path) -> None:
    before = "한국어 " * 150
    texts, _, _ = prepared(tmp_path, tokenizer, [f"{before}{QUESTION} end", "left"])
    assert texts == ["left", before[: len(before) - 200].strip()]


def test_pieces_stay_on_one_side_of_the_validation(tmp_path: Path, tokenizer: Path) -> None:
    texts = [f"{prose(f'b{i}x', 80)} {QUESTION} {prose(f'a{i}x', 80)}" for i in range(40)]
    (tmp_path / "eval.txt").write_text(QUESTION + "\n")
    made = recipe(
        tmp_path / "out", tokenizer, {"a": jsonl(write_jsonl(tmp_path / "a.jsonl", texts))}, validation="30%",
        decontaminate={"files": [str(tmp_path / "eval.txt")], "maximum_documents": 1000},
    )  # fmt: skip
    manifest = load_manifest(prepare(made))
    sides = [
        {text.split()[0].split("x")[0][1:] for text in documents(manifest, "a", split)}
        for split in ("train", "validation")
    ]
    assert len(sides[0]) + len(sides[1]) == 40 and not sides[0] & sides[1] and sides[1]


@pytest.mark.parametrize(
    ("content", "rule"),
    [(None, "matches no file"), ("too short\n", "no example has 13 words"), ("\xff", "cannot be read")],
)
def test_bad_files_are_refused_first(content: str | None, rule: str, tmp_path: Path, tokenizer: Path) -> None:
    path = tmp_path / "eval.txt"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    source = jsonl(write_jsonl(tmp_path / "a.jsonl", ["one"]))
    with pytest.raises(ConfigError, match=rule):
        prepare(recipe(tmp_path / "out", tokenizer, {"a": source}, decontaminate={"files": str(path)}))
    assert not (tmp_path / "out" / ".prepare").exists()


def test_the_corpus_changes_with_the_evaluation_set(tmp_path: Path, tokenizer: Path) -> None:
    texts = [f"{QUESTION} {prose('a', 50)}", "left"]
    assert prepared(tmp_path, tokenizer, texts)[0] == ["left"]
    path = tmp_path / "a.jsonl"
    (tmp_path / "eval.jsonl").write_text(json.dumps({"q": prose("other", 20)}) + "\n")
    made = recipe(
        tmp_path / "out", tokenizer, {"a": jsonl(str(path), id_field="id")}, order="file", validation=0,
        decontaminate={"files": str(tmp_path / "eval.jsonl")},
    )  # fmt: skip
    assert documents(load_manifest(prepare(made)), "a", "train") == texts


def test_the_window_counts_characters_and_a_whole_test_set_is_cut_at_once(tmp_path: Path, tokenizer: Path) -> None:
    """Three hits of 16 words between Korean letters of three bytes each: 10 characters are cut on each side."""
    around = "가나다라마바사아자차카타파하 " * 20
    text = around + (QUESTION + " ") * 3 + around
    texts, rows, _ = prepared(tmp_path, tokenizer, [text, prose("c", 50)], window=10)
    begin, end = len(around), len(around) + 3 * len(QUESTION) + 2
    assert texts[1:] == [text[: begin - 10].strip(), text[end + 10 :].strip()]
    assert rows[0]["ngrams"] == 12
