"""How well a filter tells good documents from raw ones, on documents that it did not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pretrain.corpus.quality.samples import Sample

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judgement:
    """Every source of a class counts the same, and both classes do: it does not matter how much of each was read."""

    documents: dict[str, int]
    """Source -> held-out documents."""
    good: dict[str, bool]
    median: dict[str, float]
    """Source -> its median score or perplexity."""
    kept: dict[str, dict[str, float]]
    """Way to decide -> source -> share of documents that are kept."""
    auc: float
    """The probability that a good document is above a raw one."""

    def recall(self, way: str) -> float:
        """Share of good documents that are kept."""
        return self._mean(way, good=True)

    def precision(self, way: str) -> float:
        """Share of kept documents that are good."""
        kept = self.recall(way) + self._mean(way, good=False)
        return self.recall(way) / kept if kept else 0.0

    def plain(self) -> dict[str, Any]:
        """For model.json."""
        sources = {
            name: {"documents": count, "median": round(self.median[name], 4)}
            | {"kept": {way: round(shares[name], 4) for way, shares in self.kept.items()}}
            for name, count in self.documents.items()
        }
        ways = {way: [round(self.precision(way), 4), round(self.recall(way), 4)] for way in self.kept}
        both = {way: {"precision": precision, "recall": recall} for way, (precision, recall) in ways.items()}
        return {"auc": round(self.auc, 4), "kept": both, "sources": sources}

    def print(self, measure: str, console: Console) -> None:
        """As a table."""
        table = Table(box=SIMPLE_HEAD, title="held-out documents", title_justify="left", padding=(0, 1, 0, 0))
        for heading in ("source", "class"):
            table.add_column(heading, no_wrap=True)
        for heading in ("documents", f"median {measure}", *(f"kept: {way}" for way in self.kept)):
            table.add_column(heading, justify="right", no_wrap=True)
        for name, count in self.documents.items():
            shares = [f"{shares[name]:.1%}" for shares in self.kept.values()]
            kind = "good" if self.good[name] else "raw"
            table.add_row(name, kind, f"{count:,}", f"{self.median[name]:.4g}", *shares)
        for label, share in (("precision", self.precision), ("recall", self.recall)):
            table.add_row(label, "", "", "", *(f"{share(way):.1%}" for way in self.kept))
        table.add_row("AUC", "", "", f"{self.auc:.4f}")
        console.print(table)

    def _mean(self, way: str, good: bool) -> float:
        return float(np.mean([share for name, share in self.kept[way].items() if self.good[name] is good]))


def judge(samples: Sequence[Sample], scores: Sequence[Doubles], kept: Mapping[str, Sequence[Doubles]]) -> Judgement:
    """Judge by the scores of the held-out documents of each sample (higher is better), and by which are kept."""
    from sklearn.metrics import roc_auc_score

    weights = np.concatenate([np.full(len(own), 1 / len(own)) for own in scores])
    truth = np.concatenate([np.full(len(own), sample.good) for sample, own in zip(samples, scores, strict=True)])
    names = [sample.source for sample in samples]
    return Judgement(
        documents={sample.source: len(sample.held_out) for sample in samples},
        good={sample.source: sample.good for sample in samples},
        median={name: abs(float(np.median(own))) for name, own in zip(names, scores, strict=True)},
        kept={way: dict(zip(names, (float(np.mean(own)) for own in all_), strict=True)) for way, all_ in kept.items()},
        auc=float(roc_auc_score(truth, np.concatenate(scores), sample_weight=weights)),
    )
