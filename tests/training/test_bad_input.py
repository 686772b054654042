"""What a run refuses, before anything starts or any weight is spoilt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pretrain.checkpoint.files import damage, list_checkpoints
from pretrain.config.errors import ConfigError
from pretrain.data.dataset import Corpus
from pretrain.data.vocabulary import with_vocabulary
from pretrain.shards.manifest import load_manifest
from pretrain.train import train
from tests.config.example import make_run, problem_of
from tests.example import small_run
from tests.processes import finish, start, told
from tests.synthetic import made_up_tokenizer, make_corpus


def test_a_loss_that_is_no_number_ends_the_run_on_every_rank(corpus: Path, tmp_path: Path) -> None:
    run = small_run(
        corpus,
        tmp_path,
        optimizer={"learning_rate": 1e25},
        schedule={"name": "constant"},
        checkpoint={"every": "1 steps"},
    )
    assert finish(start(run, 2)) == [1, 1]
    output = told(run)
    assert "the loss is nan at step" in output or "the loss is inf at step" in output
    assert "data.skip" in output and "Traceback" not in output
    newest = list_checkpoints(tmp_path / "checkpoints")[0]
    assert damage(newest) is None


def problems(run: dict[str, Any], tmp_path: Path) -> ConfigError:
    import yaml

    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run))
    with pytest.raises(ConfigError) as error:
        train(str(path))
    assert not Path(run["directory"]).exists(), "refused before anything is made"
    return error.value


def test_missing_manifest(corpus: Path, tmp_path: Path) -> None:
    error = problems(small_run(corpus, tmp_path / "run", data={"manifest": "nowhere.json"}), tmp_path)
    assert "pretrain corpus prepare" in error.problems[0].fix


@pytest.mark.parametrize(("content", "rule"), [("{", "is not a manifest"), ('{"format_version": 99}', "has format 99")])
def test_broken_manifest(corpus: Path, tmp_path: Path, content: str, rule: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    error = problems(small_run(tmp_path / "manifest.json", tmp_path / "run"), tmp_path)
    assert rule in error.problems[0].rule


def test_shard_cut_short(tmp_path: Path) -> None:
    manifest = make_corpus(tmp_path / "corpus")
    shard = tmp_path / "corpus" / "web-train-1.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    error = problems(small_run(manifest, tmp_path / "run"), tmp_path)
    assert "web-train-1.bin" in str(error) and "bytes as the manifest says" in str(error)


def test_batch_that_the_processes_cannot_share(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    error = problems(small_run(corpus, tmp_path / "run"), tmp_path)
    assert "(2 x 3)" in error.problems[0].rule


@pytest.mark.parametrize(
    ("mixture", "rule", "fix"),
    [
        ({"crwal": 1}, "must name a source", "did you mean 'crawl'?"),
        ({"zzz": 1}, "must name a source", "sources: crawl, web, books, wiki"),
    ],
)
def test_mixture_of_other_sources(corpus: Path, mixture: dict[str, int], rule: str, fix: str) -> None:
    run = make_run(data={"mixture": mixture})
    with pytest.raises(ConfigError) as error:
        Corpus(load_manifest(corpus), 16).plan(run)
    assert rule in problem_of(error).rule and problem_of(error).fix == fix


def test_source_too_small_for_a_sample(corpus: Path) -> None:
    model = {"context": 16_384}
    with pytest.raises(ConfigError, match="has no sample of 16384 tokens"):
        Corpus(load_manifest(corpus), 16_384).plan(make_run(model=model, data={"mixture": {"wiki": 1}}))


def test_document_mask_needs_document_ends(tmp_path: Path) -> None:
    path = make_corpus(tmp_path)
    path.write_text(path.read_text().replace('"appends_end_of_text": true', '"appends_end_of_text": false'))
    with pytest.raises(ConfigError, match="documents end with end-of-text"):
        Corpus(load_manifest(path), 16, document_mask=True)


def test_vocabulary_smaller_than_the_tokenizers(corpus: Path) -> None:
    with pytest.raises(ConfigError, match="must hold the 211 tokens"):
        with_vocabulary(make_run(model={"vocab_size": 200}), load_manifest(corpus))


def test_tokenizer_that_is_not_the_manifests(corpus: Path, tmp_path: Path) -> None:
    from tokenizer import train_tokenizer

    train_tokenizer([" ".join(f"word{n} sentence{n * 7}" for n in range(2000))], 512).save(tmp_path)
    with pytest.raises(ConfigError) as error:
        with_vocabulary(make_run(tokenizer=str(tmp_path)), load_manifest(corpus))
    made = made_up_tokenizer(211).fingerprint
    assert f"the manifest's tokens were made with {made} and 0" in problem_of(error).rule


def test_tokenizer_beside_the_manifest_that_did_not_make_it(tmp_path: Path) -> None:
    """Every checkpoint holds it; found when the first one is written, it would be too late."""
    (tmp_path / "corpus").mkdir()
    path = make_corpus(tmp_path / "corpus")
    made_up_tokenizer(300).save(tmp_path / "corpus" / "tokenizer")
    run = small_run(path, tmp_path / "run")
    assert finish(start(run, 1)) == [2]
    found, said = made_up_tokenizer(300).fingerprint, made_up_tokenizer(211).fingerprint
    assert f"its fingerprint is {found}, the manifest says {said}" in told(run)


def test_run_directory_that_deepspeed_would_take_for_a_pattern(tmp_path: Path) -> None:
    from pretrain.training.directory import RunDirectory

    with (
        pytest.raises(ConfigError, match=r"must not contain \[ \]"),
        RunDirectory(make_run(directory=str(tmp_path / "run[1]"))).locked(),
    ):
        pass
    assert not (tmp_path / "run[1]").exists()


def test_run_directory_that_cannot_be_made(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = small_run(corpus, tmp_path / "file" / "run")
    (tmp_path / "asked.yaml").write_text(json.dumps(run))
    with pytest.raises(ConfigError, match="must be a writable directory"):
        from pretrain.training.directory import RunDirectory

        with RunDirectory(make_run(directory=str(tmp_path / "file" / "run"))).locked():
            pass
