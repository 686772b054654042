"""In what losses are told: nats per token, or bits per byte where runs have different vocabularies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pretrain.monitoring.report.read import RunRecord
from pretrain.monitoring.report.table import Column


@dataclass(frozen=True)
class Scale:
    """The unit of all losses on a page. `source` is a name, or "" for all sources together."""

    bits: bool
    """Bits per byte of UTF-8 text; else nats per token."""

    @property
    def unit(self) -> str:
        """For an axis."""
        return "bits per byte" if self.bits else "nats per token"

    def validation(self, run: RunRecord, source: str = "") -> Column:
        """Of each validation."""
        return run.validation[_name("bits_per_byte" if self.bits else "loss", source)]

    def train(self, run: RunRecord, source: str = "") -> Column:
        """Of each training row. In bits per byte NaN where no validation told how long tokens are."""
        nats = run.train[_name("loss", source)]
        if not self.bits:
            return nats
        return nats / math.log(2) / (bytes_per_token(run, source) if source else self._mixed(run))

    def baselines(self, run: RunRecord) -> dict[str, float]:
        """Of unigrams and bigrams, on all validation tokens."""
        return {
            name: loss / math.log(2) / bytes_per_token(run) if self.bits else loss
            for name, loss in run.baseline.items()
        }

    def _mixed(self, run: RunRecord) -> Column:
        """Bytes per token of each training batch, by what it held of each source."""
        whole = bytes_per_token(run)
        tokens, size = np.zeros(len(run.train)), np.zeros(len(run.train))
        for source in run.train.below("batch_tokens"):
            part, known = np.nan_to_num(run.train[f"batch_tokens/{source}"]), bytes_per_token(run, source)
            tokens += part
            size += part * (whole if math.isnan(known) else known)
        return np.where(tokens > 0, size / np.maximum(tokens, 1), whole)


def scale_of(runs: Sequence[RunRecord]) -> Scale:
    """Bits per byte as soon as two runs are known to have different vocabularies."""
    tokenizers = {run.saved.get("tokenizer_fingerprint") for run in runs} - {None}
    sizes = {run.setting("model", "vocab_size") for run in runs} - {None}
    return Scale(len(tokenizers) > 1 or len(sizes) > 1)


def bytes_per_token(run: RunRecord, source: str = "") -> float:
    """Of the validation text, from the two units of its loss; NaN where there was no validation."""
    nats, bits = run.validation[_name("loss", source)], run.validation[_name("bits_per_byte", source)]
    ratios = nats / math.log(2) / np.where(bits > 0, bits, np.nan)
    ratios = ratios[np.isfinite(ratios)]
    return float(ratios[-1]) if len(ratios) else math.nan


def _name(column: str, source: str) -> str:
    return f"{column}/{source}" if source else column
