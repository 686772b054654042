"""Load a tokenizer from what people have: our own directory, Hugging Face's, GPT-2's vocab.json + merges.txt."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson

from pretrain.config.errors import ConfigError
from tokenizer.interface import Tokenizer
from tokenizer.sentencepiece_model import specification_of
from tokenizer.specification import END_OF_TEXT, Specification

FIX = "give a directory with tokenizer.json, tokenizer.model, or vocab.json and merges.txt; or one of the first two"


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer in a directory, a tokenizer.json (also gzipped) or a tokenizer.model. Never goes to the network.

    Raises ConfigError when nothing is there or the files are not a tokenizer.
    """
    path = Path(path)
    if path.is_file():
        return _of_model(path, None) if path.suffix == ".model" else Tokenizer(_read_json(path))
    if not path.is_dir():
        raise ConfigError.of("tokenizer", str(path), "must be an existing file or directory", FIX)
    end = _end_of_text(path)
    for name in ("tokenizer.json", "tokenizer.json.gz"):
        if (path / name).is_file():
            return _with_model(Tokenizer(_read_json(path / name), end), path / "tokenizer.model")
    if (path / "vocab.json").is_file() and (path / "merges.txt").is_file():
        return Tokenizer(_gpt2(path), end)
    if (path / "tokenizer.model").is_file():
        return _of_model(path / "tokenizer.model", end)
    return Tokenizer(_auto(path), end)


def _of_model(path: Path, end: str | None) -> Tokenizer:
    model = _read_bytes(path)
    return Tokenizer(specification_of(model), end, model)


def _with_model(tokenizer: Tokenizer, path: Path) -> Tokenizer:
    """The tokenizer with the SentencePiece model beside it, unless its tokenizer.json says more than that model."""
    if not path.is_file():
        return tokenizer
    other = _of_model(path, tokenizer.end)
    return other if other.fingerprint == tokenizer.fingerprint else tokenizer


def _gpt2(directory: Path) -> Specification:
    """Byte-level BPE from GPT-2's two files (Radford et al. 2019)."""
    vocab = _read_json(directory / "vocab.json")
    lines = _read_text(directory / "merges.txt").splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    for number, merge in enumerate(merges, 1):
        if len(merge.split(" ")) != 2:
            rule = f"merge {number} must be two pieces with a space between, not {merge!r}"
            raise ConfigError.of("tokenizer", str(directory / "merges.txt"), rule, "restore the file")
    return byte_level_bpe(vocab, [(a, b) for a, b in (merge.split(" ") for merge in merges)])


def byte_level_bpe(vocab: dict[str, int], merges: list[tuple[str, str]]) -> Specification:
    """The tokenizer.json of a GPT-2-style tokenizer; <|endoftext|> becomes special when the vocabulary has it."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    end = {"id": vocab.get(END_OF_TEXT), "content": END_OF_TEXT, "special": True, "normalized": False}
    end |= {"single_word": False, "lstrip": False, "rstrip": False}
    return {
        "version": "1.0",
        "added_tokens": [end] if END_OF_TEXT in vocab else [],
        "pre_tokenizer": level,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": [list(pair) for pair in merges]},
    }


def _auto(directory: Path) -> Specification:
    """Whatever else `transformers` can turn into a fast tokenizer, from local files only."""
    import transformers

    try:
        loaded = transformers.AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
        specification: Specification = orjson.loads(loaded.backend_tokenizer.to_str())
    except Exception as error:  # transformers raises many kinds; all mean that this is not a tokenizer
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        rule = f"is not a tokenizer that can be loaded ({reason})"
        raise ConfigError.of("tokenizer", str(directory), rule, FIX) from None
    return specification


def _end_of_text(directory: Path) -> str | None:
    """The eos_token of tokenizer_config.json, which is a string or an added token."""
    if not (directory / "tokenizer_config.json").is_file():
        return None
    end = _read_json(directory / "tokenizer_config.json").get("eos_token")
    return end["content"] if isinstance(end, dict) else end


def _read_json(path: Path) -> dict[str, Any]:
    try:
        plain = orjson.loads(_read_text(path))
    except orjson.JSONDecodeError as error:
        raise ConfigError.of("tokenizer", str(path), f"must be JSON ({error})", "restore the file") from None
    if not isinstance(plain, dict):
        raise ConfigError.of("tokenizer", str(path), "must hold a JSON object", FIX)
    return plain


def _read_text(path: Path) -> str:
    try:
        return _read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise ConfigError.of("tokenizer", str(path), f"cannot be read ({error})", "restore the file") from None


def _read_bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError) as error:
        raise ConfigError.of("tokenizer", str(path), f"cannot be read ({error})", "restore the file") from None
