"""The METHODS table: a new method is one file and one line here."""

from __future__ import annotations

from peftkit.contracts import Method
from peftkit.methods.adalora import Adalora
from peftkit.methods.bitfit import Bitfit
from peftkit.methods.bottleneck import Bottleneck
from peftkit.methods.full import Full
from peftkit.methods.head import Head
from peftkit.methods.lora import Lora
from peftkit.methods.prefix_tuning import PrefixTuning

METHODS: dict[str, type[Method]] = {
    "full": Full,
    "head": Head,
    "bitfit": Bitfit,
    "lora": Lora,
    "adalora": Adalora,
    "bottleneck": Bottleneck,
    "prefix-tuning": PrefixTuning,
}
