"""Pictures changed at random in training: a class stays what it is, its pictures vary. Done with PIL."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from peftkit.contracts import Settings

if TYPE_CHECKING:
    from PIL.Image import Image

Share = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Settings):
    """How training pictures are changed at random, in this order; names and meanings are those of torchvision's
    transforms. Nothing by default: mirroring turns a left hand into a right one, and a ``b`` into a ``d``."""

    random_resized_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest share of the area that a random crop keeps, its sides changed by 3/4 to 4/3 (RandomResizedCrop, scale);
    1 for no crop."""
    horizontal_flip: Share = 0.0
    """Probability of mirroring left and right (RandomHorizontalFlip, p)."""
    vertical_flip: Share = 0.0
    """Probability of mirroring up and down (RandomVerticalFlip, p)."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Degrees of the largest turn either way; corners become black (RandomRotation, degrees)."""
    color_jitter: Share = 0.0
    """Brightness, contrast and saturation are each multiplied by a factor from 1 - this to 1 + this (ColorJitter)."""


def augmented(image: Image, settings: Augmentation, random: Random) -> Image:
    """The RGB picture changed as the settings say, by draws from `random`; as it is where they say nothing."""
    from PIL import ImageEnhance
    from PIL.Image import Resampling, Transpose

    if settings.random_resized_crop < 1:
        image = image.crop(crop_box(image.size, settings.random_resized_crop, random))
    if random.random() < settings.horizontal_flip:
        image = image.transpose(Transpose.FLIP_LEFT_RIGHT)
    if random.random() < settings.vertical_flip:
        image = image.transpose(Transpose.FLIP_TOP_BOTTOM)
    if settings.rotation:
        image = image.rotate(random.uniform(-settings.rotation, settings.rotation), Resampling.BILINEAR)
    if settings.color_jitter:
        kinds = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
        random.shuffle(kinds)
        for kind in kinds:
            image = kind(image).enhance(1 + random.uniform(-settings.color_jitter, settings.color_jitter))
    return image


def crop_box(size: tuple[int, int], smallest: float, random: Random) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a crop of at least the share `smallest` of the area, sides as 3/4 to 4/3.

    As torchvision's RandomResizedCrop.get_params: ten draws, then the largest middle part that has such sides.
    """
    width, height = size
    for _ in range(10):
        area = random.uniform(smallest, 1) * width * height
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            left, top = random.randint(0, width - across), random.randint(0, height - down)
            return left, top, left + across, top + down
    across, down = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down
