"""Tokenizers that are SentencePiece models: the ids are those of the sentencepiece library."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import groupby

import numpy as np
import numpy.typing as npt

from tokenizer import proto
from tokenizer.backends import Backend, Encoded, choose_backend
from tokenizer.interface import Tokenizer

MODEL = "tokenizer.model"
ENCODED_BY = "encoded_by"
"""Key of tokenizer_config.json: of tokenizer.json and tokenizer.model in a folder, it names the one that decides."""


class SentencePiece:
    """The reference library: sentencepiece."""

    name = "sentencepiece"

    def __init__(self, model: bytes) -> None:
        import sentencepiece

        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    def encode_batch(self, texts: list[str]) -> Encoded:
        rows = self.processor.encode([text.encode() for text in texts], return_type="numpy", num_threads=1)
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        return np.concatenate([*rows, np.empty(0, np.int32)]).astype(np.uint32), lengths

    def encode(self, text: str) -> npt.NDArray[np.uint32]:
        return np.asarray(self.processor.encode(text.encode(), return_type="numpy")).astype(np.uint32)


class SentencePieceTokenizer(Tokenizer):
    """A tokenizer.model. It is kept as it is, with a tokenizer.json made of it for Hugging Face's AutoTokenizer."""

    def __init__(self, model: bytes, end: str | None = None, where: str = MODEL) -> None:
        self.model = model
        self._proto = proto.parse_model(model, where)
        self._sentencepiece = SentencePiece(model)
        super().__init__(proto.specification(self._proto), end)
        processor = self._sentencepiece.processor
        if end is None and processor.eos_id() >= 0:
            self.end = processor.id_to_piece(processor.eos_id())
        if processor.bos_id() >= 0:
            self.begin = processor.id_to_piece(processor.bos_id())

    def decode(self, tokens: Iterable[int] | npt.NDArray[np.integer]) -> str:
        """Text of tokens; special tokens appear by name, bytes that are not UTF-8 as U+FFFD."""
        ids = [token for token in map(int, tokens) if 0 <= token < self.vocab_size]
        return "".join(
            "".join(map(self.piece, run)) if special else self._sentencepiece.processor.decode(list(run))
            for special, run in groupby(ids, self._special.__contains__)
        )

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits of what decides the ids; how it was trained does not."""
        return proto.fingerprint(self._proto)

    def _files(self) -> dict[str, bytes]:
        return {MODEL: self.model, **super()._files()}

    def _config(self) -> dict[str, object]:
        return {**super()._config(), ENCODED_BY: MODEL}

    @cached_property
    def _special(self) -> frozenset[int]:
        named = (proto.UNKNOWN, proto.CONTROL)
        return frozenset(index for index, piece in enumerate(self._proto.pieces) if piece.type in named)

    @cached_property
    def _chosen(self) -> tuple[Backend, str]:
        return choose_backend(self.specification, self._sentencepiece)
