"""Images by class in folders and archives, and the files that cells refer to."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from peftkit.archives import read_bytes
from peftkit.data import read_splits
from peftkit.data.cells import root_of
from peftkit.errors import UserError
from peftkit.recipe import Data
from tests.conftest import write_jsonl

BY_CLASS = ["cat/10.png", "cat/2.JPG", "dog/a.webp", "dog/deep/er/1.gif"]
BY_SPLIT = [f"{split}/{image}" for split in ("test", "train") for image in BY_CLASS]
LEFT_OUT = ["cat/.hidden.png", "__MACOSX/cat/._10.png", "cat/notes.txt", "README.md", ".git/1.png"]


def fill(place: Path, names: list[str]) -> Path:
    """Files of those names whose content is their name, in a folder or, if `place` says so, a zip archive."""
    if place.suffix == ".zip":
        with zipfile.ZipFile(place, "w") as archive:
            for name in names:
                archive.writestr(name, name)
    for name in names if place.suffix != ".zip" else []:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)
    return place


def data_of(source: Any, **settings: Any) -> Data:
    return Data(source=str(source) if isinstance(source, Path) else source, **settings)


def seen(source: Any, **settings: Any) -> dict[str, list[tuple[str, str]]]:
    """Label and content of every image, by split, read as a task reads them."""
    data = data_of(source, **settings)
    splits = read_splits(data)
    rows = {split: splits.read(split, ()) for split in splits.names}
    return {
        split: [(row["label"], read_bytes(row["image"], root_of(data)).decode()) for row in part]
        for split, part in rows.items()
    }


def refusal(source: Any) -> str:
    with pytest.raises(UserError) as refused:
        seen(source)
    assert len(str(refused.value).splitlines()) == 1 and refused.value.key == ("data", "source")
    return str(refused.value)


def fault(cell: Any, root: Path) -> str:
    with pytest.raises(ValueError) as raised:
        read_bytes(cell, root)
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


@pytest.fixture(params=["images", "images.zip"])
def place(request, tmp_path):
    return tmp_path / request.param


# --- Images by class -------------------------------------------------------------------------------------------------


def labels_of(names: list[str]) -> list[tuple[str, str]]:
    return [("dog" if "dog" in name else "cat", name) for name in names]


def test_a_folder_for_each_class_gives_one_split(place):
    fill(place, BY_CLASS + LEFT_OUT)
    assert seen(place) == {"train": labels_of(BY_CLASS)} and seen(place, train="all") == {"all": labels_of(BY_CLASS)}


def test_folders_for_splits_hold_a_folder_for_each_class(place):
    fill(place, BY_SPLIT + LEFT_OUT[1:])
    by_split = {split: labels_of([name for name in BY_SPLIT if name.startswith(split)]) for split in ("test", "train")}
    assert seen(place) == by_split


def test_a_split_is_known_by_the_name_that_the_recipe_gives(place):
    fill(place, ["held/cat/1.png", "fit/dog/1.png"])
    assert list(seen(place, train="fit", test="held")) == ["fit", "held"]


def test_a_class_may_have_the_name_of_a_split(place):
    fill(place, ["test/1.png", "exam/1.png"])
    assert seen(place) == {"train": [("exam", "exam/1.png"), ("test", "test/1.png")]}


def test_a_folder_around_everything_says_nothing(place):
    names = [f"my images/{name}" for name in BY_SPLIT]
    fill(place, names)
    assert [content for part in seen(place).values() for _, content in part] == names


def test_a_row_names_its_file_whole(place, monkeypatch):
    fill(place, ["cat/1.png", "dog/1.png"])
    monkeypatch.chdir(place.parent)
    rows = read_splits(Data(source=place.name)).read("train", ())
    mark = "::" if place.suffix else "/"
    assert list(rows["image"]) == [f"{place}{mark}cat/1.png", f"{place}{mark}dog/1.png"]


def test_archives_by_split(tmp_path):
    for split in ("train", "test"):
        fill(tmp_path / f"{split}.zip", BY_CLASS)
    files = {split: str(tmp_path / f"{split}.zip") for split in ("train", "test")}
    assert seen(files) == seen(list(files.values())) == dict.fromkeys(files, labels_of(BY_CLASS))


@pytest.mark.parametrize(
    "names, image", [(["1.png"], "1.png"), ([*BY_SPLIT, "cat/1.png"], "cat/1.png"), (["train/1.png"], "train/1.png")]
)
def test_an_image_in_no_class_folder_is_told(names, image, place):
    layout = "expected CLASS/FILE everywhere, or SPLIT/CLASS/FILE everywhere"
    assert refusal(fill(place, names)) == f"{place}: the image {image} is in no class folder ({layout})"


def test_an_archive_that_is_none_or_holds_no_images_is_told(tmp_path):
    (tmp_path / "a.zip").write_text("no archive")
    assert refusal(tmp_path / "a.zip") == f"{tmp_path / 'a.zip'}: cannot be read: File is not a zip file"
    told = refusal(fill(tmp_path / "b.zip", ["cat/1.txt"]))
    assert told == f"{tmp_path / 'b.zip'}: holds no images (.png, .jpg, .jpeg, .bmp, .gif, .webp)"
    assert refusal(str(tmp_path / "c.zip")) == f"{tmp_path / 'c.zip'}: no such file or folder"


def test_an_archive_of_splits_is_no_split(tmp_path):
    archive = str(fill(tmp_path / "all.zip", BY_SPLIT))
    assert refusal({"train": archive}) == (
        f"{archive}: holds the splits test, train by itself; give it alone: data.source={archive}"
    )


def test_a_folder_with_an_archive_alone_says_what_to_give(tmp_path):
    archive = fill(tmp_path / "images.zip", BY_CLASS)
    assert refusal(tmp_path).endswith(f"give an archive of images by its own name: data.source={archive}")


# --- Files that cells refer to ---------------------------------------------------------------------------------------


def test_a_table_names_files_beside_it_or_in_an_archive_beside_it(tmp_path):
    rows = [{"image": name, "label": name[:3]} for name in BY_CLASS]
    table = write_jsonl(tmp_path / "train.jsonl", rows)
    fill(tmp_path / "images.zip", BY_CLASS)
    for source in (tmp_path, table, [str(table)], {"train": str(table)}):
        assert seen(source) == {"train": [(name[:3], name) for name in BY_CLASS]}


def test_the_folder_comes_before_its_archives(tmp_path):
    fill(tmp_path / "images.zip", ["0/a.jpg"])
    assert read_bytes("./0/a.jpg", tmp_path) == read_bytes("images.zip::0/a.jpg", tmp_path) == b"0/a.jpg"
    fill(tmp_path, ["0/a.jpg"])
    (tmp_path / "0/a.jpg").write_text("from the folder")
    assert read_bytes("0/a.jpg", tmp_path) == read_bytes(str(tmp_path / "0/a.jpg"), Path("/")) == b"from the folder"


def test_cells_of_datasets_hold_or_name_their_file(tmp_path):
    fill(tmp_path, ["a.png"])
    assert read_bytes({"bytes": b"content", "path": "a.png"}, tmp_path) == b"content"
    assert read_bytes({"bytes": None, "path": "a.png"}, tmp_path) == b"a.png"


@pytest.mark.parametrize("same_time", [True, False])
def test_an_archive_that_changed_is_read_anew(same_time, tmp_path):
    archive = fill(tmp_path / "images.zip", ["a.png"])
    times = archive.stat()
    assert read_bytes("a.png", tmp_path) == b"a.png"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a.png", "b.png")
    if same_time:
        os.utime(archive, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert archive.stat().st_size == times.st_size and read_bytes("a.png", tmp_path) == b"b.png"


def test_a_forked_process_reads_the_archive_by_itself(tmp_path):
    names = [f"{number}.png" for number in range(300)]
    fill(tmp_path / "images.zip", names)
    read_bytes("0.png", tmp_path)
    child = os.fork()
    good = all(read_bytes(name, tmp_path) == name.encode() for _ in range(3) for name in names)
    if child == 0:
        os._exit(0 if good else 1)
    assert good and os.waitpid(child, 0)[1] == 0


def test_a_file_that_is_not_there_is_told(tmp_path):
    archive = fill(tmp_path / "images.zip", ["0/a.jpg"])
    assert fault("0/b.jpg", tmp_path) == f"0/b.jpg: no such file in {tmp_path} or its archives"
    assert fault("images.zip::b.jpg", tmp_path) == f"b.jpg: no such file in {archive}"
    assert fault("none.zip::b.jpg", tmp_path) == f"{tmp_path / 'none.zip'}: cannot be read: No such file or directory"
    assert fault("~nobody-there/b.jpg", tmp_path).startswith("~nobody-there/b.jpg: no such file in ")


@pytest.mark.parametrize("cell", [None, 3, "", "  ", ["a.png"], {"bytes": None, "path": None}, {}])
def test_a_cell_that_is_no_path_is_told(cell, tmp_path):
    assert fault(cell, tmp_path).endswith(": not the path of a file")


@pytest.mark.parametrize("cell", ["long " * 999, "two\nlines", "a\0b", "a.zip::a\0b"])
def test_text_that_is_no_path_is_told_in_one_short_line(cell, tmp_path):
    assert len(fault(cell, tmp_path)) < 200 + len(str(tmp_path))


def test_a_file_in_two_archives_is_refused(tmp_path):
    for name in ("one.zip", "two.zip"):
        fill(tmp_path / name, ["a.png"])
    assert fault("a.png", tmp_path) == "a.png: in both one.zip and two.zip; name the archive: one.zip::a.png"


def test_a_damaged_archive_is_told(tmp_path):
    archive = fill(tmp_path / "images.zip", ["a.png"])
    content = archive.read_bytes()
    archive.write_bytes(content.replace(b"a.pnga.png", b"a.pngX.png", 1))
    assert fault("a.png", tmp_path).startswith(f"a.png in {archive} cannot be read: Bad CRC-32")
    archive.write_bytes(content[:-9])
    assert fault("a.png", tmp_path) == f"{archive}: cannot be read: File is not a zip file"


def test_rows_that_are_no_files_refer_to_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source in ("builtin:stdlib-docstrings", "owner/name", "given", [], {}):
        assert root_of(data_of(source)) == tmp_path
    (tmp_path / "rows").mkdir()
    write_jsonl(tmp_path / "rows" / "train.jsonl", [json.loads("{}")])
    for source in ("rows", "rows/train.jsonl", ["rows/train.jsonl"], {"train": "rows/train.jsonl"}):
        assert root_of(data_of(source)) == tmp_path / "rows"
