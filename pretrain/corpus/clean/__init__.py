"""Cleaning: rules that drop a document, with the reason, or leave less of it. Each rule is a function of its text."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from pretrain.config.clean import Cleaning
from pretrain.config.errors import ConfigError
from pretrain.config.own import FILTER


@dataclass(frozen=True)
class Dropped:
    """A document does not pass."""

    reason: str
    """The field of the rule that it breaks."""


Rule = Callable[[str], "str | Dropped"]


class Tallies(defaultdict[str, Counter[str]]):
    """What rules measured: name of the measure -> class or bucket -> documents (or marks). For the report."""

    def __init__(self) -> None:
        super().__init__(Counter)


def rules(cleaning: Cleaning, tallies: Tallies) -> dict[str, Rule]:
    """Name of the rule -> the rule, in the order in which they apply; what they measure they count in `tallies`."""
    from pretrain.corpus.clean.c4 import c4
    from pretrain.corpus.clean.language import language
    from pretrain.corpus.clean.personal_data import personal_data
    from pretrain.corpus.clean.quality import gopher_quality
    from pretrain.corpus.clean.repetition import gopher_repetition
    from pretrain.corpus.clean.unicode import repair

    made: dict[str, Rule] = {}
    if cleaning.unicode:
        made["unicode"] = repair
    if cleaning.language:
        made["language"] = language(cleaning.language, tallies)
    if cleaning.gopher_repetition:
        made["gopher_repetition"] = gopher_repetition(cleaning.gopher_repetition)
    if cleaning.gopher_quality:
        made["gopher_quality"] = gopher_quality(cleaning.gopher_quality)
    if cleaning.c4:
        made["c4"] = c4(cleaning.c4)
    if cleaning.classifier:
        from pretrain.corpus.clean.classifier import classifier

        made["classifier"] = classifier(cleaning.classifier, tallies)
    if cleaning.perplexity:
        from pretrain.corpus.clean.perplexity import perplexity

        made["perplexity"] = perplexity(cleaning.perplexity, tallies)
    for name, own in cleaning.own_rules.items():
        made[name] = own.make("clean.own", FILTER)
    if cleaning.personal_data:
        made["personal_data"] = personal_data(cleaning.personal_data, tallies)
    return made


def models(cleaning: Cleaning, where: str) -> dict[str, str]:
    """Rule -> fingerprint of its trained filter, or of its own code. Raises ConfigError, fields below `where`, when one
    is not whole, or not what it should be.
    """
    from pretrain.corpus.quality.saved import verified

    found = {}
    try:
        if cleaning.classifier:
            found["classifier"] = verified(cleaning.classifier.path, "classifier")
        if cleaning.perplexity:
            found["perplexity"] = verified(cleaning.perplexity.path, "perplexity")
        for number, (name, own) in enumerate(cleaning.own_rules.items()):
            own.check(f"own.{number}", FILTER)
            found[name] = own.source_hash(f"own.{number}")
    except ConfigError as error:
        raise ConfigError(replace(one, field=f"{where}.{one.field}") for one in error.problems) from None
    return found
