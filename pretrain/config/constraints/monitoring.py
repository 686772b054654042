"""Rules about who is told what: alerts about numbers that exist, to an address that is there."""

from __future__ import annotations

import os
from pathlib import Path

from pretrain.config.alerts import Webhook
from pretrain.config.constraints.rule import Case, Constraint, Violations
from pretrain.config.errors import ConfigError, Problem
from pretrain.config.metric_names import unknown_metrics


def read_address(webhook: Webhook) -> str:
    """The address. Raises ConfigError, in which it does not appear."""
    if webhook.url_env is not None:
        field, given, found = "url_env", webhook.url_env, os.environ.get(webhook.url_env)
        missing, fix = "is not set in the environment", f"export {given}=https://..."
    else:
        assert webhook.url_file is not None
        path = Path(webhook.url_file).expanduser()
        field, given, found = "url_file", webhook.url_file, _read(path)
        missing, fix = "cannot be read", "write the address into this file, for your eyes only (chmod 600)"
    if found is None:
        raise ConfigError.of(f"monitoring.webhook.{field}", given, missing, fix)
    address = found.strip()
    if not address.startswith(("https://", "http://")) or len(address.split()) != 1:
        rule = "must hold one http or https address and nothing else"
        raise ConfigError.of(f"monitoring.webhook.{field}", given, rule, fix)
    return address


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _webhook(case: Case) -> Violations:
    if (webhook := case.run.monitoring.webhook) is None:
        return
    try:
        read_address(webhook)
    except ConfigError as error:
        yield from error.problems
    if not case.run.monitoring.alerts:
        rule = "nothing is ever sent to it without rules in monitoring.alerts"
        yield Problem("monitoring.webhook", webhook.url_file or webhook.url_env, rule, "alerts: [{event: ended}]")


MONITORING = (
    Constraint(
        "alert-metrics",
        "every alert is about a number that the run writes",
        "a rule with a wrong name would never tell anything",
        lambda case: unknown_metrics(case.run),
    ),
    Constraint(
        "webhook-address",
        "the file or variable of monitoring.webhook holds an address, and there are alerts for it",
        "an alert that cannot be sent is noticed when it is too late",
        _webhook,
    ),
)
