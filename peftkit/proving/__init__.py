"""What works with what, found out by doing it: every combination is a recipe on a toy model, and is run."""

from peftkit.proving.grid import ENTRIES, PAIRS
from peftkit.proving.sweep import cells, draw, drift, prove, proved

__all__ = ["ENTRIES", "PAIRS", "cells", "draw", "drift", "prove", "proved"]
