"""Scaling laws as published: how loss follows from parameters N and tokens D, and the N and D that suit C FLOPs.

C = 6 N D throughout. Loss is in nats per token, each law's on its own text and vocabulary: losses of different laws
do not compare. N counts all parameters but for Kaplan et al., who leave embeddings out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from pretrain.planning.advice.budget import PF_DAY


class Split(NamedTuple):
    """How to spend a number of FLOPs."""

    parameters: float
    tokens: float
    loss: float | None
    """None where the law gives sizes only."""


@dataclass(frozen=True)
class Law(ABC):
    """A scaling law."""

    name: str
    source: str
    """Where its constants stand."""
    with_embeddings: ClassVar[bool] = True
    """What it counts as parameters."""

    @abstractmethod
    def best(self, flops: float) -> Split:
        """The lowest loss for that many FLOPs."""

    def loss(self, parameters: float, tokens: float) -> float | None:
        """Of any model; None where the law does not say."""
        return None


@dataclass(frozen=True)
class Frontier(Law):
    """Best sizes only: N in proportion to C^exponent, through one published point."""

    exponent: float
    flops: float
    parameters: float
    """Best for `flops`."""

    def best(self, flops: float) -> Split:
        """Tokens are what is left of C = 6 N D."""
        parameters = self.parameters * (flops / self.flops) ** self.exponent
        return Split(parameters, flops / (6 * parameters), None)


class Kaplan(Frontier):
    """Kaplan et al. 2020, with the loss of its equations 1.3 and 1.5.

    C is twice its C_min: what training at the critical batch costs (equation 5.5), as Hoffmann et al. read it too
    (appendix D.4: 4.68B parameters for 1e21 FLOPs).
    """

    with_embeddings = False

    def best(self, flops: float) -> Split:
        """Loss by equation 1.3, with C_c of 3.1e8 PF-days."""
        return super().best(flops)._replace(loss=(3.1e8 * PF_DAY / (flops / 2)) ** 0.050)

    def loss(self, parameters: float, tokens: float) -> float:
        """Equation 1.5 with Table 2: of training to the best step, however often that sees the D tokens.

        One pass over them gives more than that.
        """
        return float(((6.4e13 / parameters) ** (0.076 / 0.103) + 1.8e13 / tokens) ** 0.103)


@dataclass(frozen=True)
class Parametric(Law):
    """L = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, section 3.3, equation 2)."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def best(self, flops: float) -> Split:
        """Its equation 4: N = G (C / 6)^(beta / (alpha + beta))."""
        both = self.alpha + self.beta
        scale = (self.alpha * self.A / (self.beta * self.B)) ** (1 / both)
        parameters = scale * (flops / 6) ** (self.beta / both)
        tokens = flops / (6 * parameters)
        return Split(parameters, tokens, self.loss(parameters, tokens))

    def loss(self, parameters: float, tokens: float) -> float:
        """The equation."""
        return float(self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta)


KAPLAN = Kaplan("Kaplan 2020", "arXiv 2001.08361, Table 6; equations 1.3, 1.5", 0.73, 2 * PF_DAY, 1.3e9)
HOFFMANN_1 = Frontier("Hoffmann 2022, approach 1", "arXiv 2203.15556, Tables 2 and 3", 0.50, 1.23e22, 10e9)
HOFFMANN_2 = Frontier("Hoffmann 2022, approach 2", "arXiv 2203.15556, Tables 2 and A3", 0.49, 1.32e22, 10e9)
# Section 3.3 prints 1.69, 0.34 and 0.28. So rounded, they make 32B parameters of Gopher's 5.76e23 FLOPs, where the
# paper says 40B; its LaTeX source has these, which make 40B.
HOFFMANN_3 = Parametric(
    "Hoffmann 2022, approach 3", "arXiv 2203.15556, section 3.3, unrounded", 1.6934, 406.4, 410.7, 0.3392, 0.2849
)
BESIROGLU = Parametric("Besiroglu 2024", "arXiv 2404.10102, Table 1", 1.8172, 482.01, 2085.43, 0.3478, 0.3658)
LAWS: tuple[Law, ...] = (KAPLAN, HOFFMANN_1, HOFFMANN_2, HOFFMANN_3, BESIROGLU)
