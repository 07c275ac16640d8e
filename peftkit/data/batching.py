"""Which rows go through the model together: a seeded order that depends on nothing but its arguments."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

MEGA = 50
"""Effective batches sorted by length together; enough to even out lengths, few enough to stay random."""


def effective_batches(
    lengths: Sequence[int], size: int, strategy: Literal["random", "group_by_length"], seed: int, epoch: int
) -> list[list[int]]:
    """One epoch as batches of `size` row numbers, one to an optimizer step over all processes; the last may be smaller.

    `group_by_length` sorts stretches of 50 batches by length and shuffles the batches: order stays random, with less
    padding.
    """
    generator = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    generator.shuffle(order)
    if strategy == "group_by_length":
        mega = size * MEGA
        stretches = (order[start : start + mega] for start in range(0, len(order), mega))
        order = [row for stretch in stretches for row in sorted(stretch, key=lambda row: -lengths[row])]
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    if strategy == "group_by_length":
        generator.shuffle(batches)
    return batches


def step_slots(batch: Sequence[int], size: int, processes: int, rank: int) -> list[list[int]]:
    """This process's share of an effective batch: rows for each forward pass, at most `size` of them.

    Every process gets as many passes as the others, and rows are spread evenly; a pass may be empty where rows run out.
    """
    rounds = -(-len(batch) // (size * processes))
    slots = rounds * processes
    bounds = [len(batch) * i // slots for i in range(slots + 1)]
    return [list(batch[bounds[i] : bounds[i + 1]]) for i in range(rank, slots, processes)]


def in_length_order(lengths: Sequence[int], size: int) -> list[list[int]]:
    """All rows, longest first, in batches of at most `size`: for evaluation, where order does not matter."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    return [order[start : start + size] for start in range(0, len(order), size)]
