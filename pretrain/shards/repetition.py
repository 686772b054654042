"""How often a run may go through the same text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

FEW = 4
"""Epochs up to which repeated text is about as good as new (Muennighoff et al. 2023, section 6)."""


def repeated(epochs: Mapping[str, float]) -> Iterator[str]:
    """A warning for each source that a run goes through more than FEW times."""
    for name, epoch in epochs.items():
        if epoch > FEW:
            worth = f"above {FEW} times text is worth less than new text (Muennighoff et al. 2023)"
            yield f"{name} is gone through {epoch:.3g} times: {worth}"
