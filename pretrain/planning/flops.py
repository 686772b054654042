"""Floating-point operations that a step executes, beside those that training needs (`counts.flops_per_token`).

Both count 2 per multiply-add of a matrix product and attention whole, 12 x H x D x T per layer and token, not halved
because it is causal. What is executed more: columns that pad the vocabulary, and what is computed a second time.

C d_model, H heads, D d_head, F d_ff, T tokens of a sequence, V vocabulary, Vp padded V.
"""

from __future__ import annotations

from typing import NamedTuple

from pretrain.config.counts import block_matrices, flops_per_token
from pretrain.config.model import Model
from pretrain.config.run import Run


class Flops(NamedTuple):
    """Per token, over all ranks."""

    model: int
    """What training needs: the numerator of MFU."""
    padding: int
    """The head's columns above the vocabulary."""
    recompute: int
    """Forward passes that are done again in the backward pass."""

    @property
    def executed(self) -> int:
        """All; with `recompute` the numerator of hardware utilisation (HFU)."""
        return self.model + self.padding + self.recompute

    @property
    def factor(self) -> float:
        """Executed / needed, the padding left out."""
        return (self.model + self.recompute) / self.model


def step_flops(run: Run) -> Flops:
    """Operations per token of one optimizer step."""
    model, tokens = run.model, run.sequence_length
    padding = 6 * (model.padded_vocabulary - model.vocabulary) * model.d_model
    again = sum(_recompute(run, layer) for layer in range(model.layers))
    return Flops(flops_per_token(model, tokens), padding, again)


def _recompute(run: Run, layer: int) -> int:
    """Of one block. The last product whose result nothing needs is not computed again.

    selective: the attention core, 4 x H x D x T; written out ("plain") only its scores, 2 x H x D x T. full, every n-th
    block: 2 per matrix entry but for the MLP's last matrix, and the whole attention core.
    """
    model, parallel = run.model, run.parallel
    core = 4 * model.heads * model.head_width * _seen(model, run.sequence_length, layer)
    if parallel.recompute == "selective":
        return core // 2 if model.attention == "plain" else core
    if parallel.recompute == "full" and layer % parallel.recompute_every == 0:
        return 2 * (block_matrices(model) - model.d_model * model.mlp_width) + core
    return 0


def _seen(model: Model, tokens: int, layer: int) -> int:
    return min(tokens, model.band_of(layer) or tokens)
