"""The settings of a bottleneck adapter, checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from peft import PeftConfig
from peft.utils import PeftType
from torch import nn

from peftkit.errors import unknown

PEFT_TYPE = "BOTTLENECK"
"""The name under which peft knows the tuner (`peft_type` in `adapter_config.json`)."""

DEFAULT_SCALING = {"houlsby": 1.0, "pfeiffer": 1.0, "parallel": 4.0}
"""The variants, and s in h <- h + s * W_up f(W_down x) where the config says none (4: He et al. 2022, section 4.2)."""

NON_LINEARITIES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


@dataclass
class BottleneckConfig(PeftConfig):
    """Settings of a bottleneck adapter: h <- h + s * W_up f(W_down x).

    W_down maps the hidden size to `floor(hidden / reduction_factor)` units, W_up maps back; both have a bias.

    - `houlsby`: after the attention block's output projection and after the feed-forward block's, x = h
      (Houlsby et al. 2019, arXiv:1902.00751, section 2.1). Cross-attention counts as an attention block.
    - `pfeiffer`: after the feed-forward block's output projection only, x = h (Pfeiffer et al. 2021,
      arXiv:2005.00247). As in Houlsby et al., before the residual sum and the layer norm that follow.
    - `parallel`: beside the feed-forward block: x is the block's input, h its output (He et al. 2022,
      arXiv:2110.04366, "parallel adapter").

    With `phm_dim` = n, W_down and W_up are sums of n Kronecker products whose first factors all layers share (Karimi
    Mahabadi et al. 2021, arXiv:2106.04647: Compacter with `houlsby`, Compacter++ with `pfeiffer`).

    Raises ValueError for a value outside the allowed ones.
    """

    variant: str = field(default="pfeiffer", metadata={"help": f"one of {', '.join(DEFAULT_SCALING)}"})
    reduction_factor: float = field(default=16, metadata={"help": "hidden size / units of the bottleneck"})
    non_linearity: str = field(default="relu", metadata={"help": f"f, one of {', '.join(NON_LINEARITIES)}"})
    dropout: float = field(default=0.0, metadata={"help": "dropout after the non-linearity, 0 <= dropout < 1"})
    scaling: float | None = field(default=None, metadata={"help": "s; None: 4 for parallel, 1 otherwise"})
    phm_dim: int | None = field(
        default=None, metadata={"help": "n of Compacter's sums of Kronecker products; None: plain matrices"}
    )
    phm_rank: int = field(default=1, metadata={"help": "rank of the second factor of each product, with phm_dim"})
    target_modules: list[str] | str | None = field(
        default=None,
        metadata={"help": "module names (suffixes) or a regex to adapt; None: found from the architecture"},
    )
    exclude_modules: list[str] | str | None = field(
        default=None, metadata={"help": "module names (suffixes) or a regex to leave as they are"}
    )
    modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "modules trained and saved in full, such as a new head"}
    )
    layers_to_transform: list[int] | int | None = field(
        default=None, metadata={"help": "indices of the layers to adapt, from 0, in every stack; None: all"}
    )

    def __post_init__(self) -> None:
        """Name the peft type and refuse values that make no adapter."""
        super().__post_init__()
        self.peft_type = PeftType(PEFT_TYPE)
        _check_choice("variant", self.variant, DEFAULT_SCALING)
        _check_choice("non_linearity", self.non_linearity, NON_LINEARITIES)
        if not (math.isfinite(self.reduction_factor) and self.reduction_factor > 0):
            raise ValueError(f"reduction_factor {self.reduction_factor!r}: allowed is a finite number above 0")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout {self.dropout!r}: allowed is 0 <= dropout < 1")
        if self.phm_dim is not None and self.phm_dim < 2:
            raise ValueError(f"phm_dim {self.phm_dim!r}: allowed is None or a number of products from 2")
        if self.phm_rank < 1 or (self.phm_rank > 1 and self.phm_dim is None):
            raise ValueError(f"phm_rank {self.phm_rank!r}: allowed is a rank from 1, above 1 with phm_dim only")
        if self.scaling is not None and not (math.isfinite(self.scaling) and self.scaling != 0):
            raise ValueError(f"scaling {self.scaling!r}: allowed is None or a finite number other than 0")

    def effective_scaling(self) -> float:
        """s: the `scaling` given, or the variant's default."""
        return DEFAULT_SCALING[self.variant] if self.scaling is None else self.scaling

    def units(self, width: int) -> int:
        """Units of the bottleneck for the hidden size `width`: floor(width / reduction_factor).

        Raises ValueError where that is 0.
        """
        # 1e-9: width / (width / units) can come out just below the whole number that was meant.
        units = math.floor(width / self.reduction_factor + 1e-9)
        if units < 1:
            raise ValueError(
                f"reduction_factor {self.reduction_factor:g} leaves 0 units at hidden size {width}: "
                f"allowed is 0 < reduction_factor <= {width}"
            )
        if self.phm_dim and (width % self.phm_dim or units % self.phm_dim):
            fits = [str(n) for n in range(2, units + 1) if width % n == units % n == 0]
            raise ValueError(
                f"phm_dim {self.phm_dim} must divide the hidden size and the units, here {width} and {units}; "
                f"what fits: {', '.join(fits) or 'nothing'}"
            )
        return units


def _check_choice(name: str, value: str, allowed: Collection[str]) -> None:
    """Raise ValueError unless `value` is one of `allowed`, naming them and the nearest."""
    if value not in allowed:
        raise ValueError(unknown(name, value, allowed))
