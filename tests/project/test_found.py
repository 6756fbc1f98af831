"""What `memtrack init` finds in folders and tables of images, and the params.yaml that it writes for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from memtrack.config import params
from memtrack.config.errors import InputError
from memtrack.config.yaml_file import read_yaml
from memtrack.data.sources import collect
from memtrack.project.found import DIGITS, Data, look_at
from memtrack.project.params_file import params_text

Picture = Callable[..., Path]


def samples(data: Data) -> list[tuple[str, str]]:
    """What params.yaml for this data describes: the ids and labels that its source has."""
    Path("params.yaml").write_text(params_text(data), encoding="utf-8")
    loaded = params.checked(read_yaml(Path("params.yaml")), tune=True)
    found = collect(loaded.data)
    return sorted(zip(found.ids, found.labels, strict=True))


def test_a_folder_for_each_class(picture: Picture) -> None:
    for name in ("cat", "dog"):
        for number in range(3):
            picture(f"photos/{name}/{number}.png")
    Path("photos/.hidden").mkdir()
    found = look_at(Path("photos"), "photos")
    assert found.section == {
        "kind": "image_folder", "root": "photos", "image_size": 8, "mode": "RGB", "test_share": 0.2
    }  # fmt: skip
    assert samples(found) == [(f"{name}/{n}.png", name) for name in ("cat", "dog") for n in range(3)]


def test_folders_of_splits(picture: Picture) -> None:
    for split in ("training", "validation"):
        for name in ("cat", "dog"):
            picture(f"photos/{split}/{name}/1.png")
    found = look_at(Path("photos"), "photos")
    assert (found.section["train"], found.section["test"]) == ("training", "validation")
    assert len(samples(found)) == 4
    picture("photos/holdout/cat/1.png")
    os.mkfifo("photos/training/cat/a pipe.png")  # prepare says so
    words = look_at(Path("photos"), "photos").words
    assert words.endswith("in training/ (for testing: holdout/; left out: validation/)")


@pytest.mark.parametrize(("size", "mode", "used", "grey"), [(28, "L", 28, "L"), (300, "RGB", 64, "RGB")])
def test_the_size_and_the_colours_of_the_images(size: int, mode: str, used: int, grey: str) -> None:
    for name in ("a", "b"):
        Path(f"photos/{name}").mkdir(parents=True)
        Image.new(mode, (size, 2 * size)).save(f"photos/{name}/1.png")
    Path("photos/a/broken.png").write_bytes(b"no image")
    section = look_at(Path("photos"), "photos").section
    assert (section["image_size"], section["mode"]) == (used, grey)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table(kind: str, picture: Picture) -> None:
    rows = [(f"all/{n}.png", "cat" if n % 2 else "dog", "test" if n > 3 else "train", n) for n in range(6)]
    for path, *_ in rows:
        picture(f"photos/{path}")
    frame = pd.DataFrame(rows, columns=["file", "Label", "part", "size"])
    frame.to_csv("photos/list.csv", index=False) if kind == "csv" else frame.to_parquet("photos/list.parquet")
    for place in (f"photos/list.{kind}", "photos"):
        found = look_at(Path(place), "photos")
        assert found.section["split_column"] == "part"
        assert samples(found) == sorted((path, label) for path, label, *_ in rows)


@pytest.mark.parametrize(
    ("table", "kind", "keys"),
    [
        ("a,b,label\n1,2,x\n3,4,y\n5,1,x\n", "features", {}),
        ("id,a,name,label\n7,2,p,x\n8,4,q,y\n9,4,q,x\n", "features", {"id_column": "id", "columns": ["a"]}),
        ("text,class\na cat sits there,c\nthe dog runs off,d\na cat and a cat,c\nno dog at all,d\n", "text",
         {"text_column": "text", "dimensions": 2}),
        ("text,class\n" + "a cat sat,c\nno dog ran,d\n" * 20, "text", {"dimensions": 4}),
    ],
)  # fmt: skip
def test_a_table_without_images(table: str, kind: str, keys: dict[str, object]) -> None:
    Path("raw").mkdir()
    Path("raw/t.csv").write_text(table)
    found = look_at(Path("raw"), "raw")
    assert found.section["kind"] == kind
    assert keys.items() <= found.section.items()
    assert len(samples(found)) == len(table.splitlines()) - 1
    assert "kind: mlp" in Path("params.yaml").read_text()


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (("a.csv", "b.csv"), {"test_share": 0.2}),
        (("train/0.csv", "test/0.csv"), {"test": "test"}),
        (("train-00000-of-00001.csv", "validation-00000-of-00001.csv"), {"test": "validation"}),
    ],
)
@pytest.mark.parametrize("row", ["a cat{n} that sat,", "{n},"])
def test_several_tables(names: Sequence[str], keys: dict[str, object], row: str) -> None:
    for name in names:
        Path("raw", name).parent.mkdir(parents=True, exist_ok=True)
        rows = "".join(row.format(n=n) + "cd"[n % 2] + "\n" for n in range(4))
        Path("raw", name).write_text(f"x,label\n{rows}")
    found = look_at(Path("raw"), "raw")
    assert found.section["kind"] == ("text" if "cat" in row else "features")
    assert keys.items() <= found.section.items()
    assert len(samples(found)) == 8


@pytest.mark.parametrize(
    "names", [("train_images", "train_labels", "test_images", "test_labels"), ("X", "y")]
)
@pytest.mark.parametrize("shape", [(6, 28, 28), (6, 5)])
def test_arrays(names: Sequence[str], shape: tuple[int, ...]) -> None:
    Path("raw").mkdir()
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez("raw/d.npz", **{name: images if name[-1] in "sX" and "label" not in name else np.arange(6) % 2
                             for name in names})  # fmt: skip
    found = look_at(Path("raw/d.npz"), "raw")
    assert len(samples(found)) == 6 * len(names) / 2
    assert ("kind: mlp" in Path("params.yaml").read_text()) == (len(shape) == 2)


def test_a_folder_with_arrays(picture: Picture) -> None:
    Path("raw/more").mkdir(parents=True)
    Path("raw/README.txt").touch()
    Path("raw/notes.csv").write_text("what,why\n")
    images = np.zeros((6, 8, 8), dtype=np.uint8)
    np.savez("raw/D.npz", images=images, labels=np.arange(6) % 2)
    assert look_at(Path("raw"), "raw") == look_at(Path("raw/D.npz"), "raw")
    assert len(samples(look_at(Path("raw"), "raw"))) == 6
    np.savez("raw/c.npz", images=images)
    with pytest.raises(InputError, match=r"raw: holds D.npz, c.npz: give the path of the .npz file that you"):
        look_at(Path("raw"), "raw")
    picture("raw/loose.png")
    with pytest.raises(InputError, match="which column holds the labels"):
        look_at(Path("raw"), "raw")


@pytest.mark.parametrize(
    ("table", "keys", "words"),
    [
        # the split is seen, though it is in the last rows alone
        (
            "a,label,part\n" + "1,x,train\n2,y,train\n" * 150 + "3,x,test\n",
            {"split_column": "part"},
            "column",
        ),
        ("PassengerId,a,label\n1,5,x\n2,5,y\n", {"id_column": "PassengerId"}, "the columns a of"),
        (",a,label\n0,5,x\n1,5,y\n", {"id_column": ""}, "the columns a of"),
        ("a,b,label\n1,,x\n2,3,y\n", {"columns": ["a"]}, "b: not all cells are numbers, so left out"),
    ],
)
def test_what_the_columns_of_a_table_are(table: str, keys: dict[str, object], words: str) -> None:
    Path("t.csv").write_text(table)
    found = look_at(Path("t.csv"), ".")
    assert keys.items() <= found.section.items()
    assert words in found.words
    small = len(table.splitlines()) < 100
    assert (
        "variants: []" in params_text(found).partition("suspects:")[2].partition("duplicates")[0]
    ) == small


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            "a,label,part\n1,x,Train\n2,y,Test\n",
            "the column 'part' holds the splits Test, Train: ",
        ),
        ("a,label,part\n1,x,train\n2,y,val\n", "the column 'part' holds the splits train, val: "),
        ("a,label,part\n1,x,training\n2,y,valid\n", "the column 'part' holds the splits training, valid: "),
        ("a,a,label\n1,2,x\n", "2 columns are named 'a'"),
        (
            "a,label,split\n1,x,train\n2,y,trian\n3,y,test\n",
            "column 'split': line 3: 'trian' is neither train nor test",
        ),
        ("a,label,Set\n1,x,train\n2,y,\n", "column 'Set': line 3: '' is neither train nor test"),
        ("a,label,split\n1,x,test\n2,y,test\n", "column 'split': all rows are for test"),
    ],
)
def test_tables_that_are_not_clear(table: str, said: str) -> None:
    Path("t.csv").write_text(table)
    with pytest.raises(InputError) as caught:
        look_at(Path("t.csv"), ".")
    assert said in str(caught.value)


def test_paths_of_windows_are_found(picture: Picture) -> None:
    for name in ("1", "2"):
        picture(f"photos/all/{name}.png")
    Path("photos/t.csv").write_text("path,label\nall\\1.png,x\nall\\2.png,y\n")
    section = look_at(Path("photos"), "photos").section
    assert (section["mode"], section["image_size"]) == ("RGB", 8)


def test_the_digits_as_an_example() -> None:
    Path("data/raw").mkdir(parents=True)
    assert len(samples(DIGITS)) == 1797


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nowhere", "nowhere: is not there: give the folder of the images, a table"),
        ("notes.txt", "notes.txt: is no folder and no table"),
        ("empty", "empty: holds no folders with images: expected a folder for each class, or the table"),
        ("list.csv", "list.csv: expected a column of paths of images below its folder, of numbers"),
        ("other.csv", "other.csv: which column holds the labels (it has one of the names label, class"),
    ],
)
def test_what_is_neither(place: str, said: str, picture: Picture) -> None:
    Path("notes.txt").touch()
    Path("empty").mkdir()
    picture("1.png")
    Path("list.csv").write_text("path,label\nx.png,cat\ny.png,dog\n")
    Path("other.csv").write_text("path,who\n1.png,cat\n")
    with pytest.raises(InputError) as caught:
        look_at(Path(place), "photos")
    assert str(caught.value).startswith(said)
