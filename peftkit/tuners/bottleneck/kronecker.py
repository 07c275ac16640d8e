"""Projections of Compacter: weights that are sums of Kronecker products, one factor of them shared by all layers."""

from __future__ import annotations

import torch
from torch import nn


class KroneckerLinear(nn.Module):
    """y = W x + b with W = sum over i of A_i ⊗ (s_i t_i), `(out, in)` (Karimi Mahabadi et al. 2021, arXiv:2106.04647,
    eqs. 4 and 5).

    `rule` holds the n matrices A_i, `(n, n, n)`, and is one and the same parameter in every layer of an adapter; s_i is
    `(out / n, rank)`, t_i `(rank, in / n)`. n must divide `in` and `out`.

    Entries of W start with the variance of those of `nn.Linear`, 1 / (3 in); with `zero` the t_i, and so W, start at
    zero, where the paper starts near it. The bias starts at zero.
    """

    def __init__(self, inputs: int, outputs: int, rule: nn.Parameter, rank: int, zero: bool = False) -> None:
        super().__init__()
        n = len(rule)
        spread = (3 * inputs * rank) ** -0.25  # the A_i have variance 1 / n: n·(1/n)·rank·spread⁴ = 1 / (3 in)
        self.rule = rule
        self.left = nn.Parameter(torch.randn(n, outputs // n, rank, dtype=torch.float32) * spread)
        right = torch.randn(n, rank, inputs // n, dtype=torch.float32) * spread
        self.right = nn.Parameter(torch.zeros_like(right) if zero else right)
        self.bias = nn.Parameter(torch.zeros(outputs, dtype=torch.float32))

    def weight(self) -> torch.Tensor:
        """W, `(out, in)`."""
        products = torch.einsum("iab,icr,ird->acbd", self.rule, self.left, self.right)
        return products.reshape(len(self.bias), -1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """y, `(..., out)`."""
        return nn.functional.linear(inputs, self.weight(), self.bias)


def shared_rule(n: int) -> nn.Parameter:
    """The A_i of an adapter, `(n, n, n)`, normal with variance 1 / n."""
    return nn.Parameter(torch.randn(n, n, n, dtype=torch.float32) * n**-0.5)
