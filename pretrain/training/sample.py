"""Text from a trained model, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

from pretrain.model.generate import generate
from pretrain.model.transformer import Transformer
from tokenizer import Tokenizer


def stream_text(
    model: Transformer,
    tokenizer: Tokenizer,
    prompt: str,
    max_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
) -> Iterator[str]:
    """The text after `prompt` (not included) as it is drawn; ends at end-of-text or after `max_tokens` tokens.

    A character whose bytes are spread over several tokens comes when it is whole.
    """
    ids = tokenizer.encode(prompt) or [tokenizer.end_of_text]
    drawn: list[int] = []
    shown = len(tokenizer.decode(ids))  # a token may be spelled otherwise at the start of a text
    for token in generate(
        model, ids, max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, stop=tokenizer.end_of_text
    ):
        drawn.append(token)
        text = tokenizer.decode([*ids, *drawn])
        if not text.endswith("\ufffd"):
            yield text[shown:]
            shown = len(text)
    yield tokenizer.decode([*ids, *drawn])[shown:]
