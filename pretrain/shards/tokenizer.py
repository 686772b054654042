"""The tokenizer that lies beside a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretrain.config.errors import ConfigError
from pretrain.shards.manifest import Manifest
from pretrain.shards.remote import local_directory

if TYPE_CHECKING:
    from tokenizer import Tokenizer


def tokenizer_of(manifest: Manifest) -> Tokenizer:
    """The tokenizer of a corpus. Raises ConfigError when its files are missing, or are not what made the tokens."""
    from tokenizer import load_tokenizer  # processes that only read shards do without

    path, recorded = manifest.directory / manifest.tokenizer.path, manifest.tokenizer
    with local_directory(path) as folder:
        found = load_tokenizer(folder)
    fix = "restore the folder, or run `pretrain corpus prepare` again"
    if found.fingerprint != recorded.fingerprint:
        rule = f"its fingerprint is {found.fingerprint}, the manifest says {recorded.fingerprint}"
        raise ConfigError.of("data.manifest", str(path), rule, fix)
    if found.end_of_text != recorded.end_of_text:
        rule = f"its end-of-text is {found.end_of_text} ({found.end}), the manifest says {recorded.end_of_text}"
        raise ConfigError.of("data.manifest", str(path), rule, fix)
    return found
