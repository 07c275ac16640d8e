"""Image classification: pictures of every kind, augmentation, where files lie, and what fits a model."""

from __future__ import annotations

import json
import random
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

import peftkit
from peftkit.capabilities import setting_aside
from peftkit.contracts import Batch
from peftkit.data import encode, load_splits
from peftkit.data.cells import with_files
from peftkit.errors import UserError
from peftkit.model import load_base, load_config, load_empty, load_processor
from peftkit.recipe import Recipe, check
from peftkit.tasks import TASKS
from peftkit.tasks.image_classification.augmentation import Augmentation, augmented, crop_box
from peftkit.tasks.image_classification.pictures import check_decodes, decoded, each
from tests.conftest import write_jsonl
from tests.toy_tasks import pictured

RED, CLEAR = (255, 0, 0), (0, 0, 0, 0)


def file_of(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    """The picture as a file's bytes."""
    opened = BytesIO()
    image.save(opened, kind, **options)
    return opened.getvalue()


def half(mode: str = "RGB", left: Any = RED, right: Any = (0, 0, 255)) -> Image.Image:
    """8 x 4 pixels of two colours."""
    image = Image.new(mode, (8, 4), right)
    image.paste(left, (0, 0, 4, 4))
    return image


def corners(content: bytes) -> tuple[Any, Any]:
    """The decoded picture's pixels at the middle of its left and right side."""
    image = decoded(content)
    assert image.mode == "RGB"
    return image.getpixel((0, image.height // 2)), image.getpixel((image.width - 1, image.height // 2))


def recipe_of(toys: Any, source: Path, method: Any = "full", **settings: Any) -> Recipe:
    """A recipe over the toy ViT."""
    recipe = {
        "model": str(toys("vit")),
        "method": method,
        "task": {"name": "image-classification", **settings.pop("task", {})},
        "data": {"source": str(source), **settings.pop("data", {})},
        "training": {"epochs": 1.0, "batch_size": 8, "eval_strategy": "no"} | settings.pop("training", {}),
        **settings,
    }
    return check(recipe, {})


def ready(recipe: Recipe) -> tuple[Any, Any]:
    """The task, learnt and equipped, and its splits."""
    task = TASKS[recipe.task.name](recipe.task)
    splits = load_splits(recipe.data, task)
    task.learn(splits["train"])
    task.equip(load_processor(recipe.model, task), load_config(recipe.model))
    return task, splits


def pixels(task: Any, rows: Any, **options: Any) -> torch.Tensor:
    batch: Batch = task.collate(encode(rows, task, None).examples, **options)
    return batch.inputs["pixel_values"]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A folder with 24 rows to train on and 8 to validate."""
    write_jsonl(tmp_path / "train.jsonl", pictured(24, 0))
    write_jsonl(tmp_path / "validation.jsonl", pictured(8, 40))
    return tmp_path


# --- Pictures --------------------------------------------------------------------------------------------------------


def test_every_kind_of_picture_becomes_rgb() -> None:
    blue = (0, 0, 255)
    assert corners(file_of(half())) == (RED, blue)
    assert corners(file_of(half().quantize(4))) == (RED, blue)
    assert corners(file_of(half("1", 1, 0))) == ((255,) * 3, (0,) * 3)
    assert corners(file_of(half("L", 200, 10))) == ((200,) * 3, (10,) * 3)
    assert corners(file_of(half("CMYK", (0, 255, 255, 0), (255, 255, 0, 0)), "tiff")) == (RED, blue)
    frames = [half(), Image.new("RGB", (8, 4), "green")]
    for kind in ("gif", "webp", "png"):
        moving = file_of(
            frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "webp" else {})
        )
        assert corners(moving) == (RED, blue), kind


def test_sixteen_bits_keep_their_range() -> None:
    grey = Image.new("I;16", (8, 4), 65535)
    grey.paste(25700, (0, 0, 4, 4))
    for kind in ("png", "tiff"):
        assert corners(file_of(grey, kind)) == ((100,) * 3, (255,) * 3), kind


def test_what_is_clear_is_white() -> None:
    assert corners(file_of(half("RGBA", CLEAR, (255, 0, 0, 255)))) == ((255,) * 3, RED)
    assert corners(file_of(half("LA", (0, 0), (0, 255)))) == ((255,) * 3, (0,) * 3)


def test_a_photo_stands_upright() -> None:
    turned = half()
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise (EXIF 2.32, Orientation)
    image = decoded(file_of(turned, "png", exif=exif.tobytes()))
    assert image.size == (4, 8) and image.getpixel((2, 0)) == RED and image.getpixel((2, 7)) == (0, 0, 255)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp", "tiff"])
def test_a_file_that_is_cut_short_is_refused(kind: str) -> None:
    noise = Image.frombytes("RGB", (60, 60), random.Random(0).randbytes(10800))
    content = file_of(noise, kind)
    check_decodes(content)
    decoded(content)
    for use in (check_decodes, decoded):
        with pytest.raises(ValueError, match="not an image") as error:
            use(content[: len(content) // 2])
        assert "\n" not in str(error.value)


def test_what_is_no_image_is_refused_without_an_address() -> None:
    for content in (b"", b"text", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(ValueError, match=r"^not an image[^<]*$"):
            decoded(content)


def test_many_are_done_in_order() -> None:
    assert each(lambda number: number * 2, range(100)) == list(range(0, 200, 2)) and each(str, []) == []


# --- Augmentation ----------------------------------------------------------------------------------------------------


def test_nothing_is_augmented_by_default() -> None:
    image = half()
    assert augmented(image, Augmentation(), random.Random(0)).tobytes() == image.tobytes()


def test_augmentations_do_what_they_are_called() -> None:
    image = half()
    left, up = Augmentation(horizontal_flip=1.0), Augmentation(vertical_flip=1.0)
    assert augmented(image, left, random.Random(0)).tobytes() == ImageOps.mirror(image).tobytes()
    assert augmented(image, up, random.Random(0)).tobytes() == ImageOps.flip(image).tobytes()
    some = [augmented(image, Augmentation(horizontal_flip=0.5), random.Random(seed)) for seed in range(200)]
    assert 70 < sum(one.tobytes() == image.tobytes() for one in some) < 130
    for settings in ({"rotation": 30.0}, {"color_jitter": 0.5}):
        made = {augmented(image, Augmentation(**settings), random.Random(seed)).tobytes() for seed in range(20)}
        assert len(made) > 10, settings


@pytest.mark.parametrize("size", [(100, 100), (300, 40), (3, 500), (1, 1)])
def test_a_crop_lies_inside_and_keeps_its_share(size: tuple[int, int]) -> None:
    for seed in range(100):
        left, top, right, bottom = crop_box(size, 0.5, random.Random(seed))
        assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
        if size == (100, 100):
            assert (right - left) * (bottom - top) >= 0.48 * 10000 and 0.73 < (right - left) / (bottom - top) < 1.36


def test_only_training_augments_and_a_seed_repeats_it(toys: Any, rows: Path) -> None:
    task, splits = ready(recipe_of(toys, rows, task={"augmentation": {"rotation": 90.0, "color_jitter": 0.5}}))
    plain = pixels(task, splits["train"])
    assert torch.equal(plain, pixels(task, splits["train"]))
    once, again, other = (pixels(task, splits["train"], augment=random.Random(seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again) and not torch.equal(once, other) and not torch.equal(once, plain)


# --- Where files lie -------------------------------------------------------------------------------------------------


def test_one_set_reads_the_same_wherever_its_files_lie(toys: Any, tmp_path: Path) -> None:
    made = [(Path(row["image"]), str(row["label"])) for row in pictured(12, 0)]
    table, folder, zipped = tmp_path / "table", tmp_path / "folder", tmp_path / "images.zip"
    table.mkdir()
    with zipfile.ZipFile(table / "images.zip", "w") as beside, zipfile.ZipFile(zipped, "w") as whole:
        for file, label in made:
            beside.write(file, f"{label}/{file.name}")
            whole.write(file, f"{label}/{file.name}")
            (folder / label).mkdir(parents=True, exist_ok=True)
            (folder / label / file.name).write_bytes(file.read_bytes())
    made.sort(key=lambda pair: (pair[1], pair[0].name))
    write_jsonl(table / "train.jsonl", [{"image": f"{label}/{file.name}", "label": label} for file, label in made])
    found = [ready(recipe_of(toys, source, data={"validation": "25%"})) for source in (table, folder, zipped)]
    seen = [encode(splits["train"], task, None) for task, splits in found]
    assert len({rows.fingerprint for rows in seen}) == 1
    first, *others = (task.collate(rows.examples) for (task, _), rows in zip(found, seen, strict=True))
    for other in others:
        assert torch.equal(first.inputs["pixel_values"], other.inputs["pixel_values"])
        assert torch.equal(first.labels, other.labels)


@pytest.mark.parametrize("kept", [True, False])
def test_images_that_rows_hold_are_read_as_their_files_are(
    kept: bool, toys: Any, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import Dataset, Features, Value
    from datasets import Image as Pictures

    monkeypatch.setenv("PEFTKIT_CACHE", str(tmp_path / "cache") if kept else "off")
    task, splits = ready(recipe_of(toys, rows))
    cells = [{"bytes": Path(row["image"]).read_bytes(), "path": None} for row in pictured(24, 0)]
    features = Features({"image": Pictures(decode=False), "label": Value("string")})
    held = Dataset.from_dict({"image": [*cells, cells[0]], "label": ["0"] * 25}, features=features)
    found = with_files(held, task, tmp_path)
    assert torch.equal(pixels(task, found)[:24], pixels(task, splits["train"]))
    place = {file["place"].partition("::")[0] for file in found["image"]}
    assert len(place) == 1 and Path(place.pop()).exists()
    assert list((tmp_path / "cache").glob("*.zip")) if kept else not (tmp_path / "cache").exists()


def test_what_is_encoded_follows_the_content_and_not_the_name(toys: Any, rows: Path, tmp_path: Path) -> None:
    written = pictured(24, 0)
    for row in written:
        (tmp_path / Path(row["image"]).name).write_bytes(Path(row["image"]).read_bytes())
    write_jsonl(tmp_path / "train.jsonl", [{**row, "image": Path(row["image"]).name} for row in written])
    recipe = recipe_of(toys, rows)
    task, splits = ready(recipe)
    before = encode(splits["train"], task, None).fingerprint
    changed = tmp_path / "3.png"
    half().save(changed)
    task, splits = ready(recipe)
    assert encode(splits["train"], task, None).fingerprint != before
    changed.write_bytes(b"no image")
    task, splits = ready(recipe)
    with pytest.raises(UserError, match=r"split train, row 4: /.*/3.png: not an image in a known format$"):
        encode(splits["train"], task, None, split="train")
    kept = encode(splits["train"], task, None, invalid_rows="drop")
    assert kept.dropped == {"column 'image' holds no image that can be decoded": 1} and len(kept.rows) == 23


def test_faults_are_told_by_row_and_counted_by_kind(toys: Any, rows: Path) -> None:
    spoiled = pictured(24, 0)
    for number, cell in ((2, "gone.png"), (5, ""), (7, None)):
        spoiled[number]["image"] = cell
    write_jsonl(rows / "train.jsonl", spoiled)
    task, splits = ready(recipe_of(toys, rows))
    kept = encode(splits["train"], task, None, invalid_rows="drop")
    assert kept.dropped == {"column 'image' names no file that can be read": 2, "column 'image' is empty or absent": 1}
    write_jsonl(rows / "train.jsonl", [row for row in spoiled if row["image"] is not None])
    task, splits = ready(recipe_of(toys, rows))
    with pytest.raises(UserError, match=f"row 3: gone.png: no such file in {rows} or its archives"):
        encode(splits["train"], task, None)


def test_a_file_that_goes_while_training_is_told_in_a_line(toys: Any, rows: Path, tmp_path: Path) -> None:
    here = tmp_path / "here.png"
    half().save(here)
    write_jsonl(rows / "train.jsonl", [*pictured(11, 0), {"image": str(here), "label": 0}])
    task, splits = ready(recipe_of(toys, rows))
    examples = encode(splits["train"], task, None).examples
    here.unlink()
    with pytest.raises(UserError, match=r"here.png: no such file"):
        task.collate(examples)


# --- What fits a model -----------------------------------------------------------------------------------------------


def test_a_class_is_a_class_whether_it_is_a_number_or_a_word(toys: Any, rows: Path) -> None:
    task, splits = ready(recipe_of(toys, rows))
    assert task.config()["id2label"] == {0: "0", 1: "1", 2: "2"}
    example = encode(splits["train"], task, None).examples[4]
    assert set(example) == {"place", "sha256", "labels"} and example["labels"] == 1
    json.dumps(example)
    assert task.length(example) == 5  # four patches of 8 x 8, and the class token
    assert task.collate([example] * 3).padded_tokens == 15


def test_a_processor_of_another_size_is_refused_where_the_model_takes_no_other(
    toys: Any, rows: Path, tmp_path: Path
) -> None:
    from transformers import Dinov2Config, ViTConfig, ViTImageProcessorPil

    task = TASKS["image-classification"](recipe_of(toys, rows).task)
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32})
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16, "patch_size": 8}
    told = "makes images of 32 x 32, but the vit model reads 16 x 16; set the size in its preprocessor_config.json"
    with pytest.raises(UserError, match=told):
        task.equip(processor, ViTConfig(**small, intermediate_size=64))
    task.equip(processor, Dinov2Config(**small))
    assert task.length({}) == 17
    with pytest.raises(UserError, match="reads images of 1 channels; only RGB"):
        task.equip(ViTImageProcessorPil(size={"height": 16, "width": 16}), ViTConfig(**small, num_channels=1))
    with pytest.raises(UserError, match="images of several sizes"):
        task.equip(ViTImageProcessorPil(do_resize=False), ViTConfig(**small))


def test_a_model_without_an_image_processor_is_told(toys: Any, rows: Path) -> None:
    recipe = recipe_of(toys, rows, model=str(toys("bert")))
    task = TASKS["image-classification"](recipe.task)
    with pytest.raises(UserError, match=r"the model cannot be loaded: .*image processor") as error:
        load_processor(recipe.model, task)
    assert "\n" not in str(error.value)


def test_a_length_limit_is_refused(toys: Any, rows: Path) -> None:
    with pytest.raises(UserError, match=r"training\.max_length: this task reads no text; leave it out"):
        peftkit.run(recipe_of(toys, rows, training={"max_length": 16}))


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("full", {}),
        ("head", {}),
        ("bitfit", {}),
        ("bottleneck", {}),
        ("adalora", {"training": {"epochs": 4.0}}),
        ("lora", {"quantization": "8bit"}),
        ("lora", {"quantization": "4bit"}),
    ],
)
def test_methods_train_and_keep_the_head(
    method: str, settings: dict[str, Any], toys: Any, rows: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(toys, rows, method, **settings)
    record = peftkit.run(recipe, tmp_path / "run")
    assert record.status == "ok" and load_empty(recipe, ready(recipe)[0]).head == ("classifier",)
    files = {file.name for file in (tmp_path / "run").iterdir()}
    assert "preprocessor_config.json" in files and not any(name.startswith("tokenizer") for name in files)
    again = peftkit.load(tmp_path / "run")
    assert again.evaluate("validation").scores == pytest.approx(record.scores, rel=1e-3)
    saved = {
        name: tensor for file in (tmp_path / "run").glob("*.safetensors") for name, tensor in load_file(file).items()
    }
    (head,) = (tensor for name, tensor in saved.items() if name.endswith("classifier.weight"))
    fresh = load_base(recipe, ready(recipe)[0], torch.device("cpu")).model.get_submodule("classifier").weight
    assert not torch.equal(head, fresh)  # trained, not just saved


@setting_aside()
def test_prompt_methods_are_refused_in_a_line(toys: Any, rows: Path) -> None:
    told = "prefix-tuning cannot be attached to a vit model: its attention takes no outside keys and values"
    with pytest.raises(UserError, match=told):
        peftkit.run(recipe_of(toys, rows, "prefix-tuning"))


def test_a_trained_model_is_a_base_whose_head_is_trained_on(toys: Any, rows: Path, tmp_path: Path) -> None:
    peftkit.run(recipe_of(toys, rows), tmp_path / "full")
    peftkit.run(recipe_of(toys, rows, "lora", model=str(tmp_path / "full")), tmp_path / "lora")
    base, adapter = (
        load_file(tmp_path / name) for name in ("full/model.safetensors", "lora/adapter_model.safetensors")
    )
    name = next(name for name in adapter if name.endswith("classifier.weight"))
    assert adapter[name].shape == base["classifier.weight"].shape
    assert not torch.equal(adapter[name], base["classifier.weight"])
    torch.testing.assert_close(adapter[name], base["classifier.weight"], rtol=0, atol=0.05)


def test_a_photo_is_predicted_by_its_path(
    toys: Any, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peftkit.run(recipe_of(toys, rows), tmp_path / "run")
    (tmp_path / "desk").mkdir()
    monkeypatch.chdir(tmp_path / "desk")
    half().save("photo.jpg")
    model = peftkit.load(tmp_path / "run")
    content = Path("photo.jpg").read_bytes()
    (by_path,), (by_content,) = model.predict(["photo.jpg"]), model.predict([{"image": {"bytes": content}}])
    assert by_path == by_content and by_path["label"] in {"0", "1", "2"}
    with pytest.raises(UserError, match=r"row 1: other.jpg: no such file"):
        model.predict(["other.jpg"])
