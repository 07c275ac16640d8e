"""Images in a folder for each class, in folders for each split or without: rows of ``image`` and ``label``."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from peftkit.archives import members
from peftkit.data.columns import SOURCE, Row
from peftkit.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
LAYOUT = "expected CLASS/FILE everywhere, or SPLIT/CLASS/FILE everywhere"


def image_splits(place: Path, names: Collection[str], alone: str) -> dict[str, list[Row]]:
    """Rows by split of a folder or zip archive of images, in the order of their paths; none when it holds no image.

    ``image`` is the absolute path, ``/data/images.zip::cat/1.png`` in an archive; ``label`` is the class, the folder's
    name. `names` are those that tell a split from a class; without them all rows are the split `alone`. A folder that
    everything else is in says nothing.

    Raises:
        UserError: an image is in no class folder, or the archive cannot be read.
    """
    place = place.absolute()
    images = _listed(place)
    paths = {image: image.split("/") for image in sorted(images)}
    while paths and len(tops := {parts[0] for parts in paths.values()}) == 1 and not tops & set(names):
        if min(map(len, paths.values())) < 3:
            break
        paths = {image: parts[1:] for image, parts in paths.items()}
    by_split = any(parts[0] in names and len(parts) > 2 for parts in paths.values())
    bare = not by_split and {parts[0] for parts in paths.values()} <= set(names)  # unsorted: a split is no class
    mark = "::" if place.is_file() else "/"
    splits: dict[str, list[Row]] = {}
    for image, parts in paths.items():
        if bare or len(parts) < 2 + by_split or (by_split and parts[0] not in names):
            raise UserError(f"{place}: the image {image} is in no class folder ({LAYOUT})", SOURCE)
        row = {"image": f"{place}{mark}{image}", "label": parts[by_split]}
        splits.setdefault(parts[0] if by_split else alone, []).append(row)
    return splits


def _listed(place: Path) -> list[str]:
    """Paths of images below a folder or in an archive, parted by ``/``; hidden ones and what macOS adds left out."""
    if place.is_file():
        try:
            paths = list(members(place))
        except ValueError as error:
            raise UserError(str(error), SOURCE) from None
    else:
        found = ((Path(folder), files) for folder, _, files in os.walk(place, onerror=_raise, followlinks=True))
        paths = [(folder / file).relative_to(place).as_posix() for folder, files in found for file in files]
    return [path for path in paths if path.lower().endswith(SUFFIXES) and not _hidden(path)]


def _hidden(path: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def _raise(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be read: {error.strerror}", SOURCE)
