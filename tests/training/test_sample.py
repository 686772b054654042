"""Text comes out as it would stand in the document: a token may be spelled otherwise at the start of one."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
import sentencepiece

from pretrain.training import sample
from tests.tokenizer.conftest import SENTENCES
from tokenizer import Tokenizer, train_tokenizer
from tokenizer.sentencepieces import SentencePieceTokenizer


def with_added_space() -> Tokenizer:
    """As Llama's: a text begins with a space that decoding takes away."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=written, vocab_size=400, model_type="bpe", minloglevel=2,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
    )  # fmt: skip
    return SentencePieceTokenizer(written.getvalue())


@pytest.mark.parametrize("tokenizer", [with_added_space(), train_tokenizer(SENTENCES, 400)], ids=["spm", "byte-bpe"])
@pytest.mark.parametrize("prompt", ["The quick", "안", ""])
def test_what_follows_a_prompt(tokenizer: Tokenizer, prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = [*tokenizer.encode("x foxes ☃ of")][1:]

    def generate(*_: Any, **__: Any) -> Iterator[int]:
        return iter(written)

    monkeypatch.setattr(sample, "generate", generate)
    pieces = list(sample.stream_text(None, tokenizer, prompt, 9, 1.0, 0, 1.0, 0))  # type: ignore[arg-type]
    whole = tokenizer.decode([*(tokenizer.encode(prompt) or [tokenizer.end_of_text]), *written])
    assert "".join(pieces) == whole[len(prompt or tokenizer.end or "") :]
    assert "".join(pieces).endswith(" foxes ☃ of") and "☃" in "".join(pieces)
    assert not any("\ufffd" in piece for piece in pieces)
