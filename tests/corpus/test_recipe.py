"""The recipe: what is refused, and how it is said. The shipped recipes are valid."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pretrain.config.corpus import Corpus
from pretrain.config.errors import ConfigError
from pretrain.config.load import CONFIGS, load_yaml
from pretrain.config.tokenizer import TokenizerTraining

PLAIN: dict[str, Any] = {
    "name": "x",
    "tokenizer": "some/path",
    "sources": {"web": {"kind": "jsonl", "paths": "a.jsonl", "weight": 60}},
}


WEIGHTS = {
    "gpt3-mixture": ["3", "16", "22", "60"],  # Brown et al. 2020, Table 2.2
    "korean": ["7", "90", "1", "2"],  # 97% Korean: Kim et al. 2021, Table 1
    "local-example": ["40", "20", "22", "16", "3"],
    "quickstart": ["60", "22", "16", "3"],
}


@pytest.mark.parametrize("path", sorted((CONFIGS / "data").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes(path: Path) -> None:
    recipe = Corpus.parse(load_yaml(path))
    assert recipe.name == path.stem
    assert [str(source.weight) for source in recipe.sources.values()] == WEIGHTS[path.stem]


def test_defaults() -> None:
    recipe = Corpus.parse(PLAIN)
    assert recipe.tokenizer.path == "some/path"
    assert recipe.sources["web"].paths == ("a.jsonl",)
    assert recipe.corpus_directory == "corpora/x"
    assert (recipe.validation, recipe.shard_size, recipe.order) == (Decimal("0.005"), 100_000_000, "hash")
    assert recipe.deduplicate and recipe.append_end_of_text


def test_units() -> None:
    more = {
        "validation": "2.5%",
        "shard_size": "50M tokens",
        "tokenizer": {"train": {"vocab_size": "50k", "sample": "1GB"}},
    }
    recipe = Corpus.parse({**PLAIN, **more})
    assert (recipe.validation, recipe.shard_size) == (Decimal("0.025"), 50_000_000)
    assert recipe.tokenizer.train is not None
    assert (recipe.tokenizer.train.vocab_size, recipe.tokenizer.train.sample) == (50_000, 1_000_000_000)
    assert Corpus.parse(recipe.plain()) == recipe


def source(**change: Any) -> dict[str, Any]:
    return {"sources": {"web": {**PLAIN["sources"]["web"], **change}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sauces": {}}, "did you mean 'sources'"),
        (source(pathes="a"), "did you mean 'paths'"),
        (source(kind="json"), "must be 'jsonl'"),
        (source(weight=-1), "must not be negative"),
        (source(paths=[]), "needs paths"),
        (source(streaming=True), "streaming is for sources of kind huggingface, this is jsonl"),
        ({"sources": {}}, "at least 1"),
        (source(weight=0), "the weights of all sources are 0"),
        (source(maximum_record_bytes=0), "greater than or equal to 1"),
        (
            source(kind="warc", text_field="body"),
            "text_field is for sources of kind jsonl, parquet, hug",
        ),
        (source(kind="html", paths=[]), "a source of kind html needs paths"),
        ({"sources": {"a/b": PLAIN["sources"]["web"]}}, "should match pattern"),
        ({"sources": {"h": {"kind": "huggingface", "weight": 1}}}, "needs dataset"),
        ({"tokenizer": {}}, "needs either a path or train"),
        ({"tokenizer": {"path": "a", "train": {"vocab_size": 512}}}, "needs either a path or train"),
        ({"tokenizer": {"train": {"vocab_size": 300}}}, "greater than or equal to 512"),
        ({"validation": "100%"}, "less than 1"),
        ({"validation": "some"}, "must be a share such as 0.5%"),
        ({"shard_size": "1.5"}, "must be a whole number of tokens"),
        ({"order": "random"}, "'hash' or 'file'"),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        Corpus.parse({**PLAIN, **change})


def test_content_leaves_out_what_cannot_change_tokens() -> None:
    base = Corpus.parse(PLAIN).content()
    for same in ({"name": "y"}, {"workers": 3}, {"directory": "z"}, source(weight=1)):
        assert Corpus.parse({**PLAIN, **same}).content() == base
    for other in ({"validation": "1%"}, {"order": "file"}, source(minimum_bytes=2), {"shard_size": "2M"}):
        assert Corpus.parse({**PLAIN, **other}).content() != base


def test_training_a_tokenizer() -> None:
    parse = TokenizerTraining.parse
    assert parse({"vocab_size": 600}).content() == {"vocab_size": 600, "sample": 200_000_000}, "as it always was"
    spm = parse({"vocab_size": 600, "algorithm": "sentencepiece-bpe", "special_tokens": ["<|pad|>"]})
    assert spm.content() == {
        "vocab_size": 600, "sample": 200_000_000, "algorithm": "sentencepiece-bpe", "special_tokens": ["<|pad|>"],
    }  # fmt: skip
    assert spm.options() == {
        "vocab_size": 600, "algorithm": "sentencepiece-bpe", "special_tokens": ("<|pad|>",),
        "character_coverage": 0.9995, "split_digits": False,
    }  # fmt: skip
    for wrong, rule in (
        ({"algorithm": "wordpiece"}, "must be 'byte-bpe'"),
        ({"split_digits": True}, "split_digits is for sentencepiece algorithms, this is byte-bpe"),
        ({"character_coverage": 0.99}, "character_coverage is for sentencepiece algorithms"),
        ({"character_coverage": 1.1, "algorithm": "sentencepiece-bpe"}, "less than or equal to 1"),
        ({"special_tokens": ["<|endoftext|>"]}, r"has <\|endoftext\|> twice"),
        ({"special_tokens": ["<a>", "<a>"]}, "has <a> twice"),
        ({"special_tokens": ["a b"]}, "no spaces"),
        ({"special_tokens": ["<0x0A>"]}, "which SentencePiece gives to a byte"),
    ):
        with pytest.raises(ConfigError, match=rule):
            parse({"vocab_size": 600, **wrong})
