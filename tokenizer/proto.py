"""A SentencePiece model as data: its pieces, what of it decides the ids, and the tokenizer.json that says the same.

Its file is a protocol buffer, sentencepiece_model.proto (Kudo and Richardson 2018).
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from pretrain.config.errors import ConfigError
from tokenizer.specification import Specification, added_token

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of pieces."""
KINDS = {1: "unigram", 2: "BPE", 3: "word", 4: "char"}
SPACE = "\u2581"
"""What stands for a space inside pieces."""
NEVER = 1000.0
"""How much less likely than any piece the names of special tokens and bytes are, so that no text is cut into them."""


def parse_model(raw: bytes, where: str) -> Any:
    """The ModelProto of a file's bytes. Raises ConfigError: other formats, kinds that no tokenizer.json can hold."""
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    try:
        model = ModelProto.FromString(raw)
    except Exception:  # protobuf's own error
        model = ModelProto()
    if not model.pieces:
        fix = "give a directory with tokenizer.json (files of tiktoken are called tokenizer.model, too)"
        raise ConfigError.of("tokenizer", where, "is not a SentencePiece model", fix)
    trainer, kind = model.trainer_spec, KINDS.get(model.trainer_spec.model_type)
    if kind not in ("unigram", "BPE"):
        rule = f"is a SentencePiece model of words or characters ({kind}); it must be BPE or unigram"
        raise ConfigError.of("tokenizer", where, rule, "give another tokenizer")
    if trainer.treat_whitespace_as_suffix or not model.normalizer_spec.escape_whitespaces:
        rule = "is a SentencePiece model whose spaces do not begin pieces, which no tokenizer.json can say"
        raise ConfigError.of("tokenizer", where, rule, "train one without treat_whitespace_as_suffix")
    return model


def fingerprint(model: Any) -> str:
    """Sixteen hex digits of what decides the ids: pieces, their scores, and how texts are normalised."""
    normalizer, trainer = model.normalizer_spec, model.trainer_spec
    decisive = {
        "pieces": [[piece.piece, piece.score.hex(), piece.type] for piece in model.pieces],
        "kind": KINDS[trainer.model_type],
        "byte_fallback": trainer.byte_fallback,
        "charsmap": normalizer.precompiled_charsmap.hex(),
        "add_dummy_prefix": normalizer.add_dummy_prefix,
        "remove_extra_whitespaces": normalizer.remove_extra_whitespaces,
    }
    text = json.dumps(decisive, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def specification(model: Any) -> Specification:
    """The tokenizer.json of it, for Hugging Face's `tokenizers`."""
    decoders: list[dict[str, Any]] = [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    if model.normalizer_spec.add_dummy_prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "version": "1.0",
        "added_tokens": [
            added_token(index, piece.piece, special=piece.type != USER_DEFINED)
            for index, piece in enumerate(model.pieces)
            if piece.type in (UNKNOWN, CONTROL, USER_DEFINED)
        ],
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(model.normalizer_spec)},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": _bpe(model) if KINDS[model.trainer_spec.model_type] == "BPE" else _unigram(model),
    }


def _normalizers(normalizer: Any) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    if normalizer.precompiled_charsmap:
        charsmap = base64.b64encode(normalizer.precompiled_charsmap).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
    if normalizer.remove_extra_whitespaces:
        steps.append({"type": "Strip", "strip_left": True, "strip_right": True})
        steps.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    if normalizer.add_dummy_prefix:
        steps.append({"type": "Prepend", "prepend": SPACE})
    return [*steps, _replace(" ", SPACE)]


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def _unigram(model: Any) -> dict[str, Any]:
    never = min((piece.score for piece in model.pieces if piece.type == NORMAL), default=0.0) - NEVER
    vocab = [[piece.piece, piece.score if piece.type in (NORMAL, USER_DEFINED) else never] for piece in model.pieces]
    unknown = next((index for index, piece in enumerate(model.pieces) if piece.type == UNKNOWN), None)
    return {"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": model.trainer_spec.byte_fallback}


def _bpe(model: Any) -> dict[str, Any]:
    """SentencePiece joins the neighbours whose joined piece scores highest: every cut of a piece is a merge."""
    ids = {piece.piece: index for index, piece in enumerate(model.pieces)}
    normal = {piece.piece for piece in model.pieces if piece.type == NORMAL}
    merges = [
        (-piece.score, ids[left], ids[right], [left, right])
        for piece in model.pieces
        if piece.type == NORMAL
        for left, right in ((piece.piece[:cut], piece.piece[cut:]) for cut in range(1, len(piece.piece)))
        if left in normal and right in normal
    ]
    unknown = next((piece.piece for piece in model.pieces if piece.type == UNKNOWN), None)
    options = {"unk_token": unknown, "fuse_unk": True, "byte_fallback": model.trainer_spec.byte_fallback}
    return {"type": "BPE", **options, "vocab": ids, "merges": [merge for *_, merge in sorted(merges)]}
