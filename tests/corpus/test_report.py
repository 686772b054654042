"""The page says what the manifest and the files beside it say, whatever the documents hold."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pretrain.cli.corpus import app
from pretrain.config.errors import ConfigError
from pretrain.corpus.prepare import prepare
from pretrain.corpus.remove import find_places, remove
from pretrain.corpus.report import render
from pretrain.corpus.report.charts import bars
from pretrain.corpus.report.flow import columns, flow
from pretrain.corpus.report.found import clusters
from pretrain.page.html import share, table, tag
from pretrain.shards.manifest import Manifest, load_manifest
from tests.corpus.helpers import jsonl, recipe, write_jsonl
from tests.parsed import Parsed

EVIL = '</blockquote><script>alert("x")</script><img src=//evil.example onerror=alert(1)> & \x00\x1b[31m'
LEAKED = " ".join(f"secret{i}" for i in range(20))


def prose(seed: int, words: int = 80) -> str:
    chance = random.Random(seed)
    return " ".join(chance.choices([f"word{i}" for i in range(500)], k=words))


def corpus(directory: Path, tokenizer: Path) -> Manifest:
    """Two sources, of which `web` is cleaned, holds near-duplicates, a benchmark, and hostile HTML."""
    inputs = directory.parent
    if not (inputs / "web.jsonl").exists():
        web = [prose(i) for i in range(40)] + [f"{prose(i)} again" for i in range(3)] + [f"{prose(1)} twice"]
        web += [
            f"{EVIL} {prose(99)}",
            f"{EVIL} short",
            f"{prose(50)} {LEAKED} {prose(51)}",
            LEAKED + " " + prose(52, 9),
        ]
        write_jsonl(inputs / "web.jsonl", web)
        write_jsonl(inputs / "<b>.jsonl", [f"{EVIL} {prose(i)}" for i in range(100, 120)])
        (inputs / "eval.jsonl").write_text(json.dumps({"question": LEAKED}) + "\n")
    clean = {"gopher_quality": {"minimum_words": 20, "minimum_stop_words": 0, "alphabetic": 0}}
    sources = {
        "web": jsonl(str(inputs / "web.jsonl"), clean=clean, weight=3, id_field="id"),
        "books": jsonl(str(inputs / "<b>.jsonl")),
    }
    across = {"deduplicate": {"fuzzy": {}}, "decontaminate": {"files": str(inputs / "eval.jsonl")}}
    return load_manifest(prepare(recipe(directory, tokenizer, sources, **across)))


@pytest.fixture
def manifest(tmp_path: Path, tokenizer: Path) -> Manifest:
    return corpus(tmp_path / "out", tokenizer)


@pytest.fixture
def page(manifest: Manifest) -> Parsed:
    """The one that prepare wrote."""
    return Parsed((manifest.directory / "report.html").read_text())


def test_numbers_are_those_of_the_manifest(manifest: Manifest, page: Parsed) -> None:
    for name, source in manifest.sources.items():
        train = source.splits["train"]
        numbers = [f"{count:,}" for count in (train.documents, train.tokens, train.text_bytes)]
        assert [name, *numbers] in [row[:4] for row in page.rows]
        for stage in source.stages:
            lost = 100 * (stage.documents_in - stage.documents_out) / stage.documents_in
            told = [name, stage.name, f"{stage.documents_in:,}", f"{stage.documents_out:,}", f"{lost:.1f}%"]
            assert [*told, f"{stage.bytes_in:,}", f"{stage.bytes_out:,}"] in [row[:7] for row in page.rows]
    assert ["web", "gopher_quality", "48", "47", "2.1%"] in [row[:5] for row in page.rows]
    assert ["web", "fuzzy", "47", "43", "8.5%"] in [row[:5] for row in page.rows]
    assert [row[5] for row in page.rows if row[0] in manifest.sources and len(row) == 8] == ["75.0%", "25.0%"]


def test_sections(page: Parsed) -> None:
    titles = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    ids = [f"#{attributes['id']}" for tag, attributes in page.elements if tag == "section"]
    assert titles == ids == ["#0", "#1", "#2", "#3", "#4", "#5"]
    assert ["2 documents", "2", "66.7%"] in [[row[0], *row[2:]] for row in page.rows if len(row) == 4]
    assert ["3 documents", "1", "33.3%"] in [[row[0], *row[2:]] for row in page.rows if len(row) == 4]
    assert ["web", "split into 2", "1"] in page.rows and ["web", "dropped", "1"] in page.rows
    assert "gopher_quality: minimum_words" in page.all and "web: 1 kept, 1 dropped" in page.all


def test_documents_stay_text(page: Parsed) -> None:
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in page.elements}
    assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert EVIL.replace("\x00", "\N{REPLACEMENT CHARACTER}").replace("\x1b", "\N{REPLACEMENT CHARACTER}") in page.all
    assert "<b>.jsonl:" in page.all
    policy = next(attributes for _, attributes in page.elements if "http-equiv" in attributes)
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert not any("src" in attributes for _, attributes in page.elements), "nothing is fetched"


def test_the_same_in_every_directory(manifest: Manifest, tmp_path: Path, tokenizer: Path) -> None:
    other = corpus(tmp_path / "elsewhere", tokenizer)
    page = (manifest.directory / "report.html").read_bytes()
    assert (other.directory / "report.html").read_bytes() == page
    assert str(manifest.directory).encode() not in page


@pytest.mark.parametrize("gone", ["statistics.json", "dropped.jsonl", "duplicates.parquet", "contamination.jsonl"])
def test_what_is_not_there_is_left_out(gone: str, manifest: Manifest) -> None:
    section = {"statistics.json": "Lengths", "dropped.jsonl": "dropped by rules"}
    section |= {"duplicates.parquet": "Near-duplicates", "contamination.jsonl": "Benchmarks"}
    assert section[gone] in Parsed(render(manifest, manifest.directory)).all
    (manifest.directory / gone).unlink()
    page = Parsed(render(manifest, manifest.directory))
    assert section[gone] not in page.all and "Samples" in page.all
    assert Parsed(render(manifest, Path("/nowhere"))).all.count("Sources") == 2


def test_measures(manifest: Manifest, tmp_path: Path) -> None:
    many = {f"l{i:02}": i for i in range(1, 16)}
    measures = {
        "language": many,
        "classifier_score": {"0.0": 3, "0.9": 11},
        "perplexity": {"head": 5, "tail": 15},
        "personal_data": {"email": 2, "phone": 6},
        "read_bytes": {"0": 1, "1024": 7},
        "kept_bytes": {"512": 4},
    }
    (tmp_path / "statistics.json").write_text(json.dumps({"web": {"measures": measures, "kept": []}}))
    page = Parsed(render(manifest, tmp_path))
    rows = [[row[0], *row[2:]] for row in page.rows if len(row) == 4]
    assert rows[:2] == [["l15", "15", "12.5%"], ["l14", "14", "11.7%"]] and ["3 others", "6", "5.0%"] in rows
    assert ["head", "5", "25.0%"] in rows and ["tail", "15", "75.0%"] in rows
    assert rows.index(["phone", "6", "75.0%"]) < rows.index(["email", "2", "25.0%"])
    assert "0.9: 11 documents" in page.all and "0.0: 3 documents" in page.all
    assert "0: 1 read" in page.all and "1Ki: 7 read" in page.all and "512: 4 kept" in page.all


def test_largest_clusters(manifest: Manifest) -> None:
    found = clusters(manifest.directory)
    assert found.sizes == {2: 2, 3: 1}
    assert [row["id"] for row in found.largest[0]] == ["web-1", "web-41", "web-43"]
    kept = [[row["kept"] for row in rows] for rows in found.largest]
    assert kept == [[True, False, False], [True, False], [True, False]]


def test_stages_stand_in_the_order_of_every_source(manifest: Manifest) -> None:
    names = [name for name, _ in columns(manifest)]
    assert names == ["read", "gopher_quality", "length", "deduplicate", "fuzzy", "decontaminate"]


def test_long_names_keep_off_the_ribbons(manifest: Manifest) -> None:
    web = manifest.sources["web"]
    stages = [replace(web.stages[0], name=name) for name in ("mylab.rules.NoQuotes", "a_filter_with_a_long_name")]
    drawn = flow(replace(manifest, sources={"common-crawl-2024": replace(web, stages=stages)}))
    assert ">common-crawl-20…<title>common-crawl-2024</title></text>" in drawn
    assert ">NoQuotes<title>mylab.rules.NoQuotes</title></text>" in drawn
    assert ">filter_with_a_l…<title>a_filter_with_a_long_name</title></text>" in drawn
    assert ">web</text>" in flow(manifest)


def test_it_follows_a_removal(manifest: Manifest) -> None:
    places = find_places(manifest, {"web-5"}, lambda _what, items, *_: items)
    remove(manifest.directory / "manifest.json", places, {"web-5"}, lambda _what, items, *_: items)
    page = Parsed((manifest.directory / "report.html").read_text())
    assert ["web", "remove", "43", "42"] in [row[:4] for row in page.rows]


def test_command(manifest: Manifest, tmp_path: Path) -> None:
    run, written = CliRunner().invoke, (manifest.directory / "report.html").read_bytes()
    made = run(app, ["report", str(manifest.directory), "--out", str(tmp_path / "new" / "a.html")])
    assert made.exit_code == 0 and (tmp_path / "new" / "a.html").read_bytes() == written
    (manifest.directory / "report.html").unlink()
    assert "report.html" in run(app, ["report", str(manifest.directory / "manifest.json")]).output
    assert (manifest.directory / "report.html").read_bytes() == written
    with pytest.raises(ConfigError, match="must be an existing file"):
        run(app, ["report", str(tmp_path / "nothing.json")], catch_exceptions=False)


def test_elements() -> None:
    assert tag("p", "a<b", tag("i", "&"), class_="x", text_anchor='"') == (
        '<p class="x" text-anchor="&quot;">a&lt;b<i>&amp;</i></p>'
    )
    assert (share(1, 8), share(0, 0)) == ("12.5%", "0.0%")
    assert re.findall(r"<t[dh](?: [^>]*)?>[^<]*", table(["a", "n"], [["x", 1234]])) == [
        "<th>a", '<th class="number">n', "<td>x", '<td class="number">1,234',
    ]  # fmt: skip
    assert "width: 50.0%" in bars({"a": 2, "b": 1}, "#000")
