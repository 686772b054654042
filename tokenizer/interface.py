"""The one interface to every tokenizer: texts to ids and back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import tokenizers

from pretrain.config.errors import ConfigError
from tokenizer import specification as spec
from tokenizer.backends import Backend, Encoded, choose_backend


class Tokenizer:
    """A trained tokenizer. Special tokens are added by their id, never by their text.

    `specification` is the content of a tokenizer.json; `end` is the token that ends a document (None: a known name).
    Raises ConfigError when the specification is not a tokenizer or `end` is not in it.
    """

    def __init__(self, specification: spec.Specification, end: str | None = None) -> None:
        try:
            self._reference = tokenizers.Tokenizer.from_str(orjson.dumps(specification).decode())
        except Exception as error:  # the Rust side raises bare Exception
            fix = "give the tokenizer.json of a Hugging Face tokenizer"
            raise ConfigError.of("tokenizer", "tokenizer.json", f"is not a tokenizer ({error})", fix) from None
        # Read back, so that every default is written out and two spellings of one tokenizer are one.
        self.specification: spec.Specification = orjson.loads(self._reference.to_str())
        self.begin: str | None = None
        self.end = end if end is not None else self._known_end()
        if self.end is not None and self._reference.token_to_id(self.end) is None:
            rule = "end-of-text must be a token of the vocabulary"
            raise ConfigError.of("tokenizer.eos_token", self.end, rule, "name one of its special tokens")

    def encode_batch(self, texts: list[str]) -> Encoded:
        """Tokens (uint32, back to back) and lengths (int64, tokens of each text), without special tokens.

        Texts are Unicode without lone surrogates (ValueError otherwise). Runs on the calling thread.
        """
        if not texts:
            return np.empty(0, np.uint32), np.empty(0, np.int64)
        try:
            return self.backend.encode_batch(texts)
        except (TypeError, UnicodeEncodeError):
            raise ValueError("a text is not valid Unicode: it holds a lone surrogate") from None

    def encode(self, text: str) -> list[int]:
        """Tokens of one text, without special tokens."""
        tokens: list[int] = self.encode_batch([text])[0].tolist()
        return tokens

    def decode(self, tokens: Iterable[int] | npt.NDArray[np.integer]) -> str:
        """Text of tokens; special tokens appear by name, bytes that are not UTF-8 as U+FFFD."""
        text: str = self._reference.decode([int(token) for token in tokens], skip_special_tokens=False)
        return text

    def piece(self, token: int) -> str:
        """What one token is, in the vocabulary's own spelling. Ids that no token has are shown as <id>."""
        return self._reference.id_to_token(int(token)) or f"<{token}>"

    @property
    def end_of_text(self) -> int:
        """Id of the token that ends a document. Raises ConfigError when the tokenizer has none."""
        if self.end is None:
            rule = f"has no end-of-text token; looked for {', '.join(spec.KNOWN_ENDS)}"
            raise ConfigError.of("tokenizer.eos_token", None, rule, "name it as eos_token in tokenizer_config.json")
        return int(self._reference.token_to_id(self.end) or 0)

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return spec.vocab_size(self.specification)

    def padded_size(self, multiple: int = 128) -> int:
        """Vocabulary rounded up to a multiple, so that it divides over tensor-parallel ranks."""
        return -(-self.vocab_size // multiple) * multiple

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits of what decides the ids; the formatting of its files does not."""
        return spec.fingerprint(self.specification)

    @property
    def backend(self) -> Backend:
        """What encodes: chosen at the first use."""
        return self._chosen[0]

    @property
    def backend_reason(self) -> str:
        """Why that backend, in one line."""
        return self._chosen[1]

    def save(self, directory: str | Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, which Hugging Face's AutoTokenizer also opens."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in self._files().items():
            temporary = directory / f"{name}.tmp"
            temporary.write_bytes(content)
            os.replace(temporary, directory / name)

    def _files(self) -> dict[str, bytes]:
        """What is written, by name."""
        specification = json.dumps(self.specification, ensure_ascii=False, indent=1)
        files = {"tokenizer_config.json": json.dumps(self._config(), indent=2), "tokenizer.json": specification}
        return {name: f"{text}\n".encode() for name, text in files.items()}

    def _config(self) -> dict[str, object]:
        config: dict[str, object] = {"tokenizer_class": "PreTrainedTokenizerFast"}
        config["clean_up_tokenization_spaces"] = False
        if self.end is not None:
            config |= {"eos_token": self.end, "bos_token": self.begin or self.end}
        return config

    @cached_property
    def _chosen(self) -> tuple[Backend, str]:
        return choose_backend(self.specification)

    def _known_end(self) -> str | None:
        special = spec.special_tokens(self.specification)
        return next((name for name in spec.KNOWN_ENDS if name in special), None)
