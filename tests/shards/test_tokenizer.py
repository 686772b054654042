"""The tokenizer beside a manifest is the one that made its tokens, or it is refused."""

import json
import shutil
from pathlib import Path

import pytest

from pretrain.config.errors import ConfigError
from pretrain.shards.manifest import load_manifest
from pretrain.shards.tokenizer import tokenizer_of
from tests.synthetic import made_up_tokenizer, make_corpus


def test_the_one_that_made_the_tokens(tmp_path: Path) -> None:
    manifest = load_manifest(make_corpus(tmp_path))
    assert tokenizer_of(manifest).fingerprint == manifest.tokenizer.fingerprint
    folder = tmp_path / "tokenizer"
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "eos_token": "t7"}))
    with pytest.raises(ConfigError, match=r"its end-of-text is 7 \(t7\), the manifest says 0"):
        tokenizer_of(manifest)
    other = made_up_tokenizer(212)
    other.save(folder)
    words = f"its fingerprint is {other.fingerprint}, the manifest says {manifest.tokenizer.fingerprint}"
    with pytest.raises(ConfigError, match=words):
        tokenizer_of(manifest)
    shutil.rmtree(folder)
    with pytest.raises(ConfigError, match="must be an existing file or directory"):
        tokenizer_of(manifest)
