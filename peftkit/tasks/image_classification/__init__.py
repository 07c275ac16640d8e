"""Image classification: an image; one class, several labels, or a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from peftkit.archives import read_bytes
from peftkit.contracts import PLACE, Batch, Example, File, TaskSettings
from peftkit.errors import RowError, UserError
from peftkit.examples.classification import Classification, ClassificationSettings
from peftkit.examples.typed import json_row
from peftkit.tasks.image_classification.augmentation import Augmentation, augmented
from peftkit.tasks.image_classification.pictures import check_decodes, decoded, each

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor
    from transformers import PreTrainedConfig

MODEL = ("model", "name")
PROBES = ((96, 64), (64, 96))
"""Width and height of the blank pictures that tell what the image processor makes of pictures."""


class ImageClassificationSettings(ClassificationSettings):
    """Which columns hold the image and the label, and how training images are changed."""

    name: Literal["image-classification"] = "image-classification"
    image: str = "image"
    """Column of the image: a path, relative to the data files or in a zip archive beside them, or the hub's images."""
    augmentation: Augmentation = Augmentation()
    """How training images are changed at random; they are not by default."""


class ImageClassification(Classification):
    """A head on the base's class token or pooled output.

    An example keeps where its image lies; the image is decoded when its batch is made, so that a large set fills no
    memory. Image processors run on PIL and numpy, with or without torchvision, so that a run is the same on every
    machine.
    """

    settings_class: ClassVar[type[TaskSettings]] = ImageClassificationSettings
    processor_class: ClassVar[str] = "AutoImageProcessor"
    processor_arguments: ClassVar[Mapping[str, Any]] = {"backend": "pil"}
    auto_class = "AutoModelForImageClassification"
    peft_task_type = None
    settings: ImageClassificationSettings

    def columns(self) -> Mapping[str, str]:
        return {"image": self.settings.image, "label": self.settings.label}

    def files(self) -> Sequence[str]:
        return (self.settings.image,)

    def equip(self, processor: Any, config: PreTrainedConfig) -> None:
        """Raises UserError where the processor's images do not fit the model."""
        super().equip(processor, config)
        vision = getattr(config, "vision_config", config)  # CLIP and its like have a text model beside
        channels, height, width = _made_by(processor)
        reads = _pair(getattr(vision, "image_size", None))
        if (height, width) != reads and reads and not _accepts(config, (channels, height, width)):
            raise UserError(
                f"its image processor makes images of {height} x {width}, but the {config.model_type} model reads "
                f"{reads[0]} x {reads[1]}; set the size in its preprocessor_config.json",
                MODEL,
            )
        if channels != (wanted := getattr(vision, "num_channels", channels)):
            raise UserError(f"the model reads images of {wanted} channels; only RGB, of 3, is made here", MODEL)
        patch = _pair(getattr(vision, "patch_size", None))
        self.tokens = (height // patch[0]) * (width // patch[1]) + 1 if patch else 1

    def encoded_by(self) -> Sequence[Any]:
        """Nothing: images meet their processor in `collate`."""
        return ()

    def examples(self, rows: Mapping[str, list[Any]], max_length: int | None) -> list[Example]:
        files: list[File] = rows[self.settings.image]
        key, column = ("task", "image"), self.settings.image
        for number, (file, fault) in enumerate(zip(files, each(_fault, files), strict=True)):
            if file["fault"] is not None:
                raise RowError(file["fault"], number, key, f"column {column!r} names no file that can be read")
            if fault is not None:
                kind = f"column {column!r} holds no image that can be decoded"
                raise RowError(f"{file['place']}: {fault}", number, key, kind)
        return [{PLACE: file["place"], "sha256": file["sha256"]} for file in files]

    def length(self, example: Example) -> int:
        """Patches of the image, and the class token; 1 where the model has no patches."""
        return self.tokens

    def collate(self, examples: Sequence[Example], augment: Random | None = None) -> Batch:
        """Images as ``pixel_values`` of ``(examples, channels, height, width)``. Raises UserError: a file is gone."""
        import torch

        seeds = [augment.random() if augment else None for _ in examples]
        try:
            pixels = each(self._pixels, list(zip(examples, seeds, strict=True)))
        except ValueError as error:
            raise UserError(str(error), ("data", "source")) from None
        labels = torch.tensor([example["labels"] for example in examples]) if "labels" in examples[0] else None
        return Batch({"pixel_values": torch.stack(pixels)}, labels, examples, self.tokens * len(examples))

    def row(self, line: str) -> dict[str, Any]:
        """The path of an image a line, relative to the current folder; or JSON."""
        return json_row(line, [self.settings.image]) or {self.settings.image: line}

    def _pixels(self, drawn: tuple[Example, float | None]) -> Tensor:
        """What the model sees of an example; augmented by a seed of its own, so that threads may come in any order."""
        example, seed = drawn
        image = decoded(read_bytes(example[PLACE]))
        if seed is not None:
            image = augmented(image, self.settings.augmentation, Random(seed))
        return _processed(self.processor, image)


def _fault(file: File) -> str | None:
    """Why the file holds no image, if it holds none; None too where it cannot be read, which it says itself."""
    if file["place"] is None:
        return None
    try:
        check_decodes(read_bytes(file["place"]))
    except ValueError as error:
        return str(error)
    return None


def _processed(processor: Any, image: Image) -> Tensor:
    pixels: Tensor = processor(images=[image], return_tensors="pt")["pixel_values"][0]
    return pixels


def _made_by(processor: Any) -> tuple[int, int, int]:
    """Channels, height and width of what the processor makes. Raises UserError where they depend on the image."""
    from PIL import Image

    made = {tuple(_processed(processor, Image.new("RGB", size)).shape) for size in PROBES}
    if len(made) > 1 or len(shape := made.pop()) != 3:
        raise UserError(f"{type(processor).__name__} makes images of several sizes, which form no batch", MODEL)
    return shape[0], shape[1], shape[2]


def _accepts(config: PreTrainedConfig, shape: tuple[int, int, int]) -> bool:
    """Whether the architecture takes images of `shape`, other than its config's: tried without weights or memory.

    DINOv2 interpolates its positions and convolutions have none, but a ViT takes no other size.
    """
    import torch
    from transformers import AutoModelForImageClassification

    with torch.device("meta"), torch.no_grad():
        try:
            AutoModelForImageClassification.from_config(config).eval()(pixel_values=torch.zeros(2, *shape))
        except (ValueError, RuntimeError):
            return False
    return True


def _pair(size: Any) -> tuple[int, int] | None:
    """Height and width; a number stands for both."""
    if size is None:
        return None
    if isinstance(size, Mapping):
        return size["height"], size["width"]
    height, width = size if isinstance(size, Sequence) else (size, size)
    return height, width
