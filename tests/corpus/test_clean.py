"""The rules of cleaning, by hand, and what prepare makes of them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from pretrain.config.clean import Cleaning
from pretrain.config.corpus import CorpusSource
from pretrain.config.errors import ConfigError
from pretrain.corpus.clean import Dropped, Rule, Tallies, rules
from pretrain.corpus.clean.repetition import _again
from pretrain.corpus.prepare import prepare
from pretrain.shards.manifest import load_manifest
from tests.corpus.helpers import documents, files, jsonl, recipe, texts, write_jsonl

PROSE = (
    "The house that we have lived in for years stands at the end of a long road. It was built of stone by people who "
    "knew the wind. In winter the snow lies to the sills, and nobody comes. We like to be alone then. There is wood "
    "enough, and there are books. When spring comes the road is mended, and the postman brings what he kept for us."
)


def only(name: str, **changes: object) -> Rule:
    """One rule with these settings."""
    value = True if name == "unicode" else changes
    return rules(Cleaning.parse({name: value}), Tallies())[name]


def reason(rule: Rule, text: str) -> str:
    left = rule(text)
    return left.reason if isinstance(left, Dropped) else ""


def test_prose_passes_every_rule() -> None:
    given = {"c4": {}, "personal_data": {}, "gopher_quality": {}, "gopher_repetition": {}, "language": {"keep": ["en"]}}
    made = rules(Cleaning.parse({**given, "unicode": True}), Tallies())
    assert list(made) == ["unicode", "language", "gopher_repetition", "gopher_quality", "c4", "personal_data"]
    assert all(rule(PROSE) == PROSE for rule in made.values())
    assert rules(Cleaning(), Tallies()) == {}


def test_unicode_is_repaired() -> None:
    assert only("unicode")("caf\u00c3\u00a9 â€œopenâ€\x9d") == 'café "open"'


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("word " * 49, "minimum_words"),
        (PROSE + " word" * 20, ""),
        ("the of and to be " * 20_001, "maximum_words"),
        ("a b c d " * 20 + "the of", "minimum_word_length"),
        ("internationalisation " * 60 + "the of", "maximum_word_length"),
        (PROSE + " #" * 8, "symbols"),
        (PROSE.replace(". ", "... ") + " and then..." * 4, "symbols"),
        ("\n".join(f"- the nevertheless {word}" for word in PROSE.split()), "bullets"),
        ("\n".join([*(f"{line} ..." for line in PROSE.split(". ")[:3]), *PROSE.split(". ")[3:]]), "ellipses"),
        (PROSE + " 1234" * 30, "alphabetic"),
        (" ".join(f"{word}x" for word in PROSE.split()), "minimum_stop_words"),
    ],
)
def test_gophers_quality(text: str, field: str) -> None:
    assert reason(only("gopher_quality"), text) == field


def test_stop_words_are_the_sources_own() -> None:
    korean = "우리가 오래 살아온 집은 긴 길의 끝에 서 있다 그리고 겨울에는 눈이 창턱까지 쌓인다 " * 5
    settings = {"minimum_word_length": 1}
    assert reason(only("gopher_quality", **settings), korean) == "minimum_stop_words"
    assert reason(only("gopher_quality", **settings, stop_words=["그리고", "있다"]), korean) == ""


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("\n\n".join(["first paragraph here", "second one", "second one", "third"]), ""),
        ("\n\n".join(["first paragraph here", "second one", "second one", "second one"]), "paragraphs"),
        ("\n\n".join([*(f"paragraph {n}" for n in range(8)), *["a very long one" * 9] * 2]),
         "paragraph_characters"),
        ("\n".join(["one line", "another line", "one line", "one line", "and so on"]), "lines"),
        ("\n".join([*(f"short line {n}" for n in range(8)), *["a very long line" * 9] * 2]),
         "line_characters"),
        (PROSE, ""),
    ],
)  # fmt: skip
def test_lines_and_paragraphs_that_repeat(text: str, field: str) -> None:
    assert reason(only("gopher_repetition", top_ngrams={}, repeated_ngrams={}), text) == field


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (" ".join(f"so it goes on day number {n}" for n in range(4)), "top_ngrams.2"),
        (PROSE, ""),
        (PROSE + " " + PROSE[: len(PROSE) // 2], "repeated_ngrams.5"),
    ],
)
def test_words_that_repeat(text: str, field: str) -> None:
    assert reason(only("gopher_repetition"), text) == field


@pytest.mark.parametrize("size", [2, 3, 5, 10])
def test_repeated_ngrams_by_counting_words(size: int) -> None:
    """Against marking the words of every later occurrence one by one, and counting n-grams in a dictionary."""
    draw = random.Random(size)
    for _ in range(40):
        words = [draw.choice("abc") * draw.randint(1, 3) for _ in range(draw.randint(size, 60))]
        seen, marked, counts = set[tuple[str, ...]](), set[int](), dict[tuple[str, ...], int]()
        for place in range(len(words) - size + 1):
            gram = tuple(words[place : place + size])
            counts[gram] = counts.get(gram, 0) + 1
            if gram in seen:
                marked.update(range(place, place + size))
            seen.add(gram)
        repeated = sum(len(words[place]) for place in marked)
        often = max(counts.values())
        top = max(len(" ".join(gram)) for gram, count in counts.items() if count == often) * often if often > 1 else 0
        text = " ".join(words)
        for quantity, field in ((repeated, "repeated_ngrams"), (top, "top_ngrams")):
            other = {"top_ngrams": {}, "repeated_ngrams": {}, "lines": 1, "line_characters": 1}
            other |= {"paragraphs": 1, "paragraph_characters": 1}
            share = quantity / len(text)
            if 0 < share < 1:
                below = only("gopher_repetition", **{**other, field: {size: share - 1e-9}})
                assert reason(below, text) == f"{field}.{size}"
            at = only("gopher_repetition", **{**other, field: {size: min(1.0, share + 1e-9)}})
            assert reason(at, text) == ("" if share <= 1 else f"{field}.{size}")


def test_parts_that_stood_before() -> None:
    assert _again(["ab", "c", "ab", "ab"]) == (2, 4)


def page(*more: str) -> str:
    return "\n".join([*PROSE.replace(". ", ".\n").split("\n"), *more])


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (page(), page()),
        (page("Home", "Click here", "All rights reserved"), page()),  # no ends of sentences
        (page("Too short."), page()),
        (page("You need JavaScript to see this page."), page()),
        (page("We think that Cookies are good, read our Privacy Policy."), page()),
        (page("The end of this line was lost..."), page()),
        (page("x" * 1001 + " is a word."), page()),
        (page("This was said before.[12]"), page("This was said before.")),
        (page("This was said before. [citation needed]"), page("This was said before.")),
        (page("[1] [2] Too short."), page()),
        (page("A line with { in it."), Dropped("curly_brackets")),
        (page("Lorem ipsum dolor sit amet."), Dropped("lorem_ipsum")),
        ("One sentence is here. Another one is there.", Dropped("minimum_sentences")),
    ],
)
def test_c4(text: str, left: str | Dropped) -> None:
    assert only("c4")(text) == left


def test_what_prepare_makes_of_it(tmp_path: Path, tokenizer: Path) -> None:
    good, bad = [f"{PROSE} Number {n}." for n in range(30)], texts("bad", 25)
    source = jsonl(write_jsonl(tmp_path / "web.jsonl", [*good, *bad]), clean={"gopher_quality": {}, "c4": {}})
    paths = [prepare(recipe(tmp_path / str(n), tokenizer, {"web": source}, workers=n)) for n in (1, 2)]
    manifest = load_manifest(paths[0])
    stages = {stage.name: stage for stage in manifest.sources["web"].stages}
    assert list(stages) == ["read", "gopher_quality", "c4", "length", "deduplicate"]
    quality = stages["gopher_quality"]
    assert (quality.documents_in, quality.documents_out) == (55, 30)
    assert quality.bytes_in - quality.bytes_out == sum(len(text.encode()) for text in bad)
    assert quality.parameters["minimum_words"] == 50
    kept = documents(manifest, "web", "train") + documents(manifest, "web", "validation")
    assert sorted(kept) == sorted(good)
    rows = [json.loads(line) for line in (tmp_path / "1" / "dropped.jsonl").read_text().splitlines()]
    assert len(rows) == 20, "as many of each rule are kept to look at"
    assert {(row["source"], row["rule"], row["reason"]) for row in rows} == {("web", "gopher_quality", "minimum_words")}
    assert rows[0]["text"] == bad[0][:500] and rows[0]["record"] == 31
    one, two = (files(path.parent) for path in paths)
    assert {name: one[name] for name in one if "data-" in name} == {name: two[name] for name in two if "data-" in name}


def test_rules_that_are_not_named_are_not_part_of_the_key() -> None:
    """So that a rule that comes later changes no corpus without it."""
    plain = {"name": "x", "tokenizer": "t", "sources": {"web": jsonl("a.jsonl")}}
    from pretrain.config.corpus import Corpus

    assert Corpus.parse(plain).content()["sources"]["web"]["clean"] == {"unicode": False}
    plain["sources"]["web"]["clean"] = {"c4": {}}  # type: ignore[index]
    assert list(Corpus.parse(plain).content()["sources"]["web"]["clean"]) == ["unicode", "c4"]


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'gopher_quality'"):
        CorpusSource.parse(jsonl("a.jsonl", clean={"gofer_quality": {}}))
    with pytest.raises(ConfigError, match="did you mean 'minimum_words'"):
        CorpusSource.parse(jsonl("a.jsonl", clean={"c4": {"minimum_word": 3}}))


@pytest.mark.parametrize(("words", "share"), [(1, 0.2), (2, 1.2)])
def test_ngrams_have_two_words_and_shares_are_shares(words: int, share: float) -> None:
    with pytest.raises(ConfigError, match=rf"gopher_repetition\.top_ngrams\.{words}"):
        Cleaning.parse({"gopher_repetition": {"top_ngrams": {words: share}}})


def test_ngrams_that_nobody_asked_about_drop_nothing() -> None:
    """Those that overlap themselves can have more characters than the text."""
    settings = {"lines": 1, "top_ngrams": {4: 1}, "repeated_ngrams": {}}
    assert reason(only("gopher_repetition", **settings), "a a a a") == ""
