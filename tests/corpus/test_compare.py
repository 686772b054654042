"""`tokenizer compare`: files, recipes and corpora through several tokenizers."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pretrain.cli.tokenizer import app
from pretrain.config.errors import ConfigError
from pretrain.corpus.compare import ALL, compare, comparison_table, load_named
from pretrain.corpus.prepare import prepare
from pretrain.corpus.show import terminal
from tests.corpus.helpers import jsonl, recipe, texts, write_jsonl
from tokenizer import load_tokenizer, train_tokenizer


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["compare", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


@pytest.fixture
def pair(tokenizer: Path, tmp_path: Path) -> tuple[Path, Path]:
    other = tmp_path / "pieces"
    train_tokenizer(texts("web", 300), 330, algorithm="sentencepiece-unigram").save(other)
    return tokenizer, other


def test_files(pair: tuple[Path, Path], tmp_path: Path) -> None:
    web = write_jsonl(tmp_path / "web.jsonl", texts("web", 50))
    books = write_jsonl(tmp_path / "b.jsonl", texts("books", 30))
    output = run(*pair, "--files", web, "--files", f"books={books}", "--json", tmp_path / "out.json")
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [(row["tokenizer"], row["source"]) for row in rows] == [
        (path.name, source) for path in pair for source in ("web", "books", ALL)
    ]
    one, loaded = rows[1], load_tokenizer(pair[0])
    tokens = sum(len(loaded.encode(text)) for text in texts("books", 30))
    size = sum(len(text.encode()) for text in texts("books", 30))
    assert (one["bytes"], one["tokens"], one["bytes_per_token"]) == (size, tokens, size / tokens)
    assert (one["fingerprint"], one["vocab_size"]) == (loaded.fingerprint, loaded.vocab_size)
    for count in ("bytes", "words", "tokens", "partial"):
        assert rows[2][count] == rows[0][count] + rows[1][count]
    assert output.index("web ") < output.index("books ") < output.index("all ") and "\x1b" not in output
    assert f"{one['bytes_per_token']:.3f}" in output


def test_recipe_and_corpus(pair: tuple[Path, Path], tmp_path: Path) -> None:
    web = write_jsonl(tmp_path / "web.jsonl", texts("web", 50))
    made = recipe(tmp_path / "corpus", pair[0], {"web": jsonl(web)}, validation=0)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(made.model_dump(mode="json", exclude_none=True)))
    run(*pair, "--recipe", tmp_path / "recipe.yaml", "--json", tmp_path / "a.json")
    run(*pair, "--manifest", prepare(made), "--json", tmp_path / "b.json")
    raw, decoded = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert len(raw) == len(decoded) == 2
    for one, other in zip(raw, decoded, strict=True):
        assert [one[name] for name in ("source", "bytes", "words", "tokens")] == [
            other[name] for name in ("source", "bytes", "words", "tokens")
        ]


def test_no_more_than_the_sample(tokenizer: Path, tmp_path: Path) -> None:
    web = write_jsonl(tmp_path / "web.jsonl", ["12345", "67890", "abcde"])
    run(tokenizer, "--files", web, "--sample", "11", "--json", tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())[0]["bytes"] == 10
    with pytest.raises(ConfigError, match="has no text"):
        run(tokenizer, "--files", web, "--sample", "4")


def test_names(tokenizer: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        load_tokenizer(tokenizer).save(tmp_path / folder / "same")
    named = load_named([tmp_path / "a" / "same", tmp_path / "b" / "same", tokenizer])
    assert list(named) == [str(tmp_path / "a" / "same"), str(tmp_path / "b" / "same"), tokenizer.name]
    table = comparison_table(named, compared := compare(named, {"web": texts("web", 3)}))
    assert table.row_count == len(compared) == 3
    terminal().print(table)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ([], "needs one of --files, --recipe and --manifest"),
        (["--files", "a", "--recipe", "b"], "needs one of"),
        (["--files", "nowhere.jsonl"], "must be an existing file"),
        (["--files", "a", "--sample", "much"], "must be a count"),
    ],
)
def test_refused(arguments: list[str], rule: str, tokenizer: Path) -> None:
    with pytest.raises(ConfigError, match=rule):
        run(tokenizer, *arguments)
    with pytest.raises(ConfigError, match="must be an existing file or directory"):
        run("nowhere", "--files", "a")


def test_training_overwrites_no_tokenizer(pair: tuple[Path, Path], tmp_path: Path) -> None:
    web = write_jsonl(tmp_path / "web.jsonl", texts("web", 50))
    before = load_tokenizer(pair[1]).fingerprint
    with pytest.raises(ConfigError, match=r"--output = .*pieces'\n.*nothing is overwritten"):
        command = ["train", str(web), "--output", str(pair[1]), "--vocab-size", "512"]
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert load_tokenizer(pair[1]).fingerprint == before
