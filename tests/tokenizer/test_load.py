"""Loading: the same tokenizer from every form of its files, and clear words for bad ones."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from pretrain.config.errors import ConfigError
from tests.tokenizer.conftest import test_data
from tokenizer import Tokenizer, load_tokenizer


def test_save_and_load(small: Tokenizer, tmp_path: Path) -> None:
    small.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.fingerprint == small.fingerprint
    assert again.encode("The quick foxes") == small.encode("The quick foxes")
    assert again.end_of_text == 399
    assert load_tokenizer(tmp_path / "tokenizer.json").fingerprint == small.fingerprint


def test_transformers_opens_what_we_save(small: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    small.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert theirs.encode("The 한국어 naïve", add_special_tokens=False) == small.encode("The 한국어 naïve")
    assert (theirs.eos_token, theirs.eos_token_id) == ("<|endoftext|>", 399)


def test_gpt2_files_and_json_are_one_tokenizer(tmp_path: Path) -> None:
    folder = test_data("gpt2-tokenizer")
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(folder / name, tmp_path)
    files, archive = load_tokenizer(tmp_path), load_tokenizer(folder / "tokenizer.json.gz")
    assert files.fingerprint == archive.fingerprint == "5f9fe85fdc38d6fe"


def test_fingerprint_ignores_formatting_and_sees_content(small: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(small.specification, indent=7, sort_keys=True))
    with gzip.open(tmp_path / "two.json.gz", "wt") as file:
        json.dump({**small.specification, "truncation": None, "post_processor": None}, file)
    assert load_tokenizer(tmp_path / "one.json").fingerprint == small.fingerprint
    assert load_tokenizer(tmp_path / "two.json.gz").fingerprint == small.fingerprint
    for change in (
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
        {"model": {**small.specification["model"], "merges": small.specification["model"]["merges"][:-1]}},
        {"added_tokens": []},
    ):
        assert Tokenizer({**small.specification, **change}).fingerprint != small.fingerprint


def test_end_of_text_from_the_config_or_by_name(small: Tokenizer, tmp_path: Path) -> None:
    small.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "a"}}')
    assert load_tokenizer(tmp_path).end_of_text == small.encode("a")[0]
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<nothing>"}')
    with pytest.raises(ConfigError, match="must be a token of the vocabulary"):
        load_tokenizer(tmp_path)
    with pytest.raises(ConfigError, match="has no end-of-text token"):
        _ = Tokenizer({**small.specification, "added_tokens": []}).end_of_text


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        ({}, "is not a tokenizer that can be loaded"),
        ({"tokenizer.json": "{"}, "must be JSON"),
        ({"tokenizer.json": "[]"}, "must hold a JSON object"),
        ({"tokenizer.json": "{}"}, "is not a tokenizer"),
        ({"tokenizer.json": b"\xff\xfe"}, "cannot be read"),
        ({"tokenizer.json": b"\x80\x04K\x01."}, "is a pickle, which is never opened"),
        ({"tokenizer.pkl": b"\x80\x04K\x01."}, "is a pickle, which is never opened"),
        ({"tokenizer.json.gz": b"\x1f\x8b\x08cut"}, "cannot be read"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "#version: 0.2\na b c\n"}, "merge 1 must be two pieces"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "a b\n"}, "is not a tokenizer"),
    ],
)
def test_bad_files(files: dict[str, str | bytes], rule: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError, match=rule):
        load_tokenizer(tmp_path)


def test_code_in_the_folder_is_not_run(tmp_path: Path) -> None:
    config = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ConfigError, match="is not a tokenizer that can be loaded"):
        load_tokenizer(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("model", ["gpt2", "qwen2", "t5", "bert"])
def test_the_config_of_a_model_is_no_tokenizer(model: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model}))
    with pytest.raises(ConfigError, match="has no vocabulary, only special tokens"):
        load_tokenizer(tmp_path)


def test_a_file_takes_its_end_of_text_from_the_config_beside_it(small: Tokenizer, tmp_path: Path) -> None:
    small.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "a"}')
    assert load_tokenizer(tmp_path / "tokenizer.json").end == "a"


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be an existing file or directory"):
        load_tokenizer(tmp_path / "nowhere")
