"""Load a tokenizer from what people have: our directory, Hugging Face's, SentencePiece's model, GPT-2's two files."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from pretrain.config.errors import ConfigError
from tokenizer.interface import Tokenizer
from tokenizer.sentencepieces import ENCODED_BY, MODEL, SentencePieceTokenizer
from tokenizer.specification import END_OF_TEXT, Specification, added_token

FIX = (
    "give a directory with tokenizer.json, tokenizer.model, or vocab.json and merges.txt; or a tokenizer.json or .model"
)
JSON = ("tokenizer.json", "tokenizer.json.gz")
PICKLE = "is a pickle, which is never opened: loading one runs whatever code it holds"
PICKLE_FIX = "save it with Hugging Face's save_pretrained, then give that directory"


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer in a directory, a tokenizer.json (also gzipped) or a tokenizer.model. Never goes to the network.

    Of tokenizer.json and tokenizer.model in one directory the first decides, as for Hugging Face's AutoTokenizer,
    unless the directory is ours. Raises ConfigError when nothing is there or the files are not a tokenizer.
    """
    path = Path(path)
    if path.is_file():
        return _from_file(path)
    if not path.is_dir():
        raise ConfigError.of("tokenizer", str(path), "must be an existing file or directory", FIX)
    config = _config(path)
    end = _end_of_text(config)
    has_model, has_json = (path / MODEL).is_file(), any((path / name).is_file() for name in JSON)
    if has_model and (config.get(ENCODED_BY) == MODEL or not has_json):
        return SentencePieceTokenizer(_read(path / MODEL), end, str(path / MODEL))
    for name in JSON:
        if (path / name).is_file():
            return Tokenizer(_read_json(path / name), end)
    if (path / "vocab.json").is_file() and (path / "merges.txt").is_file():
        return Tokenizer(_gpt2(path), end)
    _refuse_pickles(path)
    return Tokenizer(_auto(path), end)


def _from_file(path: Path) -> Tokenizer:
    end = _end_of_text(_config(path.parent))
    if path.suffix == ".model":
        return SentencePieceTokenizer(_read(path), end, str(path))
    return Tokenizer(_read_json(path), end)


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


def byte_level_bpe(
    vocab: dict[str, int], merges: list[tuple[str, str]], special: Sequence[str] = (END_OF_TEXT,)
) -> Specification:
    """The tokenizer.json of a GPT-2-style tokenizer; the names in `special` that its vocabulary has become special."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": [added_token(vocab[name], name, special=True) for name in special if name in vocab],
        "pre_tokenizer": level,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": [list(pair) for pair in merges]},
    }


def _auto(directory: Path) -> Specification:
    """Whatever else `transformers` can turn into a fast tokenizer, from local files only."""
    import transformers

    try:
        loaded = transformers.AutoTokenizer.from_pretrained(
            str(directory), local_files_only=True, trust_remote_code=False
        )
        specification: Specification = orjson.loads(loaded.backend_tokenizer.to_str())
    except Exception as error:  # transformers raises many kinds; all mean that this is not a tokenizer
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        rule = f"is not a tokenizer that can be loaded ({reason})"
        raise ConfigError.of("tokenizer", str(directory), rule, FIX) from None
    # of config.json alone transformers makes the special tokens of that kind of model, for T5 a mark of a space too
    if len(loaded) <= len(loaded.added_tokens_decoder) + 1:
        raise ConfigError.of("tokenizer", str(directory), "has no vocabulary, only special tokens", FIX)
    return specification


def _refuse_pickles(directory: Path) -> None:
    if found := sorted(file for file in directory.iterdir() if file.suffix in (".pkl", ".pickle")):
        raise ConfigError.of("tokenizer", str(found[0]), PICKLE, PICKLE_FIX)


def _config(directory: Path) -> dict[str, Any]:
    """tokenizer_config.json, empty where there is none."""
    path = directory / "tokenizer_config.json"
    return _read_json(path) if path.is_file() else {}


def _end_of_text(config: dict[str, Any]) -> str | None:
    """Its eos_token, which is a string or an added token."""
    end = config.get("eos_token")
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
        return _read(path).decode()
    except UnicodeDecodeError as error:
        raise ConfigError.of("tokenizer", str(path), f"cannot be read ({error})", "restore the file") from None


def _read(path: Path) -> bytes:
    """The bytes of a file, unpacked. Raises ConfigError, also for a pickle."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError) as error:
        raise ConfigError.of("tokenizer", str(path), f"cannot be read ({error})", "restore the file") from None
    if raw[:1] == b"\x80" and raw[1:2] in b"\x02\x03\x04\x05" and raw.endswith(b"."):
        raise ConfigError.of("tokenizer", str(path), PICKLE, PICKLE_FIX)
    return raw
