"""Image files as RGB pictures, whatever their format; many at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from PIL.Image import Image

Item = TypeVar("Item")
Result = TypeVar("Result")

SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""PIL's modes of grey pictures whose values go to 65535; its own conversion would cut them at 255."""
MOST_THREADS = 16


def decoded(content: bytes) -> Image:
    """The picture in a file's bytes, upright, in RGB (8 bits): of an animation the first frame, on white what is clear.

    Raises:
        ValueError: the bytes are no image, are cut short, or their values have no known range.
    """
    return _opened(content, _upright)


def check_decodes(content: bytes) -> None:
    """Raises ValueError, as `decoded` does, when the bytes are no image. Reads them all, but a large JPEG at a small
    scale, which takes a fraction of the time."""
    _opened(content, lambda image: (image.draft("RGB", (64, 64)), _upright(image))[1])


def each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`function` of every item, in order, on all processors: PIL and numpy let other threads work."""
    threads = min(len(items), os.cpu_count() or 1, MOST_THREADS)
    if threads < 2:
        return list(map(function, items))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def _opened(content: bytes, use: Callable[[Any], Image]) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(content)) as image:
            return use(image)
    except UnidentifiedImageError:
        raise ValueError("not an image in a known format") from None
    except Exception as error:  # decoders fail in as many ways as there are formats
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"not an image that can be decoded ({first})") from None


def _upright(image: Any) -> Image:
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its values are floating-point numbers, of no known range")
    if image.mode in SIXTEEN_BITS:
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image).convert("RGB")
    rgb: Image.Image = image.convert("RGB")
    return rgb
