"""SentencePiece: the ids of its library, text that comes back as it was, and the same model from the same text."""

import gzip
import io
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pretrain.config.errors import ConfigError
from tests.tokenizer.conftest import SENTENCES, test_data
from tests.tokenizer.test_encoding import PIECES
from tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from tokenizer.backends import ADVERSARIAL
from tokenizer.sentencepieces import SentencePieceTokenizer

KINDS = ("bpe", "unigram")
LLAMA: dict[str, Any] = {"model_type": "bpe", "normalization_rule_name": "identity", "remove_extra_whitespaces": False}
"""Llama's training settings, with its dummy prefix; <s> and </s> are the library's defaults."""
FOREIGN: dict[str, dict[str, Any]] = {
    "llama": LLAMA | {"byte_fallback": True, "split_digits": True},
    "t5": {"model_type": "unigram", "vocab_size": 200},
    "named": LLAMA | {"byte_fallback": True, "user_defined_symbols": ["<tag>"]},
}
NAMES = [*KINDS, *FOREIGN]


def theirs(vocab_size: int = 400, **options: Any) -> bytes:
    """A model that the library trained."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=written, vocab_size=vocab_size, minloglevel=2, **options
    )
    return written.getvalue()


def ours(kind: str) -> SentencePieceTokenizer:
    trained = train_tokenizer(SENTENCES, 400, algorithm=f"sentencepiece-{kind}", special_tokens=["<|pad|>"])
    assert isinstance(trained, SentencePieceTokenizer)
    return trained


@cache
def made(name: str) -> SentencePieceTokenizer:
    return ours(name) if name in KINDS else SentencePieceTokenizer(theirs(**FOREIGN[name]))


@cache
def library(name: str) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=made(name).model)


@pytest.mark.parametrize("name", NAMES)
def test_adversarial_texts_have_the_library_s_ids(name: str) -> None:
    texts = [*ADVERSARIAL, "\u2581", "\u2585", "<s>a</s> <unk> <0x0A> <tag><|pad|>"]
    tokens, lengths = made(name).encode_batch(texts)
    assert tokens.tolist() == [token for text in texts for token in library(name).encode(text)]
    assert lengths.tolist() == [len(library(name).encode(text)) for text in texts]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=3))
@example(["", " ", "\n"])
def test_ids_are_the_library_s(name: str, texts: list[str]) -> None:
    assert made(name).encode_batch(texts)[0].tolist() == [i for text in texts for i in library(name).encode(text)]
    assert made(name).backend.encode(texts[0]).tolist() == library(name).encode(texts[0])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(PIECES)
@example("  two\n\n   three \t\r\n ")
@example("\x00\x01 한국어 👩‍👩‍👧‍👦 ")
def test_decodes_to_the_text(kind: str, text: str) -> None:
    text = text.replace("\u2581", "")
    assert made(kind).decode(made(kind).encode(text)) == text


@pytest.mark.parametrize("kind", KINDS)
def test_the_one_character_that_does_not_come_back(kind: str) -> None:
    """SentencePiece writes spaces as U+2581; it has no other spelling for that character itself."""
    assert made(kind).decode(made(kind).encode("a\u2581b")) == "a b"


@pytest.mark.parametrize("kind", KINDS)
def test_layout_and_special_tokens(kind: str) -> None:
    one = made(kind)
    assert [one.piece(token) for token in (0, 1, 2, 3, 258)] == [
        "<unk>",
        "<|endoftext|>",
        "<|pad|>",
        "<0x00>",
        "<0xFF>",
    ]
    assert (one.vocab_size, one.end, one.end_of_text, one.padded_size()) == (400, "<|endoftext|>", 1, 512)
    tokens = one.encode("<unk><|endoftext|><|pad|>")
    assert not {0, 1, 2} & set(tokens) and one.decode(tokens) == "<unk><|endoftext|><|pad|>"
    assert one.decode([1, *one.encode(" a"), 2, 999_999]) == "<|endoftext|> a<|pad|>"
    with pytest.raises(ValueError, match="lone surrogate"):
        one.encode("fine \ud800 broken")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_model_on_any_number_of_cores(kind: str) -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert ours(kind).model == made(kind).model
    finally:
        os.sched_setaffinity(0, cores)


def test_fingerprint_is_of_what_decides_the_ids() -> None:
    assert made("bpe").fingerprint == "571d6855a2c63cd1"
    again = theirs(**FOREIGN["llama"], num_threads=3, self_test_sample_size=1)
    assert again != made("llama").model and SentencePieceTokenizer(again).fingerprint == made("llama").fingerprint
    assert len({tokenizer.fingerprint for tokenizer in map(made, NAMES)}) == len(NAMES)
    no_prefix = theirs(**FOREIGN["llama"], add_dummy_prefix=False)
    assert SentencePieceTokenizer(no_prefix).fingerprint != made("llama").fingerprint


def test_backends() -> None:
    assert {name: made(name).backend.name for name in NAMES } == {
        "bpe": "gigatoken", "llama": "gigatoken", "unigram": "sentencepiece", "t5": "sentencepiece",
        "named": "sentencepiece",
    }  # fmt: skip
    assert made("named").backend_reason.startswith("gigatoken's ids differ from the reference's on 'a <tag> b")
    assert made("unigram").backend_reason.startswith("gigatoken does not support this tokenizer")
    assert "\n" not in made("unigram").backend_reason


@pytest.mark.parametrize("name", NAMES)
def test_save_and_load(name: str, tmp_path: Path) -> None:
    made(name).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    ]  # fmt: skip
    for path in (tmp_path, tmp_path / "tokenizer.model"):
        again = load_tokenizer(path)
        assert isinstance(again, SentencePieceTokenizer) and again.model == made(name).model
        assert (again.fingerprint, again.end) == (made(name).fingerprint, made(name).end)


@pytest.mark.parametrize("name", ["bpe", "unigram", "llama", "t5"])
def test_transformers_opens_what_we_save(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    made(name).save(tmp_path)
    opened = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert opened.eos_token == made(name).end and opened.eos_token_id == made(name).end_of_text
    # T5's rule drops and joins characters; there the library and Hugging Face differ on control characters.
    texts = SENTENCES if name == "t5" else [*SENTENCES, *ADVERSARIAL]
    for text in texts:
        ids = opened.encode(text, add_special_tokens=False)
        assert ids == made(name).encode(text), text
        assert opened.decode(ids, skip_special_tokens=False) == made(name).decode(ids)


def test_llama_s_special_tokens_and_added_space() -> None:
    llama = made("llama")
    assert (llama.begin, llama.end, llama.end_of_text) == ("<s>", "</s>", 2)
    first = llama.encode("The quick")
    assert llama.piece(first[0]).startswith("\u2581") and llama.decode(first) == "The quick"
    assert llama.decode([*first, 2, *first]) == "The quick</s>The quick"


def test_of_two_files_the_json_decides_as_for_transformers(tmp_path: Path) -> None:
    made("llama").save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    loaded = load_tokenizer(tmp_path)
    assert not isinstance(loaded, SentencePieceTokenizer) and loaded.encode("The q") == made("llama").encode("The q")
    (tmp_path / "tokenizer.json").unlink()
    assert isinstance(load_tokenizer(tmp_path), SentencePieceTokenizer)


def test_korean_text(tmp_path: Path) -> None:
    """Real documents: the same ids, and the same text again."""
    with gzip.open(test_data("corpus") / "ko.jsonl.gz") as file:
        documents = [json.loads(line)["text"] for _, line in zip(range(200), file, strict=False)]
    for kind in KINDS:
        korean = train_tokenizer(documents[:120], 2000, algorithm=f"sentencepiece-{kind}", character_coverage=0.999)
        assert isinstance(korean, SentencePieceTokenizer)
        processor = sentencepiece.SentencePieceProcessor(model_proto=korean.model)
        tokens, _ = korean.encode_batch(documents)
        assert tokens.tolist() == [token for text in documents for token in processor.encode(text)]
        assert [korean.decode(korean.encode(text)) for text in documents] == documents
        assert sum(len(text.encode()) for text in documents) / len(tokens) > 3


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"aGVsbG8= 0\nd29ybGQ= 1\n", "is not a SentencePiece model"),
        (b"", "is not a SentencePiece model"),
        (b"\x80\x04K\x01.", "is a pickle, which is never opened"),
        (lambda: theirs(model_type="word", hard_vocab_limit=False), r"of words or characters \(word\)"),
        (lambda: theirs(**LLAMA, treat_whitespace_as_suffix=True), "whose spaces do not begin pieces"),
    ],
)
def test_files_that_are_refused(content: bytes | Callable[[], bytes], rule: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content() if callable(content) else content)
    for path in (tmp_path, tmp_path / "tokenizer.model"):
        with pytest.raises(ConfigError, match=rule):
            load_tokenizer(path)


def test_without_end_of_text(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(theirs(**FOREIGN["llama"], eos_id=-1, bos_id=-1))
    loaded = load_tokenizer(tmp_path)
    with pytest.raises(ConfigError, match="has no end-of-text token"):
        _ = loaded.end_of_text
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<unk>"}')
    assert load_tokenizer(tmp_path).end_of_text == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("texts", "vocab_size", "rule"),
    [
        ([], 512, "needs text to learn from"),
        (["ab ab"], 512, "Vocabulary size too high"),
        (SENTENCES, 270, "smaller than required_chars"),
    ],
)
def test_refused(kind: str, texts: list[str], vocab_size: int, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        train_tokenizer(texts, vocab_size, algorithm=f"sentencepiece-{kind}")


@pytest.mark.parametrize("kind", KINDS)
def test_options_of_training(kind: str) -> None:
    texts = [*SENTENCES, *["in 2024"] * 100, "희귀"]
    options = {"algorithm": f"sentencepiece-{kind}", "character_coverage": 0.999}
    whole, split = (train_tokenizer(texts, 400, split_digits=digits, **options) for digits in (False, True))
    assert any(len(piece.strip("\u2581")) > 1 and piece.strip("\u2581").isdigit() for piece in pieces(whole))
    assert not any(len(piece) > 1 and set(piece) & set("0123456789") for piece in pieces(split))
    assert [whole.piece(token) for token in whole.encode("희")] == ["<0xED>", "<0x9D>", "<0xAC>"]


def pieces(tokenizer: Tokenizer) -> list[str]:
    """What was learned."""
    return [tokenizer.piece(token) for token in range(2 + 256, tokenizer.vocab_size)]
