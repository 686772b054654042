"""The trained filters: what they learn, how they are stored, and what prepare does with them."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import yaml
from typer.testing import CliRunner

from pretrain.cli.corpus import app
from pretrain.config.clean import Cleaning
from pretrain.config.corpus import Corpus
from pretrain.config.errors import ConfigError
from pretrain.corpus.clean import Dropped, Tallies, models, rules
from pretrain.corpus.clean.classifier import _uniform, kept_share
from pretrain.corpus.prepare import prepare
from pretrain.corpus.progress import Reporter
from pretrain.corpus.quality.classifier import FEATURES, Classifier
from pretrain.corpus.quality.judge import judge
from pretrain.corpus.quality.perplexity import PerplexityModel
from pretrain.corpus.quality.samples import Sample, take_samples
from pretrain.corpus.quality.saved import verified
from pretrain.shards.manifest import load_manifest
from tests.corpus.helpers import documents, jsonl, recipe, write_jsonl

SUBJECTS, VERBS = (
    ["the_old_man", "a_young_woman", "this_house", "the_river", "our_teacher"],
    ["sees", "keeps", "loves", "paints"],
)
WHERE = ["in_the_morning", "by_the_sea", "after_the_war", "on_the_hill", "for_many_years"]
JUNK = ["click", "buy", "cheap", "free", "$$$", "login", "casino", "win", "404", "sale", "now", "offer"]


def prose(number: int) -> str:
    draw = random.Random(number)
    lines = (
        f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.choice(SUBJECTS)} {draw.choice(WHERE)}." for _ in range(9)
    )
    return " ".join(lines).replace("_", " ")


def junk(number: int) -> str:
    draw = random.Random(number)
    return " ".join(draw.choice(JUNK) for _ in range(60)) + f" {number}"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """100 good documents in each of two sources; a raw one with 150 of junk and 50 like the good ones."""
    folder = tmp_path_factory.mktemp("sources")
    books = write_jsonl(folder / "books.jsonl", map(prose, range(100)))
    wiki = write_jsonl(folder / "wiki.jsonl", map(prose, range(100, 200)))
    web = [junk(n) for n in range(150)] + [prose(n) for n in range(1000, 1050)]
    return {"books": jsonl(books), "wiki": jsonl(wiki), "web": jsonl(write_jsonl(folder / "web.jsonl", web))}


@pytest.fixture(scope="module")
def filters(tmp_path_factory: pytest.TempPathFactory, sources: dict[str, dict[str, Any]]) -> tuple[Path, str]:
    """Both filters, as the commands make them, and what these print."""
    folder = tmp_path_factory.mktemp("filters")
    return folder, train(folder, sources)


def train(folder: Path, sources: dict[str, dict[str, Any]]) -> str:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"name": "x", "tokenizer": "none", "sources": sources}))
    given = [str(path), "--good", "books,wiki", "--raw", "web", "--output"]
    said = ""
    for command, more in (("train-classifier", []), ("train-perplexity", ["--vocab-size", "300"])):
        done = CliRunner().invoke(app, [command, *given, str(folder / command[6:]), *more])
        assert done.exit_code == 0, (done.output, done.exception)
        said += done.stdout
    return said


def test_the_commands_tell_how_good_they_are(filters: tuple[Path, str]) -> None:
    folder, said = filters
    for kind, words in (("classifier", "score > 0.5"), ("perplexity", "head, middle")):
        plain = json.loads((folder / kind / "model.json").read_text())
        assert f"wrote {folder / kind}: fingerprint {plain['fingerprint']}" in said
        assert f"kept: {words}" in said
        assert list(plain["trained_on"]) == ["good", "raw"]
        kept, own = plain["held_out"]["kept"], plain["held_out"]["sources"]["web"]
        assert kept[words]["recall"] >= 0.95
        # a quarter of the raw documents is good, so at best 1 / 1.25 of what is kept counts as right
        assert 0.6 <= plain["held_out"]["kept"][words]["precision"] <= 1
        assert 10 <= own["documents"] <= 30
        assert 0.8 <= plain["held_out"]["auc"] < 1


def test_training_again_gives_the_same(filters: tuple[Path, str], sources: Any, tmp_path: Path) -> None:
    train(tmp_path, sources)
    for kind in ("classifier", "perplexity"):
        one, two = ((folder / kind / "model.safetensors").read_bytes() for folder in (tmp_path, filters[0]))
        assert one == two
        assert verified(str(tmp_path / kind), kind) == verified(str(filters[0] / kind), kind)  # type: ignore[arg-type]


def test_what_is_held_out_is_what_validates(sources: Any) -> None:
    """The lowest tenth by the hash of which a corpus takes the lowest for validation."""
    from pretrain.corpus.document import text_key

    plain = Corpus.parse({"name": "x", "tokenizer": "t", "sources": sources})
    books, web = take_samples(plain, ["books"], ["web"], 10**6, Reporter(quiet=True))
    assert len(books.texts) + len(books.held_out) == 100
    assert all(text_key(text.encode())[1] < 2**64 / 10 for text in books.held_out + web.held_out)
    assert all(text_key(text.encode())[1] >= 2**64 // 10 for text in books.texts + web.texts)


def test_samples_are_spread_over_files_and_stop(tmp_path: Path, sources: Any) -> None:
    many = [write_jsonl(tmp_path / f"{i}.jsonl", (f"{i} {n} " + "word " * 20 for n in range(100))) for i in range(4)]
    again = write_jsonl(tmp_path / "again.jsonl", [*map(prose, range(30)), *map(junk, range(30))])
    plain = {
        "many": jsonl(*many),
        "again": jsonl(again, clean={"gopher_quality": {"minimum_words": 59, "minimum_stop_words": 0}}),
    }
    corpus = Corpus.parse({"name": "x", "tokenizer": "t", "sources": {**sources, **plain}})
    many_, again_ = take_samples(corpus, ["many"], ["again"], 20_000, Reporter(quiet=True))
    files = [text.split()[0] for text in many_.texts + many_.held_out]
    assert 20_000 <= many_.bytes < 20_000 + 4 * 120
    assert {files.count(f"{i}") for i in range(4)} <= {46, 47, 48}
    left = again_.texts + again_.held_out
    rule = rules(corpus.sources["again"].clean, Tallies())["gopher_quality"]
    passed = [text for text in [*map(prose, range(30)), *map(junk, range(30))] if rule(text) == text]
    assert sorted(left) == sorted(passed) and 0 < len(left) < 60, "its own rules hold"
    books, doubled = take_samples(corpus, ["books"], ["again"], 10**6, Reporter(quiet=True))
    assert not set(books.texts + books.held_out) & set(doubled.texts + doubled.held_out)


def test_judging_by_hand() -> None:
    samples = [
        Sample("a", True, held_out=["x"] * 2),
        Sample("b", True, held_out=["x"]),
        Sample("w", False, held_out=["x"] * 4),
    ]
    scores = [np.array([0.9, 0.4]), np.array([0.8]), np.array([0.7, 0.3, 0.2, 0.1])]
    found = judge(samples, scores, {"half": [own > 0.5 for own in scores]})
    assert found.recall("half") == pytest.approx((0.5 + 1) / 2)
    assert found.precision("half") == pytest.approx(0.75 / (0.75 + 0.25))
    # pairs in order: 0.9 and 0.8 above all, 0.4 above three of four; a's documents weigh a half of b's
    assert found.auc == pytest.approx(0.25 * 1 + 0.25 * 0.75 + 0.5 * 1)
    assert found.median == {"a": pytest.approx(0.65), "b": 0.8, "w": 0.25}


def test_scores_by_hand() -> None:
    """crc32("hello") = 0x3610a686, of which the last 18 bits are 0xa686 = 42630; words count once, lengths are 1."""
    coefficients = np.zeros(FEATURES, np.float32)
    coefficients[42630] = 2
    model = Classifier(coefficients, -0.5)
    assert model.score("Hello hello") == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert model.score("hello a b c") == pytest.approx(1 / (1 + math.exp(-0.5)))
    assert model.score("") == pytest.approx(1 / (1 + math.exp(0.5)))


def test_kept_as_pareto_says() -> None:
    """numpy's own draws, and the paper's rule: np.random.pareto(9) > 1 - score."""
    assert kept_share(1.0, 9) == 1
    assert kept_share(0.5, 9) == pytest.approx(1.5**-9)
    assert kept_share(0.0, 9) == pytest.approx(1 / 512)
    draws = np.random.RandomState(1).pareto(9, 200_000)
    for score in (0.2, 0.7, 0.9, 0.99):
        assert np.mean(draws > 1 - score) == pytest.approx(kept_share(score, 9), abs=4e-3)
    numbers = np.array([_uniform(f"document {n}") for n in range(20_000)])
    assert np.mean(numbers < 0.3) == pytest.approx(0.3, abs=0.01)
    assert np.all((numbers >= 0) & (numbers < 1))


def test_the_rule_classifier(filters: tuple[Path, str]) -> None:
    path = str(filters[0] / "classifier")
    texts = [*map(prose, range(2000, 2200)), *map(junk, range(2000, 2200))]
    model = Classifier.load(path)
    for alpha in (9, 2):
        tallies = Tallies()
        rule = rules(Cleaning.parse({"classifier": {"path": path, "alpha": alpha}}), tallies)["classifier"]
        kept = [rule(text) == text for text in texts]
        assert kept == [_uniform(text) < (2 - model.score(text)) ** -alpha for text in texts]
        assert set(map(rule, texts)) <= {*texts, Dropped("alpha")}
        counts = tallies["classifier_score"]
        assert sum(counts.values()) == 800 and set(counts) <= {f"0.{digit}" for digit in range(10)}
        assert sum(kept[:200]) > sum(kept[200:])
    scores = np.array([model.score(text) for text in texts])
    assert scores[:200].min() > 0.5 > 0.1 > scores[200:].max()


def test_the_rule_perplexity(filters: tuple[Path, str]) -> None:
    path = str(filters[0] / "perplexity")
    model = PerplexityModel.load(path)
    good, bad = prose(3000), junk(3000)
    assert model.perplexity(good) < model.cutoffs[0] < model.cutoffs[1] <= model.perplexity("zq xv 가나다 jjkk %%")
    assert model.perplexity("") == math.inf
    assert model.perplexity(good) == model.perplexity(good.upper().replace(" ", " \n"))

    def left(text: str, **settings: Any) -> object:
        made = rules(Cleaning.parse({"perplexity": {"path": path, **settings}}), tallies)
        return made["perplexity"](text)

    tallies = Tallies()
    assert left(good) == good
    assert left("zq xv 가나다 jjkk %%") == Dropped("keep.tail")
    assert left(good, keep=["tail"]) == Dropped("keep.head")
    assert left(bad, maximum=model.perplexity(bad)) == bad
    assert left(bad, maximum=model.perplexity(bad) - 1) == Dropped("maximum")
    assert tallies["perplexity"]["head"] == 2 and tallies["perplexity"]["tail"] >= 1
    # A third of the raw documents that cut it in each bucket.
    cut = model.cut([junk(n) for n in range(300)])
    buckets = [cut.bucket(cut.perplexity(junk(n))) for n in range(300)]
    assert [buckets.count(name) for name in ("head", "middle", "tail")] == [99, 99, 102]


def test_prepare_with_both(filters: tuple[Path, str], sources: Any, tokenizer: Path, tmp_path: Path) -> None:
    folder, _ = filters
    clean = {"classifier": {"path": str(folder / "classifier")}}
    clean |= {"perplexity": {"path": str(folder / "perplexity"), "keep": ["head"]}}
    with_both = {"web": {**sources["web"], "clean": clean}}
    manifests = [load_manifest(prepare(recipe(tmp_path / str(n), tokenizer, with_both, workers=n))) for n in (1, 2)]
    stages = {stage.name: stage for stage in manifests[0].sources["web"].stages}
    assert list(stages) == ["read", "classifier", "perplexity", "length", "deduplicate"]
    assert stages["classifier"].documents_in == 200 > stages["classifier"].documents_out
    kept = [documents(manifest, "web", "train") + documents(manifest, "web", "validation") for manifest in manifests]
    assert kept[0] == kept[1] and len(kept[0]) > 2 and not any("casino" in text for text in kept[0])
    assert manifests[0].prepared_from == manifests[1].prepared_from


def test_another_filter_is_another_corpus(
    filters: tuple[Path, str], sources: Any, tokenizer: Path, tmp_path: Path
) -> None:
    path = tmp_path / "filter"
    Classifier.load(str(filters[0] / "classifier")).save(path, {})
    with_it = {"web": {**sources["web"], "clean": {"classifier": {"path": str(path)}}}}

    def key(sources: Any = with_it) -> str | None:
        return load_manifest(prepare(recipe(tmp_path / "out", tokenizer, sources))).prepared_from

    before = key()
    path.rename(tmp_path / "moved")
    moved = {"web": {**sources["web"], "clean": {"classifier": {"path": str(tmp_path / "moved")}}}}
    assert key(moved) == before, "where it lies does not matter"
    Classifier(np.ones(FEATURES, np.float32), 0.0).save(path, {})
    assert key() != before


def test_a_filter_that_is_not_there_or_not_whole(
    filters: tuple[Path, str], sources: Any, tokenizer: Path, tmp_path: Path
) -> None:
    path = tmp_path / "filter"
    cleaning = Cleaning.parse({"classifier": {"path": str(path)}})
    with_it = {"web": {**sources["web"], "clean": cleaning.plain()}}
    with pytest.raises(ConfigError, match="pretrain corpus train-classifier RECIPE --good SOURCES") as missing:
        prepare(recipe(tmp_path / "out", tokenizer, with_it))
    assert missing.value.problems[0].field == "sources.web.clean.classifier.path"
    model = Classifier.load(str(filters[0] / "classifier"))
    model.save(path, {"trained_on": "what is told does not count"})
    assert models(cleaning, "x") == models(
        Cleaning.parse({"classifier": {"path": str(filters[0] / "classifier")}}), "x"
    )
    with pytest.raises(ConfigError, match="must hold a perplexity filter of format 1, this holds a classifier filter"):
        models(Cleaning.parse({"perplexity": {"path": str(path)}}), "x")
    about = orjson.loads((path / "model.json").read_bytes())
    about["settings"]["intercept"] = 1.0
    (path / "model.json").write_bytes(orjson.dumps(about))
    with pytest.raises(ConfigError, match="was changed"):
        models(cleaning, "x")
    (path / "model.json").write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        models(cleaning, "x")
    model.save(path, {})
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[:-1] + b"?")
    with pytest.raises(ConfigError, match=r"model.safetensors is missing or damaged"):
        models(cleaning, "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"perplexity": {"path": "p", "keep": ["head"], "maximum": 500}}, "exclude each other"),
        ({"perplexity": {"path": "p", "keep": ["best"]}}, "'head', 'middle' or 'tail'"),
        ({"perplexity": {"path": "p", "keep": []}}, "at least 1"),
        ({"perplexity": {}}, "is required"),
        ({"classifier": {"path": "p", "alpha": 0}}, "greater than 0"),
        ({"classifier": {"pat": "p"}}, "did you mean 'path'"),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Cleaning.parse(change)


def test_defaults_survive_writing_out() -> None:
    for given in ({"path": "p"}, {"path": "p", "maximum": 500.0}):
        cleaning = Cleaning.parse({"perplexity": given})
        assert Cleaning.parse(cleaning.plain()) == cleaning
        assert cleaning.perplexity is not None
        assert cleaning.perplexity.keep == (None if "maximum" in given else ("head", "middle"))


@pytest.mark.parametrize(
    ("good", "raw", "message"),
    [
        (["book"], ["web"], "did you mean 'books'"),
        ([], ["web"], "must name a source"),
        (["books", "web"], ["web"], "either good or raw"),
        (["books"], ["few"], "gives 1 documents to learn from and 0 to hold out"),
        (["books"], ["broken"], "is not JSON"),
    ],
)
def test_samples_refused(good: list[str], raw: list[str], message: str, sources: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text("{\n")
    more = {"few": jsonl(write_jsonl(tmp_path / "few.jsonl", ["one"])), "broken": jsonl(str(tmp_path / "broken.jsonl"))}
    corpus = Corpus.parse({"name": "x", "tokenizer": "t", "sources": {**sources, **more}})
    with pytest.raises(ConfigError, match=message):
        take_samples(corpus, good, raw, 10**6, Reporter(quiet=True))
