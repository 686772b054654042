"""Who computes the ids: gigatoken where it is right, the reference library otherwise.

gigatoken encodes GPT-2's vocabulary at 75 to 180 MB/s on one core, Hugging Face `tokenizers` at 2 to 5 MB/s. Its ids
must be the reference's, so a few texts that have caught tokenizers out are encoded with both before it is used.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import orjson
import tokenizers

from tokenizer.specification import Specification, ordinary_tokens, plain_text_only, special_tokens

Encoded = tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]
"""Tokens of all texts back to back, and how many belong to each text."""

ADVERSARIAL = (
    "Hello, world! It's we'll they'RE 'S can't\n\n\n  indented\t\ttabs \r\n end ",
    "안녕하세요 세계, 한국어 텍스트입니다. 日本語とか中文字符 ไทย नमस्ते مرحبا שלום",
    "cafe\u0301 café e\u0301\u0301\u0301 A\u030a Å ﬁ Ⅷ ² ½ İ ı ß ẞ ſ ª",
    "👩‍👩‍👧‍👦 🇰🇷🇩🇪 👍🏽 \U0001f9ff\u200d\u200b\u2060\ufeff\u00ad",
    "\x00\x01\x02\x1b\x7f\x80\x85\xa0 \u2028\u2029\u3000\u1680 \v\f\x1c\x1d",
    " " * 300 + "\n" * 200 + "a" * 500 + "1234567890" * 30 + "!" * 120,
    "1,234.56 12e-5 0x1F ١٢٣ १२३ ３４５ _under_score CamelCase http://a.b/c?d=e#f",
    "\ue000\uf8ff\U000f0000\U0010ffff\ufffd\ufffe",
    " leading", "trailing ", " ", "\n", "  two", "a  b   c    d", "",
)  # fmt: skip


class Backend(Protocol):
    """Turns texts into ids, never into special tokens."""

    name: str

    def encode_batch(self, texts: list[str]) -> Encoded:
        """Tokens and lengths of valid Unicode texts; runs on the calling thread."""

    def encode(self, text: str) -> npt.NDArray[np.uint32]:
        """Tokens of one text: for short ones, where a batch of one costs gigatoken forty times as much."""


class Reference:
    """The reference library: Hugging Face `tokenizers`."""

    name = "tokenizers"

    def __init__(self, specification: Specification) -> None:
        self._tokenizer = tokenizers.Tokenizer.from_str(orjson.dumps(specification).decode())
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode_batch(self, texts: list[str]) -> Encoded:
        rows = [self._tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        tokens = np.fromiter((token for row in rows for token in row), dtype=np.uint32, count=int(lengths.sum()))
        return tokens, lengths

    def encode(self, text: str) -> npt.NDArray[np.uint32]:
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.uint32)


class Gigatoken:
    """The fast path. Raises ValueError or similar when gigatoken does not know this kind of tokenizer."""

    name = "gigatoken"

    def __init__(self, specification: Specification) -> None:
        import gigatoken

        self._tokenizer = gigatoken.Tokenizer.from_json(orjson.dumps(plain_text_only(specification)).decode())

    def encode_batch(self, texts: list[str]) -> Encoded:
        layout = self._tokenizer.encode_batch(texts, parallel=False).layout
        offsets = np.asarray(layout.offsets.data, dtype=np.int64)
        tokens = np.asarray(layout.content.data, dtype=np.uint32)[offsets[0] : offsets[-1]]
        return tokens, np.diff(offsets)

    def encode(self, text: str) -> npt.NDArray[np.uint32]:
        return np.asarray(self._tokenizer.encode(text), dtype=np.uint32)


def choose_backend(specification: Specification, reference: Backend | None = None) -> tuple[Backend, str]:
    """The fastest backend whose ids are the reference's (default: `tokenizers`), and why it was chosen in one line."""
    reference = reference or Reference(specification)
    try:
        fast = Gigatoken(specification)
    except Exception as error:  # gigatoken raises what its Rust side raises; any refusal means the same
        return reference, f"gigatoken does not support this tokenizer: {str(error).splitlines()[0]}"
    names = [*list(special_tokens(specification))[:8], *ordinary_tokens(specification)[:8]]
    texts = [*ADVERSARIAL, *(f"a {name} b{name}{name}" for name in names)]
    if wrong := first_difference(fast, reference, texts):
        return reference, f"gigatoken's ids differ from the reference's on {wrong[:40]!r}"
    return fast, f"ids equal the reference's on {len(texts)} adversarial texts"


def first_difference(one: Backend, other: Backend, texts: list[str]) -> str | None:
    """The first text that two backends encode differently, or None. An error counts as a difference."""
    for text in texts:
        try:
            expected = other.encode(text)
            same = np.array_equal(one.encode_batch([text])[0], expected) and np.array_equal(one.encode(text), expected)
        except Exception:
            same = False
        if not same:
            return text
    return None
