"""verify finds every kind of damage; show counts shares and epochs; the commands say both."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pretrain.cli.corpus import app
from pretrain.cli.tokenizer import app as tokenizer_app
from pretrain.config.errors import ConfigError
from pretrain.corpus.prepare import prepare
from pretrain.corpus.show import summarize
from pretrain.corpus.verify import verify
from pretrain.shards.manifest import load_manifest
from tests.corpus.helpers import jsonl, recipe, texts, write_jsonl


@pytest.fixture
def manifest(tmp_path: Path, tokenizer: Path) -> Path:
    web = write_jsonl(tmp_path / "web.jsonl", texts("web", 200))
    books = write_jsonl(tmp_path / "books.jsonl", texts("book", 50))
    sources = {"web": jsonl(web, weight=3), "books": jsonl(books, weight=1)}
    return prepare(recipe(tmp_path / "out", tokenizer, sources, shard_size=5000))


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def test_whole(manifest: Path) -> None:
    assert verify(manifest) == []


@pytest.mark.parametrize("suffix", [".bin", ".idx", ".documents.parquet"])
@pytest.mark.parametrize("what", ["flip", "cut", "missing"])
def test_damage_is_named(what: str, suffix: str, manifest: Path) -> None:
    (path,) = manifest.parent.glob(f"data-*/books/train-00000{suffix}")
    {"flip": flip, "cut": lambda p: p.write_bytes(p.read_bytes()[:-2]), "missing": Path.unlink}[what](path)
    said = {"flip": "its checksum is not the manifest's", "cut": "bytes, the manifest says", "missing": "is missing"}
    (problem,) = verify(manifest)
    assert problem.startswith(f"{path}: ") and said[what] in problem


def test_damaged_tokenizer(manifest: Path) -> None:
    path = manifest.parent / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text().replace('"use_regex": true', '"use_regex": false'))
    (problem,) = verify(manifest)
    assert "its fingerprint is" in problem
    path.unlink()
    assert "is not a tokenizer" in verify(manifest)[0]


def test_summary(manifest: Path) -> None:
    corpus = load_manifest(manifest)
    web, books = summarize(corpus, 1_000_000)
    assert (web.share, books.share) == (0.75, 0.25)
    assert web.natural_share + books.natural_share == pytest.approx(1)
    assert web.epochs == pytest.approx(750_000 / corpus.sources["web"].splits["train"].tokens)
    assert summarize(corpus)[0].epochs is None


def test_commands(manifest: Path, tmp_path: Path, tokenizer: Path) -> None:
    run = CliRunner().invoke
    shown = run(app, ["show", str(manifest.parent), "--tokens", "1M"], catch_exceptions=False)
    assert shown.exit_code == 0 and "75.0%" in shown.output and "deduplicate" in shown.output
    assert run(app, ["verify", str(manifest)]).exit_code == 0
    flip(next(manifest.parent.glob("data-*/web/train-*.bin")))
    damaged = run(app, ["verify", str(manifest)])
    assert damaged.exit_code == 1 and "its checksum is not the manifest's" in damaged.output
    path = tmp_path / "recipe.yaml"
    source = jsonl(write_jsonl(tmp_path / "new.jsonl", texts("new", 30)))
    path.write_text(yaml.safe_dump({"name": "new", "tokenizer": str(tokenizer), "sources": {"a": source}}))
    overrides = [f"directory={tmp_path / 'new'}", "workers=1", "validation=10%"]
    assert run(app, ["prepare", str(path), *overrides], catch_exceptions=False).exit_code == 0
    assert load_manifest(tmp_path / "new" / "manifest.json").recipe["validation"] == "0.1"
    with pytest.raises(ConfigError, match="unknown key 'sizes'"):
        run(app, ["prepare", str(path), "sizes=1"], catch_exceptions=False)


def test_tokenizer_commands(tmp_path: Path) -> None:
    run = CliRunner().invoke
    path = write_jsonl(tmp_path / "a.jsonl", [f"{text} {i**5:x}" for i, text in enumerate(texts("web", 400))])
    arguments = ["train", path, "--output", str(tmp_path / "tok"), "--vocab-size", "600"]
    trained = run(tokenizer_app, arguments, catch_exceptions=False)
    assert trained.exit_code == 0 and "600 entries, fingerprint" in trained.output
    shown = run(tokenizer_app, ["show", str(tmp_path / "tok"), "--text", "the fox"], catch_exceptions=False)
    assert "vocabulary    600 (padded to a multiple of 128: 640)" in shown.output
    assert "encoded by    gigatoken: ids equal the reference's" in shown.output
    assert "'the'" in shown.output
    with pytest.raises(ConfigError, match="must be a new or an empty directory"):
        run(tokenizer_app, arguments, catch_exceptions=False)
    arguments[3] = str(tmp_path / "other")
    with pytest.raises(ConfigError, match="greater than or equal to 512"):
        run(tokenizer_app, [*arguments[:-1], "3"], catch_exceptions=False)
    with pytest.raises(ConfigError, match="vocab_size = 'many'"):
        run(tokenizer_app, [*arguments[:-1], "many"], catch_exceptions=False)


def test_the_executor_of_the_command(tmp_path: Path, tokenizer: Path) -> None:
    """It stands for executor.kind, so what that needs is asked for."""
    source = jsonl(write_jsonl(tmp_path / "a.jsonl", texts("a", 5)))
    path, plain = tmp_path / "recipe.yaml", {"name": "a", "tokenizer": str(tokenizer), "sources": {"a": source}}
    path.write_text(yaml.safe_dump({**plain, "directory": str(tmp_path / "out"), "workers": 1}))
    run = CliRunner().invoke
    with pytest.raises(ConfigError, match="slurm needs a partition"):
        run(app, ["prepare", str(path), "--executor", "slurm"], catch_exceptions=False)
    with pytest.raises(ConfigError, match="'local' or 'slurm'"):
        run(app, ["prepare", str(path), "--executor", "ray"], catch_exceptions=False)
    assert run(app, ["prepare", str(path), "--executor", "local"], catch_exceptions=False).exit_code == 0
