"""The schema of a corpus recipe: which documents, through which stages, into which shards."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from pretrain.config.across import Decontamination, Deduplication
from pretrain.config.clean import Cleaning
from pretrain.config.executor import Executor
from pretrain.config.own import Replaceable
from pretrain.config.run import Weight
from pretrain.config.section import Section, only_for
from pretrain.config.tokenizer import TokenizerTraining
from pretrain.config.units import Bytes, Count, Tokens

Kind = Literal["jsonl", "parquet", "text", "html", "warc", "huggingface", "installed-docs", "own"]
Collection = Literal["stdlib-docs", "package-docs", "package-descriptions", "language-reference"]
FILES = ("jsonl", "parquet", "text", "html", "warc")
PAGES = ("html", "warc")
OF_KIND = {
    "paths": FILES,
    "text_field": ("jsonl", "parquet", "huggingface"),
    "id_field": ("jsonl", "parquet", "huggingface"),
    "separator": ("text",),
    "dataset": ("huggingface",),
    "config": ("huggingface",),
    "split": ("huggingface",),
    "revision": ("huggingface",),
    "streaming": ("huggingface",),
    "collection": ("installed-docs",),
    "packages": ("installed-docs",),
}
"""Fields that only some kinds of source have."""
REQUIRED = {**dict.fromkeys(FILES, "paths"), "huggingface": "dataset", "installed-docs": "collection", "own": "own"}


def _share(value: object) -> Decimal:
    text = str(value).strip()
    try:
        share = Decimal(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except InvalidOperation:
        raise ValueError("must be a share such as 0.5% or 0.005") from None
    if not 0 <= share < 1:
        raise ValueError("must be at least 0 and less than 1 (100%)")
    return share


Share = Annotated[
    Decimal,
    BeforeValidator(_share),
    PlainSerializer(str),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}], "examples": ["0.5%", "0.005"]}),
]


class CorpusTokenizer(Section):
    """The tokenizer: an existing one (`tokenizer: PATH`), or one that is trained."""

    path: str | None = None
    """A trained one: a directory of ours, Hugging Face's, GPT-2's vocab.json and merges.txt, or a tokenizer.model."""
    train: TokenizerTraining | None = None
    """Train one."""

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.path is None) == (self.train is None):
            raise ValueError("needs either a path or train; fix: write `tokenizer: PATH` or `tokenizer: {train: ...}`")
        return self


class CorpusSource(Replaceable):
    """One source of documents."""

    NAMED_BY = "kind"
    kind: Kind
    """jsonl: a JSON object a line. parquet: a row a document. text: a file a document. html: a file a page.
    warc: the HTML responses of a crawl, or its texts (.wet). Files but Parquet may end in .gz, .zst, .bz2 or .xz.
    huggingface: a data set of the hub or on disk. installed-docs: prose that comes with Python and this package.
    own: what a class of yours reads, named by `class` (docs/own-parts.md)."""
    weight: Weight
    """Default share of training tokens (normalised over the sources)."""
    paths: tuple[str, ...] = ()
    """Files or globs, relative to the working directory, or URLs (s3://, gs://, hf://, ...); read in sorted order."""
    text_field: str = "text"
    """Field or column that holds the text."""
    id_field: str | None = None
    """Field or column that names the document; goes into the sidecar."""
    separator: str | None = None
    """Splits a text file into documents, such as "<|endoftext|>". None: the whole file is one."""
    dataset: str | None = None
    """Hub name, or a folder: one that save_to_disk wrote, or data files that load_dataset understands."""
    config: str | None = None
    """Configuration of the data set."""
    split: str = "train"
    """Split of the data set."""
    revision: str | None = None
    """Git revision of the data set. Name one: the hub's main branch moves."""
    streaming: bool = False
    """Read from the hub without storing the data set here."""
    collection: Collection | None = None
    """Which installed prose."""
    packages: tuple[str, ...] = ("numpy", "torch", "transformers")
    """Import names whose docstrings are read, in this order; missing ones are refused."""
    clean: Cleaning = Cleaning()
    """Rules that documents must pass, and that leave less of them."""
    minimum_bytes: Bytes = Field(1, ge=1)
    """Documents of which less is left are dropped."""
    maximum_record_bytes: Bytes | None = Field(None, ge=1)
    """A line, row or file with more is a broken record. Default: 100 MB. A page of html or warc with more is left out
    and counted: a strange one would take minutes. Default there: 1 MB, where Common Crawl cut pages until 2025."""
    maximum_documents: Count | None = Field(None, ge=1)
    """Read no more than this many valid documents."""
    maximum_bytes: Bytes | None = Field(None, ge=1)
    """Stop reading at this many bytes of text."""
    on_error: Literal["refuse", "count"] = "refuse"
    """What a record that cannot be read does: stops everything, or is left out and counted."""

    @model_validator(mode="before")
    @classmethod
    def _one_path(cls, value: object) -> object:
        if isinstance(value, dict):
            return {k: (v,) if k in ("paths", "packages") and isinstance(v, str) else v for k, v in value.items()}
        return value

    @model_validator(mode="after")
    def _of_kind(self) -> Self:
        needed = REQUIRED[self.kind]
        if not getattr(self, needed):
            raise ValueError(f"a source of kind {self.kind} needs {needed}; fix: add `{needed}:`")
        return only_for(self, OF_KIND, "sources of kind", by="kind")

    @property
    def record_limit(self) -> int:
        """Bytes of the largest record that is read."""
        return self.maximum_record_bytes or (10**6 if self.kind in PAGES else 10**8)


class Packing(Section):
    """How documents become samples."""

    method: Literal["best-fit"]
    """best-fit: documents are cut only where they are longer than a sample (Ding et al. 2024)."""
    sequence_length: Count = Field(ge=1)
    """T, tokens that a sample predicts: the corpus is for runs of this one."""


def normalised(weights: Mapping[str, Decimal]) -> str | None:
    """What to say of weights that sum neither to 1 nor to 100 percent."""
    total = sum(weights.values())
    if total in (0, 1, 100):
        return None
    shares = ", ".join(f"{name} {weight / total:.1%}" for name, weight in weights.items())
    return f"weights sum to {total:f}: normalised to {shares}"


class Corpus(Section):
    """A recipe: `pretrain corpus prepare RECIPE.yaml` makes the corpus."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names the corpus and its directory."""
    directory: str | None = None
    """Where it goes. Default: corpora/<name>."""
    tokenizer: CorpusTokenizer
    """An existing tokenizer or one to train."""
    sources: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], CorpusSource] = Field(min_length=1)
    """Name -> source. Of equal documents the first, in this order, is kept."""
    validation: Share = Decimal("0.005")
    """Share of documents held out, chosen by hash of the text; at least one a source. 0 holds none out."""
    deduplicate: Deduplication = Deduplication()
    """Which of equal, or nearly equal, documents and lines stay."""
    decontaminate: Decontamination | None = None
    """Benchmarks whose texts are taken out."""
    append_end_of_text: bool = True
    """Every document ends with the tokenizer's end-of-text."""
    packing: Packing | None = None
    """None: samples are windows of any length, over documents back to back (Brown et al. 2020)."""
    order: Literal["hash", "file"] = "hash"
    """hash: neighbours in a shard are unrelated. file: documents stay in the order of the files."""
    shard_size: Tokens = Field(100_000_000, ge=1000)
    """About how many tokens a shard holds; more when a source would need over 1,000 shards."""
    workers: int | None = Field(None, ge=1)
    """Processes. Default: the CPUs of this machine. Never changes the result."""
    executor: Executor = Executor()
    """This machine, or a cluster."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.packing and not self.append_end_of_text:
            raise ValueError("packing tells documents apart by their ends; fix: append_end_of_text: true")
        if not any(source.weight for source in self.sources.values()):
            raise ValueError("the weights of all sources are 0; fix: give one a share of the training tokens")
        return self

    @property
    def corpus_directory(self) -> str:
        """Where the corpus lives."""
        return self.directory or f"corpora/{self.name}"

    def content(self) -> dict[str, Any]:
        """The plain recipe without what cannot change the tokens: names, weights, who does the work.

        What is not used is left out, so that fields that come later change nothing.
        """
        outside = {"name", "directory", "workers", "executor"}
        plain = self.model_dump(mode="json", exclude=outside, exclude_none=True)
        if self.tokenizer.train:
            plain["tokenizer"]["train"] = self.tokenizer.train.content()
        for source in plain["sources"].values():
            del source["weight"]
            for trained in ("classifier", "perplexity"):
                source["clean"].get(trained, {}).pop("path", None)  # its fingerprint decides, as for the tokenizer
        return plain
