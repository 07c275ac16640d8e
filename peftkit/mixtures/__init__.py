"""Mixtures: two methods on one model. Loads neither peft nor torch."""

from __future__ import annotations

from peftkit.contracts import Method, MethodSettings
from peftkit.methods import METHODS
from peftkit.mixtures.mixture import PARTS_FOLDER, Mixture
from peftkit.mixtures.pairs import refusals
from peftkit.mixtures.settings import MIXTURE, MixtureSettings, plain_data

__all__ = ["MIXTURE", "PARTS_FOLDER", "Mixture", "MixtureSettings", "method_of", "plain_data", "refusals"]


def method_of(settings: MethodSettings) -> Method:
    """The method that a recipe's settings ask for, bound to them: an entry of METHODS, or a mixture of such."""
    return Mixture(settings) if isinstance(settings, MixtureSettings) else METHODS[settings.name](settings)
