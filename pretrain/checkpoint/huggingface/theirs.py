"""What is asked of transformers itself, silently and without the network."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretrain.checkpoint.huggingface.architecture import Config
from pretrain.config.errors import ConfigError


def read_config(directory: Path) -> Config:
    """config.json with the defaults of its class filled in. Raises ConfigError."""
    raw = raw_config(directory)
    from transformers import AutoConfig

    try:
        with quiet():
            config: Config = AutoConfig.from_pretrained(str(directory), local_files_only=True).to_dict()
    except Exception as error:  # transformers raises many kinds; all mean that the file is wrong
        raise _wrong(directory, _first_line(error)) from None
    return raw | config


def raw_config(directory: Path) -> Config:
    """config.json as it stands. Raises ConfigError."""
    try:
        config = json.loads((directory / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise _wrong(directory, str(error)) from None
    if not isinstance(config, dict):
        raise _wrong(directory, "it holds no JSON object")
    return config


def write_config(directory: Path, model_type: str, config: Config) -> None:
    """config.json and generation_config.json as this version of transformers writes them."""
    from transformers import CONFIG_MAPPING, GenerationConfig

    with quiet():
        written = CONFIG_MAPPING[model_type](**config).to_diff_dict() | config
        text = json.dumps(written, indent=2, sort_keys=True) + "\n"
        (directory / "config.json").write_text(text, encoding="utf-8")
        GenerationConfig(**{key: config[key] for key in ("bos_token_id", "eos_token_id")}).save_pretrained(directory)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without its log and its progress bars."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _wrong(directory: Path, reason: str) -> ConfigError:
    fix = "give a directory that transformers' save_pretrained wrote"
    return ConfigError.of("config.json", str(directory), f"cannot be read: {reason}", fix)


def _first_line(error: Any) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
