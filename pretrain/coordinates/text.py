"""The coordinate check as text."""

from __future__ import annotations

from collections.abc import Iterator

from pretrain.config.errors import ConfigError
from pretrain.coordinates.check import TOLERANCE, Coordinates
from pretrain.coordinates.measure import PLACES, Sizes


def numbers(text: str) -> list[int]:
    """64,128,256 as numbers. Raises ConfigError."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ConfigError.of("--widths", text, "must be whole numbers and commas", "--widths 64,128,256") from None


def width_line(width: int, sizes: Sizes) -> str:
    """One width, when it is done."""
    return f"d_model {width:>5}: loss {sizes.losses[0]:.3f} before step 1, {sizes.losses[-1]:.3f} before the last"


def lines(found: Coordinates) -> Iterator[str]:
    """The table, and the sentence that sums it up."""
    steps = len(next(iter(found.sizes.values())).losses)
    yield f"RMS change of activations after {steps} steps"
    yield f"{'d_model':16} " + "".join(f"{width:>9}" for width in found.sizes) + "   grows as"
    for place in PLACES:
        moved = "".join(f"{sizes.moved[place][-1]:>9.3g}" for sizes in found.sizes.values())
        mark = "   <-" if place in found.depending else ""
        yield f"{place:16} {moved}   width^{found.exponent(place):.2f}{mark}"
    if found.depending:
        mup = "" if found.run.model.mup else "; model.mup makes learning rates follow from it"
        yield f"depends on the width: {', '.join(found.depending)} (exponents farther than {TOLERANCE} from 0){mup}"
    else:
        yield f"does not depend on the width: exponents are within {TOLERANCE} of 0"
