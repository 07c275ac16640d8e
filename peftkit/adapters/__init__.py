"""What the methods that live in a peft adapter share. Loads neither peft nor torch."""

from peftkit.adapters.attaching import Adapter
from peftkit.adapters.passthrough import OWN, Passthrough, made
from peftkit.adapters.prompts import Prompts
from peftkit.adapters.refused import REFUSED, refusal
from peftkit.adapters.sizes import (
    IN_THE_INPUT,
    IN_THE_LAYER,
    IN_THE_WEIGHT,
    OF_BOTH_SIDES,
    OF_THE_INPUT,
    AtMost,
    Divides,
    Size,
)
from peftkit.adapters.targets import ALL_LINEAR, NO_TARGETS

__all__ = [
    "ALL_LINEAR",
    "IN_THE_INPUT",
    "IN_THE_LAYER",
    "IN_THE_WEIGHT",
    "NO_TARGETS",
    "OF_BOTH_SIDES",
    "OF_THE_INPUT",
    "OWN",
    "REFUSED",
    "Adapter",
    "AtMost",
    "Divides",
    "Passthrough",
    "Prompts",
    "Size",
    "made",
    "refusal",
]
