"""Schemes that write entities as a tag for each word: IOB2, IOBES (also called BIOES) and BILOU."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

OUTSIDE = "O"
"""The tag of a word that belongs to no entity."""
UNTYPED = "_"
"""The type of entities whose tags have none (``B``, ``I``), as seqeval calls it."""
_TYPED = re.compile(r"[BIESUL]-.+")
_BARE = re.compile(r"[BIESUL]")


@dataclass(frozen=True)
class Entity:
    """Words that form one entity, numbered from 0, `end` one past the last."""

    type: str
    start: int
    end: int


@dataclass(frozen=True)
class Scheme:
    """Which letter says what. A scheme without letters for the end and for an entity of one word is IOB2.

    A tag *continues* the one before it when both are of one type, it means inside or end, and that one means begin or
    inside. A run of tags each of which continues the last is whole when it begins and ends as the scheme says; tags at
    an edge that is not as it says are illegal. Whole runs are seqeval's entities in strict mode.
    """

    name: str
    end: str = "I"
    single: str = "B"
    typed: bool = True

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters of all tags but O."""
        return tuple(dict.fromkeys(("B", "I", self.end, self.single)))

    def tags(self, types: Iterable[str]) -> tuple[str, ...]:
        """All tags there are for `types`: O first, then type by type."""
        if not self.typed:
            return (OUTSIDE, *self.letters)
        return (OUTSIDE, *(f"{letter}-{name}" for name in sorted(types) for letter in self.letters))

    def legal(self, tag: str) -> bool:
        """Whether a tag is of this scheme, whatever its type."""
        return tag == OUTSIDE or (bool((_TYPED if self.typed else _BARE).fullmatch(tag)) and tag[0] in self.letters)

    def entities(self, tags: Sequence[str]) -> list[Entity]:
        """The whole runs."""
        runs = self._runs(tags)
        return [Entity(type_of(tags[start]), start, end) for start, end in runs if not self._broken(tags, start, end)]

    def illegal(self, tags: Sequence[str]) -> int:
        """How many tags stand at an edge of a run that is not as the scheme says."""
        return sum(len(self._broken(tags, start, end)) for start, end in self._runs(tags))

    def repaired(self, tags: Sequence[str]) -> list[str]:
        """The tags with every run made whole: conlleval's rule, by which a tag that continues nothing begins."""
        found = list(tags)
        for start, end in self._runs(tags):
            for word in self._broken(tags, start, end):
                found[word] = f"{self._letter(word, start, end)}{tags[word][1:]}"
        return found

    def _runs(self, tags: Sequence[str]) -> list[tuple[int, int]]:
        """Start and end of every run of tags that continue each other."""
        inside = [word for word, tag in enumerate(tags) if tag != OUTSIDE]
        starts = [word for word in inside if word == 0 or not self._continues(tags[word - 1], tags[word])]
        ends = {word + 1 for word in inside} - {word for word in inside if word not in starts}
        return list(zip(starts, sorted(ends), strict=True))

    def _continues(self, before: str, tag: str) -> bool:
        return before[0] in ("B", "I") and tag[0] in ("I", self.end) and type_of(before) == type_of(tag)

    def _broken(self, tags: Sequence[str], start: int, end: int) -> list[int]:
        """The words at the edges of a run whose letter is not the scheme's."""
        edges = sorted({start, end - 1})
        return [word for word in edges if tags[word][0] != self._letter(word, start, end)]

    def _letter(self, word: int, start: int, end: int) -> str:
        """What the scheme says of a word in a run."""
        if end - start == 1:
            return self.single
        return "B" if word == start else self.end if word == end - 1 else "I"


SCHEMES = (Scheme("BILOU", "L", "U"), Scheme("IOBES", "E", "S"))
"""Those that mark the end of an entity."""


def scheme_of(tags: Iterable[str]) -> Scheme | None:
    """The scheme of all the tags of some rows, by their letters; None for tags of other kinds (parts of speech).

    Tags are of a scheme when more than half of those besides O look like ``B-PER``, so that one that does not is a
    mistake, or when all are bare letters of a scheme. A scheme that marks ends does so at least half as often as it
    marks a begin, so that an ``E-PER`` among IOB2 is a mistake too.
    """
    counts = Counter(tag for tag in tags if tag != OUTSIDE)
    typed = Counter({tag: count for tag, count in counts.items() if _TYPED.fullmatch(tag)})
    bare = bool(counts) and all(map(_BARE.fullmatch, counts))
    if not bare and 2 * typed.total() <= counts.total():
        return None
    letters: Counter[str] = Counter()
    for tag, count in (counts if bare else typed).items():
        letters[tag[0]] += count
    for scheme in SCHEMES:
        marks = letters[scheme.end] + letters[scheme.single]
        if marks and 2 * marks >= letters["B"]:
            return replace(scheme, typed=not bare)
    return Scheme("IOB2", typed=not bare)


def type_of(tag: str) -> str:
    """``PER`` of ``B-PER``."""
    return tag[2:] or UNTYPED
