"""A suite goes in, records come out: one fresh process a cell, what is done is not done again."""

from peftkit.suites.running import BenchResult, bench
from peftkit.suites.suite import Cell, Suite, load_suite

__all__ = ["BenchResult", "Cell", "Suite", "bench", "load_suite"]
