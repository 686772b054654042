"""`pretrain order show | find | verify`."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)

ServedRun = Annotated[
    str, typer.Argument(metavar="RUN", help="A run directory, one of its checkpoints, a name in runs/, or a RUN.yaml.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(
    run: ServedRun,
    step: Annotated[int, typer.Option(min=1, help="The step, as logs count them: the first is 1.")],
    rank: Annotated[int | None, typer.Option(min=0, help="Only what this rank is fed.")] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="With --rank: processes of the run. Default: as its newest checkpoint.")
    ] = None,
    text: Annotated[int, typer.Option(min=0, help="Characters of text shown of each piece.")] = 160,
    as_json: Json = False,
) -> None:
    """Every sample of a step: source, documents, offsets and decoded text."""
    from pretrain.served.open import open_served
    from pretrain.served.samples import read_samples, sample_text, served_in
    from pretrain.shards.tokenizer import tokenizer_of

    served = open_served(run)
    index = served_in(served, step, rank, processes)
    samples = read_samples(served, index, tokenizer_of(served.corpus.manifest))
    if as_json:
        _print_json([sample.plain() for sample in samples])
        return
    for sample in samples:
        typer.echo(sample_text(sample, text))


@app.command()
def find(
    run: ServedRun,
    document: Annotated[str, typer.Option(help="Its id, FILE:RECORD, or SHARD:NUMBER as `order show` prints it.")],
    as_json: Json = False,
) -> None:
    """The steps that see a document; exits with 1 if the corpus does not have it."""
    from pretrain.corpus.progress import Reporter
    from pretrain.served.find import find_documents, found_text
    from pretrain.served.open import open_served

    served = open_served(run)
    found = list(find_documents(served, [document], Reporter().follow))
    if as_json:
        _print_json([one.plain() for one in found])
    else:
        for one in found:
            typer.echo(found_text(served, one))
    if not found:
        if not as_json:
            typer.echo(f"no document {document} in {served.run.data.manifest}")
        raise typer.Exit(1)


@app.command()
def verify(a: ServedRun, b: ServedRun) -> None:
    """Whether two runs, or checkpoints, were served the same samples; exits with 1 at the first step that differs."""
    from pretrain.corpus.progress import Reporter
    from pretrain.served.compare import compare
    from pretrain.served.open import open_served

    comparison = compare(open_served(a), open_served(b), Reporter().follow)
    typer.echo(comparison.text)
    if not comparison.same:
        raise typer.Exit(1)


def _print_json(plain: object) -> None:
    import orjson

    typer.echo(orjson.dumps(plain, option=orjson.OPT_INDENT_2).decode())
