"""What passes through the layers of this rank in one step, told by forward hooks that are gone afterwards.

Shapes: B batch, T tokens, t tokens between parallel regions, C d_model, F d_ff, H heads, D d_head.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pretrain.model.entropy import spread
from pretrain.parallel.engine import replaced
from pretrain.parallel.mesh import Mesh
from pretrain.parallel.tally import Tally

QUERIES = 64
"""Of the sample whose attention is written out: H x 64 x T scores in fp32, 50 MB for 96 heads and 2,048 tokens."""
NOTHING = 0.01
"""An inner value of an MLP closer to 0 than this counts as zero: GELU gives no more for what is below -2.7."""

Hook = Callable[[nn.Module, str, Any, Any], None]


class Passing:
    """Sums over all tokens of the step, and over the step's first sample for what is dear."""

    def __init__(self, module: nn.Module, mesh: Mesh, splits_sequence: bool, tally: Tally) -> None:
        self._mesh, self._tally, self._seen = mesh, tally, set[str]()
        self._counts = splits_sequence or mesh.at.tensor == 0  # else all tensor ranks have the same hidden state
        kinds: dict[str, Hook] = {
            r"embedding|blocks\.\d+": self._hidden,
            r"(blocks\.\d+)\.attention\.core": self._attention,
            r"(blocks\.\d+)\.mlp\.down": self._inner,
        }
        self._watched = [
            (layer, hook, found[found.lastindex or 0])
            for name, layer in module.named_modules()
            for pattern, hook in kinds.items()
            if (found := re.fullmatch(pattern, name))
        ]
        # a parallel block on several tensor ranks does not call `down` as a layer: its input is seen as it is made
        self._mlps = [
            (layer, name[:-4]) for name, layer in module.named_modules() if re.fullmatch(r"blocks\.\d+\.mlp", name)
        ]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at every forward pass inside. Nothing of it is kept for the backward pass.

        Compiled layers run as they were written: their machine code knows nothing of hooks.
        """
        self._seen.clear()
        compiled = any(layer._compiled_call_impl is not None for layer, *_ in self._watched)
        with ExitStack() as stack:
            for layer, hook, name in self._watched:
                stack.callback(layer.register_forward_hook(self._quiet(hook, name)).remove)
            for mlp, block in self._mlps:
                if activate := getattr(mlp, "activate", None):
                    stack.enter_context(replaced(mlp, "activate", self._activation(block, activate)))
            if compiled:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield

    def _activation(self, block: str, activate: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def look(*given: Tensor) -> Tensor:
            inner = activate(*given)
            with torch.no_grad():
                self._inner(None, block, (inner,), None)
            return inner

        return look

    def _quiet(self, hook: Hook, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(layer: nn.Module, given: Any, out: Any) -> None:
            with torch.no_grad():
                hook(layer, name, given, out)

        return look

    def _hidden(self, _: nn.Module, layer: str, given: Any, out: Tensor) -> None:
        """[B, t, C], once for each micro-batch."""
        if self._counts:
            norm = torch.linalg.vector_norm(out, dtype=torch.float32)
            self._tally.add(f"activation/{layer}", norm.double().square())
            self._tally.add(f"activations/{layer}", out.numel())
        self._tally.raise_to(f"activation_max/{layer}", out.abs().amax())

    def _attention(self, core: nn.Module, block: str, given: Any, out: Any) -> None:
        """q [B, H, T, D] and k of this rank's heads."""
        if not self._is_first(f"attention {block}"):
            return
        q, k, _, sequence = given
        found = spread(q[0], k[0], sequence.sights[core.width], QUERIES)
        self._tally.add(f"entropy/{block}", found.entropy.sum())
        self._tally.add(f"entropies/{block}", found.entropy.numel())
        self._tally.raise_to(f"entropy_min/{block}", -found.entropy.mean(dim=1).amin())
        self._tally.raise_to(f"logit_max/{block}", found.largest)

    def _inner(self, _: object, block: str, given: Any, out: Any) -> None:
        """[B, T, F] of this rank's units."""
        if self._is_first(f"mlp {block}"):
            inner = given[0][0]
            self._tally.add(f"zero/{block}", (inner.abs() < NOTHING).sum())
            self._tally.add(f"units/{block}", inner.numel())

    def _is_first(self, what: str) -> bool:
        """Whether this is the step's first sample. Recomputed passes come later and are none."""
        if self._mesh.at.data or what in self._seen:
            return False
        self._seen.add(what)
        return True
