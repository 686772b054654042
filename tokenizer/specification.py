"""A tokenizer as data: the contents of a Hugging Face tokenizer.json, and what of it decides the ids."""

from __future__ import annotations

import hashlib
import json
from typing import Any

END_OF_TEXT = "<|endoftext|>"
KNOWN_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "[EOS]")
"""Names that tokenizers give to end-of-text, looked for when their files do not say which it is."""

Specification = dict[str, Any]


def special_tokens(specification: Specification) -> dict[str, int]:
    """Special token -> id."""
    return {token["content"]: token["id"] for token in specification["added_tokens"] if token["special"]}


def ordinary_tokens(specification: Specification) -> list[str]:
    """Added tokens that are found in text."""
    return [token["content"] for token in specification["added_tokens"] if not token["special"]]


def added_token(index: int, content: str, *, special: bool) -> Specification:
    """An entry of `added_tokens`: a name that is one token wherever it stands."""
    strict = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": content, "special": special, **strict}


def vocab_size(specification: Specification) -> int:
    """One more than the largest id, so that every id indexes a table of this many rows."""
    vocab = specification["model"]["vocab"]
    # Unigram models list [piece, score] pairs, whose ids are their places.
    largest: int = max(vocab.values(), default=-1) if isinstance(vocab, dict) else len(vocab) - 1
    return 1 + max(largest, *(int(token["id"]) for token in specification["added_tokens"]), -1)


def unknown_token(specification: Specification) -> int | None:
    """Id of what stands for text that has no piece; None where all text has one."""
    model = specification["model"]
    if model["type"] == "Unigram":
        return None if model["unk_id"] is None else int(model["unk_id"])
    unknown: int | None = model["vocab"].get(model.get("unk_token"))
    return unknown


def plain_text_only(specification: Specification) -> Specification:
    """The same tokenizer without special tokens: their strings inside a document are then ordinary text."""
    ordinary = [token for token in specification["added_tokens"] if not token["special"]]
    return {**specification, "added_tokens": ordinary, "post_processor": None, "truncation": None, "padding": None}


def fingerprint(specification: Specification) -> str:
    """Sixteen hex digits of what decides the ids: equal for vocab.json + merges.txt and the tokenizer.json of them."""
    decisive = {
        "model": _without_defaults(specification["model"]),
        "normalizer": specification.get("normalizer"),
        "pre_tokenizer": _without_offsets(specification.get("pre_tokenizer")),
        "special": sorted(special_tokens(specification).items()),
        "added": [token for token in specification["added_tokens"] if not token["special"]],
    }
    text = json.dumps(decisive, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _without_defaults(model: Specification) -> Specification:
    """null, "" and false all say that an option of the model is off, so none of them counts."""
    return {key: value for key, value in model.items() if value or key in ("vocab", "merges")}


def _without_offsets(pre_tokenizer: Any) -> Any:
    """`trim_offsets` moves character offsets, which nobody here reads, and never an id."""
    if isinstance(pre_tokenizer, dict):
        return {key: _without_offsets(value) for key, value in pre_tokenizer.items() if key != "trim_offsets"}
    if isinstance(pre_tokenizer, list):
        return [_without_offsets(part) for part in pre_tokenizer]
    return pre_tokenizer
