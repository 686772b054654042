"""`pretrain profile` for launchers: torchrun --nproc_per_node 8 -m pretrain.profile RUN.yaml [key=value ...]"""

from __future__ import annotations

from pretrain.entry import launched


def main() -> None:
    """Run from the command line."""
    from pretrain.cli.main import app

    launched(__doc__, lambda arguments: app(["profile", *arguments]))


if __name__ == "__main__":
    main()
