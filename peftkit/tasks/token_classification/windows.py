"""A sequence of words that is too long for the model, as windows that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Window:
    """Words that go through the model together, and those of them that are taught and read there; numbers from 0."""

    start: int
    """The first word in view."""
    end: int
    """One past the last word in view."""
    first: int
    """The first word that is taught and read here; others see it as context only."""
    last: int
    """One past the last of them."""


def windows(sizes: Sequence[int], room: int, overlap: int) -> list[Window]:
    """Windows over words of `sizes` tokens, none above `room` tokens, neighbours sharing up to `overlap` words.

    Every word belongs to exactly one window: the one where the side with fewer words around it has the most, which
    parts an overlap in its middle. No more than half of a window is overlap, so that each brings the next words on.
    Every size is from 1 to `room`. Gives no window without words.
    """
    assert all(0 < size <= room for size in sizes), "a word above the limit is cut before"
    if not sizes:
        return []
    views: list[tuple[int, int]] = []
    start = end = 0
    while end < len(sizes):
        if views:
            start = max(end - overlap, (start + end + 1) // 2)
            while sum(sizes[start : end + 1]) > room:  # the overlap makes way for the next word
                start += 1
        end = _reach(sizes, start, room)
        views.append((start, end))
    parts = [0, *((left + right + 1) // 2 for (_, left), (right, _) in pairwise(views)), len(sizes)]
    return [Window(*view, *part) for view, part in zip(views, pairwise(parts), strict=True)]


def _reach(sizes: Sequence[int], start: int, room: int) -> int:
    """One past the last word of those from `start` on that fit into `room` together."""
    taken, end = 0, start
    while end < len(sizes) and taken + sizes[end] <= room:
        taken += sizes[end]
        end += 1
    return end
