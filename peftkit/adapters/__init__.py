"""What the methods that live in a peft adapter share. Loads neither peft nor torch."""

from peftkit.adapters.attaching import Adapter
from peftkit.adapters.targets import ALL_LINEAR, NO_TARGETS

__all__ = ["ALL_LINEAR", "NO_TARGETS", "Adapter"]
