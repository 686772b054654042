"""`pretrain corpus prepare | adopt | remove | show | report | verify | train-classifier | train-perplexity`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pretrain.cli import filters
from pretrain.shards.remote import located

app = typer.Typer(no_args_is_help=True)

ManifestPath = Annotated[
    Path, typer.Argument(parser=located, help="manifest.json of a prepared corpus, its directory, or a URL of either.")
]


@app.command()
def prepare(
    recipe: Annotated[str, typer.Argument(help="RECIPE.yaml, or the name of one in configs/data/.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Overrides such as shard_size=50M.")] = None,
    executor: Annotated[
        str | None, typer.Option(help="local (this machine) or slurm (jobs), instead of the recipe's executor.kind.")
    ] = None,
) -> None:
    """Make shards and a manifest from a recipe; does nothing when they are up to date, goes on when it was killed."""
    from pretrain.config.corpus import Corpus
    from pretrain.config.load import find, load_yaml
    from pretrain.corpus.prepare import prepare as prepare_corpus
    from pretrain.corpus.progress import Reporter

    chosen = [f"executor.kind={executor}"] if executor else []
    prepare_corpus(Corpus.parse(load_yaml(find(recipe, "data"), [*(overrides or []), *chosen])), Reporter())


@app.command()
def adopt(
    directory: Annotated[Path, typer.Argument(help="Where manifest.json and the tokenizer go, such as corpora/mine.")],
    sources: Annotated[
        list[str], typer.Argument(metavar="NAME=PREFIX...", help="A .bin/.idx pair, or a folder of them.")
    ],
    tokenizer: Annotated[str, typer.Option(help="Directory of the tokenizer that made the files.")],
    validation: Annotated[list[str] | None, typer.Option(help="NAME=PREFIX of held-out files.")] = None,
    weight: Annotated[list[str] | None, typer.Option(help="NAME=SHARE. Default: by number of tokens.")] = None,
) -> None:
    """Write a manifest for Megatron-LM's files; they are read once and stay where they are."""
    from pretrain.corpus.adopt import adopt as adopt_files
    from pretrain.corpus.adopt import parse_prefixes, parse_weights
    from pretrain.corpus.progress import Reporter

    prefixes = parse_prefixes(sources, validation or [])
    manifest = adopt_files(directory, tokenizer, prefixes, parse_weights(weight or [], prefixes), Reporter())
    print(f"wrote {manifest}")


@app.command()
def remove(
    manifest: ManifestPath,
    ids: Annotated[Path, typer.Option(help="A file with a document a line: its id, or FILE:RECORD.")],
    runs: Annotated[Path, typer.Option(help="Run directories whose steps that saw them are told.")] = Path("runs"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell.")] = False,
) -> None:
    """Make a version of a corpus without some documents, and tell which runs and steps saw them.

    Exits with 1, and changes nothing, when a line names no document.
    """
    from pretrain.corpus.progress import Reporter
    from pretrain.corpus.remove import find_places, missing, read_names
    from pretrain.corpus.remove import remove as remove_documents
    from pretrain.served.find import who_saw
    from pretrain.shards.manifest import load_manifest

    path, names, reporter = _manifest(manifest), read_names(ids), Reporter()
    corpus = load_manifest(path)
    places = find_places(corpus, names, reporter.follow)
    for line in who_saw(path, names, runs):
        print(line)
    if unknown := missing(corpus, names, places):
        print(f"no document {', '.join(unknown[:5])}{' ...' if len(unknown) > 5 else ''} in {path}")
        raise typer.Exit(1)
    if dry_run:
        return
    removed = remove_documents(path, places, names, reporter.follow)
    print(f"{removed.documents:,} documents are not in {removed.manifest} any more, {removed.shards:,} shards are new")
    print(f"{removed.before} still serves what it did; with it the old shards can go when no run needs them")


@app.command()
def show(
    manifest: ManifestPath,
    tokens: Annotated[
        str | None, typer.Option(help="Length of a run, such as 300B: adds the epochs of each source.")
    ] = None,
) -> None:
    """Documents, tokens, bytes and shares of each source, and what every stage dropped."""
    from pretrain.config.units import parse_count
    from pretrain.corpus.show import print_manifest
    from pretrain.shards.manifest import load_manifest

    try:
        length = None if tokens is None else parse_count(tokens, "tokens")
    except ValueError as error:
        raise typer.BadParameter(f"--tokens {error}") from None
    print_manifest(load_manifest(_manifest(manifest)), length)


@app.command()
def report(
    manifest: ManifestPath,
    out: Annotated[Path | None, typer.Option(help="Where the page goes. Default: report.html beside it.")] = None,
) -> None:
    """Write one HTML page: what came in, what each stage took, and examples. `prepare` writes it by itself."""
    from pretrain.corpus.report import write
    from pretrain.shards.manifest import load_manifest

    corpus = load_manifest(_manifest(manifest))
    print(f"wrote {write(corpus, corpus.directory, out)}")


@app.command()
def verify(manifest: ManifestPath) -> None:
    """Recompute every size and checksum; names the damaged files and exits with 1 when there are any."""
    from pretrain.corpus.progress import Reporter
    from pretrain.corpus.verify import verify as verify_corpus

    damaged = verify_corpus(_manifest(manifest), Reporter())
    for problem in damaged:
        print(problem)
    if damaged:
        raise typer.Exit(1)
    print("every file is as the manifest says")


def _manifest(path: Path) -> Path:
    return path / "manifest.json" if path.is_dir() else path


app.command("train-classifier")(filters.train_classifier)
app.command("train-perplexity")(filters.train_perplexity)
