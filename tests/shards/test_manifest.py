"""The manifest comes back as it was written, and refuses what it cannot trust."""

from dataclasses import replace
from pathlib import Path

import pytest

from pretrain.config.errors import ConfigError
from pretrain.shards.manifest import Manifest, Shard, Source, Split, Stage, TokenizerRecord, load_manifest


def small_manifest(directory: Path) -> Manifest:
    (directory / "a.bin").write_bytes(b"1234")
    shard = Shard("a", 1, 2, 7, {".bin": {"bytes": 4, "sha256": "00"}})
    splits = {"train": Split(1, 2, 7, (shard,)), "validation": Split(0, 0, 0, ())}
    source = Source("0.6", (Stage("read", {"kind": "text"}, 2, 1, 9, 7),), splits)
    record = TokenizerRecord("tokenizer", "0123456789abcdef", 512, 511)
    return Manifest("tiny", record, "uint16", True, {"web": source}, {"name": "tiny"}, "0.1.0", "feed")


def test_round_trip(tmp_path: Path) -> None:
    manifest = small_manifest(tmp_path)
    manifest.save(tmp_path / "manifest.json")
    assert load_manifest(tmp_path / "manifest.json") == manifest
    assert load_manifest(tmp_path / "manifest.json").directory == tmp_path
    assert not (tmp_path / "manifest.json.tmp").exists()


def test_fingerprint_is_of_the_tokens(tmp_path: Path) -> None:
    manifest = small_manifest(tmp_path)
    assert replace(manifest, name="other", code_version="9").fingerprint() == manifest.fingerprint()
    record = replace(manifest.tokenizer, fingerprint="f" * 16)
    assert replace(manifest, tokenizer=record).fingerprint() != manifest.fingerprint()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format_version": 1}', '{"format_version": 1, "sources": 3}'])
def test_not_a_manifest(content: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ConfigError, match="is not a manifest"):
        load_manifest(tmp_path / "manifest.json")


@pytest.mark.parametrize(
    ("vocab_size", "end", "rule"),
    [
        (65_537, 0, "has tokens as uint16, which has no room for a vocabulary of 65,537"),
        (512, 512, "has end-of-text 512 in a vocabulary of 512"),
        (512, -1, "has end-of-text -1 in a vocabulary of 512"),
    ],
)
def test_ids_that_cannot_be(vocab_size: int, end: int, rule: str, tmp_path: Path) -> None:
    manifest, path = small_manifest(tmp_path), tmp_path / "manifest.json"
    replace(manifest, tokenizer=TokenizerRecord("tokenizer", "0" * 16, vocab_size, end)).save(path)
    with pytest.raises(ConfigError, match=rule):
        load_manifest(path)


def test_missing_other_version_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    with pytest.raises(ConfigError, match="must be an existing file"):
        load_manifest(path)
    manifest = small_manifest(tmp_path)
    replace(manifest, format_version=9).save(path)
    with pytest.raises(ConfigError, match="has format 9, this reads 1"):
        load_manifest(path)
    manifest.save(path)
    (tmp_path / "a.bin").write_bytes(b"12")
    with pytest.raises(ConfigError, match="must have 4 bytes as the manifest says; it has 2"):
        load_manifest(path)
    (tmp_path / "a.bin").unlink()
    with pytest.raises(ConfigError, match="it is missing"):
        load_manifest(path)
    assert load_manifest(path, check_sizes=False) == manifest
