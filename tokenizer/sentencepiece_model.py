"""SentencePiece models (Kudo & Richardson 2018): trained, read, and written out as a tokenizer.json.

Ours change nothing about a text: no normalisation, no space put in front, none removed, bytes for characters that have
no piece. So decode(encode(text)) is the text, with one exception: U+2581, which stands for a space in every piece.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pretrain.config.errors import ConfigError
from tokenizer.specification import END_OF_TEXT, Specification

SPACE = "\u2581"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4
LONGEST_LINE = 2**14
"""Characters of a line that the trainer is shown at once."""
THREADS = 16
"""The trainer cuts its sums into so many parts, whatever the machine: the result hangs on it."""


@dataclass(frozen=True)
class Learning:
    """How a SentencePiece model is trained."""

    model: Literal["bpe", "unigram"]
    """bpe: Sennrich et al. 2016. unigram: Kudo 2018."""
    character_coverage: float = 0.9995
    """Share of the text's characters that get a piece of their own; the others are written as bytes."""
    split_digits: bool = True
    """Each digit is a piece (as LLaMA's)."""


def train_model(texts: Iterable[str], vocab_size: int, learning: Learning) -> bytes:
    """The SentencePiece model of `vocab_size` pieces, <unk>, end-of-text and 256 bytes among them.

    The same texts give the same bytes. Raises ConfigError when the text is too little for the vocabulary.
    """
    import sentencepiece

    out = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts), model_writer=out, model_type=learning.model, vocab_size=vocab_size,
            character_coverage=learning.character_coverage, split_digits=learning.split_digits, byte_fallback=True,
            normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True, unk_id=0, eos_id=1, bos_id=-1, pad_id=-1, eos_piece=END_OF_TEXT,
            max_sentence_length=4 * LONGEST_LINE, num_threads=THREADS, minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        raise _refused(vocab_size, " ".join(str(error).split())) from None
    return out.getvalue()


def _refused(vocab_size: int, reason: str) -> ConfigError:
    most = re.search(r"value <= (\d+)", reason)
    fewest = re.search(r"required_chars|smaller than required", reason)
    if most:
        return ConfigError.of(
            "vocab_size", vocab_size, "the text is too little for so many pieces", f"at most {most[1]}"
        )
    if fewest:
        fix = "take a larger vocabulary, or a smaller character_coverage"
        return ConfigError.of("vocab_size", vocab_size, "cannot hold the characters of the text and 256 bytes", fix)
    return ConfigError.of("tokenizer", reason[-200:], "SentencePiece cannot learn from this text", "give more text")


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Lines, long ones in parts. The trainer learns no line ends: they are a byte each, as in LLaMA's tokenizer."""
    for text in texts:
        for line in text.replace("\0", " ").split("\n"):
            yield from (line[start : start + LONGEST_LINE] for start in range(0, len(line), LONGEST_LINE))


def open_model(model: bytes) -> Any:
    """The processor of a tokenizer.model. Raises ConfigError when it is none."""
    import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        rule = f"is not a SentencePiece model ({' '.join(str(error).split())[-120:]})"
        raise ConfigError.of("tokenizer", "tokenizer.model", rule, "restore the file") from None


def specification_of(model: bytes) -> Specification:
    """The same tokenizer as a tokenizer.json, which Hugging Face's libraries open."""
    from sentencepiece import sentencepiece_model_pb2 as protocol

    open_model(model)
    proto = protocol.ModelProto.FromString(model)
    pieces = [(piece.piece, piece.score, piece.type) for piece in proto.pieces]
    kinds = {NORMAL: "normal", UNKNOWN: "unknown", CONTROL: "control", USER_DEFINED: "user"}
    added = [
        _added(number, text, special=kind in (UNKNOWN, CONTROL))
        for number, (text, _, kind) in enumerate(pieces)
        if kinds.get(kind, "normal") != "normal"
    ]
    rules, unigram = proto.normalizer_spec, proto.trainer_spec.model_type == 1
    body = _unigram(pieces, proto.trainer_spec) if unigram else _bpe(pieces, proto.trainer_spec)
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(rules)},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": _decoders(rules.add_dummy_prefix)},
        "model": body,
    }


def _added(number: int, text: str, special: bool) -> dict[str, Any]:
    how = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": number, "content": text, "special": special, **how}


def _unigram(pieces: list[tuple[str, float, int]], trainer: Any) -> dict[str, Any]:
    vocab = [[text, score] for text, score, _ in pieces]
    return {"type": "Unigram", "unk_id": trainer.unk_id, "vocab": vocab, "byte_fallback": trainer.byte_fallback}


def _bpe(pieces: list[tuple[str, float, int]], trainer: Any) -> dict[str, Any]:
    vocab = {text: number for number, (text, _, _) in enumerate(pieces)}
    scores = {text: score for text, score, kind in pieces if kind in (NORMAL, USER_DEFINED)}
    return {
        "type": "BPE",
        "vocab": vocab,
        "merges": [list(pair) for pair in _merges(scores, vocab)],
        "unk_token": pieces[trainer.unk_id][0],
        "fuse_unk": True,
        "byte_fallback": trainer.byte_fallback,
    }


def _merges(scores: Mapping[str, float], vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    """Every pair that makes a piece, the best piece first: SentencePiece merges whichever pair makes the best one."""
    found = [
        (-score, vocab[text], vocab[text[:cut]], text[:cut], text[cut:])
        for text, score in scores.items()
        for cut in range(1, len(text))
        if text[:cut] in scores and text[cut:] in scores
    ]
    return [(left, right) for *_, left, right in sorted(found)]


def _normalizers(rules: Any) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    if rules.precompiled_charsmap:
        charsmap = base64.b64encode(rules.precompiled_charsmap).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
    if rules.remove_extra_whitespaces:
        steps.append({"type": "Strip", "strip_left": True, "strip_right": True})
        steps.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    if rules.add_dummy_prefix:
        steps.append({"type": "Prepend", "prepend": " "})
    if rules.escape_whitespaces:
        steps.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
    return steps


def _decoders(has_prefix: bool) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    return [*steps, {"type": "Strip", "content": " ", "start": 1, "stop": 0}] if has_prefix else steps
