"""SentencePiece: ids are its library's, texts come back whole, Hugging Face opens what is written."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest
import sentencepiece
import transformers
from hypothesis import example, given, settings

from pretrain.config.errors import ConfigError
from tests.tokenizer.conftest import SENTENCES, test_data
from tests.tokenizer.test_encoding import PIECES
from tokenizer import Learning, Tokenizer, load_tokenizer, train_tokenizer
from tokenizer.backends import ADVERSARIAL, Reference, SentencePieces
from tokenizer.sentencepiece_model import specification_of

MODELS = ("bpe", "unigram")


@pytest.fixture(scope="module", params=MODELS)
def trained(request: pytest.FixtureRequest) -> Tokenizer:
    """420 pieces."""
    return train_tokenizer(SENTENCES, 420, Learning(request.param))


def llama_like(model: str) -> bytes:
    """As LLaMA's tokenizer.model is made: a space in front of each text, <s> and </s>."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=out, model_type=model, vocab_size=420, byte_fallback=True,
        normalization_rule_name="identity", add_dummy_prefix=True, remove_extra_whitespaces=False, minloglevel=2,
        user_defined_symbols=["[URL]"], num_threads=4,
    )  # fmt: skip
    return out.getvalue()


@settings(max_examples=150, deadline=None)
@given(PIECES)
@example("".join(ADVERSARIAL))
def test_texts_come_back_whole(trained: Tokenizer, text: str) -> None:
    assert trained.decode(trained.encode(text)) == text


@settings(max_examples=150, deadline=None)
@given(PIECES)
def test_ids_are_the_library_s(trained: Tokenizer, text: str) -> None:
    assert trained.model is not None
    processor = sentencepiece.SentencePieceProcessor(model_proto=trained.model)
    assert trained.encode(text) == processor.encode(text)


def test_what_is_trained(trained: Tokenizer) -> None:
    assert (trained.vocab_size, trained.end, trained.end_of_text) == (420, "<|endoftext|>", 1)
    assert [trained.piece(number) for number in (0, 1, 2, 257)] == ["<unk>", "<|endoftext|>", "<0x00>", "<0xFF>"]
    assert trained.end_of_text not in trained.encode("a<|endoftext|>b<unk><s>")
    assert trained.decode(trained.encode("  two \n\n 12")) == "  two \n\n 12"
    assert len(trained.encode("1234")) == 4


@pytest.mark.parametrize("model", MODELS)
def test_the_same_text_gives_the_same_bytes(model: str) -> None:
    first, second = (train_tokenizer(iter(SENTENCES), 420, Learning(model)).model for _ in range(2))  # type: ignore[arg-type]
    assert first == second


def test_digits_may_stay_together() -> None:
    texts = ["call 20262026 now\n"] * 50 + SENTENCES
    together = train_tokenizer(texts, 420, Learning("bpe", split_digits=False))
    assert len(together.encode("20262026")) < 8


def test_saved_and_loaded(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "t")
    again = load_tokenizer(tmp_path / "t")
    assert (again.model, again.fingerprint) == (trained.model, trained.fingerprint)
    assert load_tokenizer(tmp_path / "t" / "tokenizer.model").fingerprint == trained.fingerprint
    (tmp_path / "t" / "tokenizer.json").unlink()
    assert load_tokenizer(tmp_path / "t").fingerprint == trained.fingerprint


def test_hugging_face_opens_it(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert theirs.eos_token_id == trained.end_of_text and len(theirs) == trained.vocab_size
    for text in ADVERSARIAL:
        assert theirs(text, add_special_tokens=False).input_ids == trained.encode(text)


@pytest.mark.parametrize("model", MODELS)
def test_a_model_as_llama_s(model: str, tmp_path: Path) -> None:
    raw = llama_like(model)
    (tmp_path / "tokenizer.model").write_bytes(raw)
    loaded = load_tokenizer(tmp_path)
    assert (loaded.end, loaded.end_of_text) == ("</s>", 2)
    processor = sentencepiece.SentencePieceProcessor(model_proto=raw)
    reference = Reference(specification_of(raw))
    marked = "see [URL] there"  # Hugging Face's libraries would put a space in front of what follows the symbol
    assert loaded.encode(marked) == processor.encode(marked)
    for text in [*ADVERSARIAL, *SENTENCES[:20]]:
        assert loaded.encode(text) == processor.encode(text) == reference.encode(text).tolist()
        assert loaded.decode(loaded.encode(text)) == text or text.startswith(" ") or not text
    assert loaded.decode(loaded.encode("Hello")) == "Hello"


def test_nmt_normalisation_is_kept() -> None:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=out, model_type="unigram", vocab_size=300, byte_fallback=False,
        minloglevel=2, num_threads=4, hard_vocab_limit=False,
    )  # fmt: skip
    raw = out.getvalue()
    processor = sentencepiece.SentencePieceProcessor(model_proto=raw)
    tokenizer = Tokenizer(specification_of(raw), "</s>", raw)
    for text in ("ﬁne ½ café", "  two   spaces ", "ＡＢＣ"):
        assert (
            tokenizer.encode(text) == processor.encode(text) == Reference(specification_of(raw)).encode(text).tolist()
        )


def test_korean_takes_fewer_tokens_than_bytes() -> None:
    with gzip.open(test_data("corpus") / "ko.jsonl.gz") as lines:
        texts = [json.loads(line)["text"] for _, line in zip(range(200), lines, strict=False)]
    tokenizer = train_tokenizer(texts[:150], 3_000, Learning("unigram"))
    held_out = texts[150:]
    tokens, _ = tokenizer.encode_batch(held_out)
    assert sum(len(text.encode()) for text in held_out) / len(tokens) > 2.5
    assert SentencePieces(tokenizer.model or b"").encode_batch(held_out)[0].tolist() == tokens.tolist()


@pytest.mark.parametrize(
    ("texts", "size", "words"),
    [
        (["hello world\n"], 5_000, "the text is too little for so many pieces"),
        (SENTENCES, 260, "cannot hold the characters of the text and 256 bytes"),
        ([], 500, "SentencePiece cannot learn from this text"),
    ],
)
def test_text_and_size_must_fit(texts: list[str], size: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        train_tokenizer(texts, size, Learning("unigram"))


def test_a_damaged_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"\x80\x04pickled" * 20)
    with pytest.raises(ConfigError, match="is not a SentencePiece model"):
        load_tokenizer(tmp_path)
