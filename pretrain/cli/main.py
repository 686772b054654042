"""The `pretrain` command. Each command lies in its own file and imports what is heavy only when it runs."""

from __future__ import annotations

import sys

import typer

from pretrain.cli import (
    checkpoint,
    config,
    coordinates,
    corpus,
    export,
    generate,
    import_,
    launch,
    logs,
    order,
    plan,
    profile,
    report,
    status,
    stop,
    tokenizer,
    train,
    verify,
)
from pretrain.config.errors import ConfigError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Text in, a GPT-3-style language model out.",
)
app.add_typer(config.app, name="config", help="Check, show and describe run configurations.")
app.add_typer(tokenizer.app, name="tokenizer", help="Train and look at tokenizers.")
app.add_typer(corpus.app, name="corpus", help="Turn documents into shards and a manifest.")
app.add_typer(checkpoint.app, name="checkpoint", help="Look at checkpoints, verify and compare them.")
app.add_typer(order.app, name="order", help="Ask what a run was fed: by step, by document, or against another run.")
app.command("train")(train.train)
app.command("plan")(plan.plan)
app.command("launch")(launch.launch)
app.command("status")(status.status)
app.command("logs")(logs.logs)
app.command("stop")(stop.stop)
app.command("cancel")(stop.cancel)
app.command("report")(report.report)
app.command("verify")(verify.verify)
app.command("profile")(profile.profile)
app.command("coordinate-check")(coordinates.coordinate_check)
app.command("generate")(generate.generate)
app.command("export")(export.export)
app.command("import")(import_.import_)


def main() -> None:
    """Run the command line; bad input is printed as field, value, rule, fix, with exit code 2."""
    try:
        app()
    except ConfigError as error:
        print(f"pretrain: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
