"""Each data source gives the samples that are there, and lists all that is wrong with them."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import struct
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from placed import placed
from sklearn.datasets import load_digits
from torchvision import datasets

from memtrack.config.errors import InputError
from memtrack.config.sections.data import Digits, ImageFolder, Table, Torchvision
from memtrack.data.sources import Collected, collect

Picture = Callable[..., Path]
Bytes = NDArray[np.uint8]


def problems(params: Digits | Torchvision | ImageFolder | Table) -> list[str]:
    with pytest.raises(InputError) as caught:
        collect(params)
    return [str(problem) for problem in caught.value.problems]


def torchvision(name: str, **more: Any) -> Torchvision:
    params = Torchvision.model_validate({"kind": "torchvision", "name": name, "root": "store", **more})
    return placed(params, "data")


def noise(*shape: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


# --- digits -------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn(network: Sequence[str]) -> None:
    bunch = load_digits()
    digits = collect(Digits(kind="digits", root="data/raw"))
    assert digits.ids == [str(number) for number in range(1797)]
    assert [int(label) for label in digits.labels] == bunch.target.tolist()
    assert digits.classes == tuple("0123456789")
    assert digits.splits is None
    assert digits.images is not None
    assert digits.images.dtype == np.uint8
    assert digits.images.shape == (1797, 1, 8, 8)
    rows = digits.images.reshape(1797, 64).astype(float)  # bunch.data holds the rows of each scan
    assert np.abs(rows / 255 * 16 - bunch.data).max() <= 0.5 * 16 / 255 + 1e-12
    assert rows.max() == 255
    assert not network


# --- torchvision --------------------------------------------------------------------------------


def write_idx(folder: Path, part: str, images: Bytes, labels: Bytes) -> None:
    """Images and labels in the IDX format of Yann LeCun's MNIST files."""
    folder.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">IIII", 0x0803, *images.shape)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
    head = struct.pack(">II", 0x0801, len(labels))
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


def write_batch(path: Path, content: dict[str, Any]) -> str:
    """A Python-pickle batch as CIFAR has it; its MD5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_idx_files_are_found_without_the_network(name: str, network: Sequence[str]) -> None:
    train, test = noise(7, 5, 4), noise(3, 5, 4, seed=1)  # not square: rows are rows
    train_labels, test_labels = noise(7, seed=2) % 10, noise(3, seed=3) % 10
    write_idx(Path("store") / name / "raw", "train", train, train_labels)
    write_idx(Path("store") / name / "raw", "t10k", test, test_labels)
    names = getattr(datasets, name).classes

    found = collect(torchvision(name))
    assert found.images is not None
    assert np.array_equal(found.images, np.concatenate([train, test])[:, None])
    assert found.labels == [names[label] for label in (*train_labels, *test_labels)]
    assert found.classes == tuple(names)
    assert found.ids == [f"train/{i}" for i in range(7)] + [f"test/{i}" for i in range(3)]
    assert found.splits == ["train"] * 7 + ["test"] * 3
    assert not network


def test_cifar10_batches_are_found_without_the_network(
    network: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    images, labels = noise(13, 3, 32, 32), (noise(13, seed=1) % 10).tolist()
    folder, parts = Path("store/cifar-10-batches-py"), []
    files = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for i, file in enumerate(files):  # 2 images in each training batch, 3 in the test batch
        rows = slice(2 * i, 2 * i + 2) if i < 5 else slice(10, 13)
        content = {"data": images[rows].reshape(-1, 3072), "labels": labels[rows]}
        parts.append([file, write_batch(folder / file, content)])
    meta = write_batch(folder / "batches.meta", {"label_names": names})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", parts[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", parts[5:])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": meta})

    found = collect(torchvision("CIFAR10"))
    assert found.images is not None
    assert np.array_equal(found.images, images)
    assert found.labels == [names[label] for label in labels]
    assert found.classes == tuple(names)
    assert found.ids == [f"train/{i}" for i in range(10)] + [f"test/{i}" for i in range(3)]
    assert found.splits == ["train"] * 10 + ["test"] * 3
    assert not network


def test_cifar100_has_the_fine_labels(network: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"fine {i}" for i in range(100)]
    images, labels, parts = noise(6, 3, 32, 32), [99, 0, 50, 3, 3, 98], []
    for file, rows in (("train", slice(0, 4)), ("test", slice(4, 6))):
        content = {
            "data": images[rows].reshape(-1, 3072),
            "fine_labels": labels[rows],
            "coarse_labels": [0] * len(labels[rows]),
        }
        parts.append([[file, write_batch(Path("store/cifar-100-python") / file, content)]])
    meta = write_batch(Path("store/cifar-100-python/meta"), {"fine_label_names": names})
    monkeypatch.setattr(datasets.CIFAR100, "train_list", parts[0])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", parts[1])
    monkeypatch.setattr(datasets.CIFAR100, "meta", {**datasets.CIFAR100.meta, "md5": meta})

    found = collect(torchvision("CIFAR100"))
    assert found.images is not None
    assert np.array_equal(found.images, images)
    assert found.labels == [names[label] for label in labels]
    assert not network


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10"])
def test_missing_files_that_may_not_be_downloaded(name: str, network: Sequence[str]) -> None:
    Path("store").mkdir()
    params = torchvision(name, download=False)
    (said,) = problems(params)
    assert said.startswith(f"params.yaml: data.root: no usable {name} in torchvision's layout in ")
    assert "download is false" in said
    assert not network
    assert not list(Path("store").iterdir())


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100"])
def test_a_download_that_fails(name: str, network: Sequence[str]) -> None:
    (said,) = problems(torchvision(name))
    assert said.startswith("params.yaml: data.root: ")
    assert "store" in said
    assert "the download failed" in said
    assert "no network in this test" in said
    assert network


def test_a_missing_test_part_is_not_whole(network: Sequence[str]) -> None:
    write_idx(Path("store/MNIST/raw"), "train", noise(4, 5, 4), noise(4) % 10)
    params = torchvision("MNIST", download=False)
    (said,) = problems(params)
    assert "no usable MNIST" in said
    assert not network


# --- image folders ------------------------------------------------------------------------------


def folder(**more: Any) -> ImageFolder:
    return placed(ImageFolder(kind="image_folder", **{"root": "photos", **more}), "data")


def test_a_folder_per_class(picture: Picture) -> None:
    files = {
        "cat/2.png": "cat",
        "cat/10.jpg": "cat",
        "cat/kittens/small/1.webp": "cat",
        "dog/1.JPEG": "dog",
        "dog/with, comma and é.png": "dog",
    }
    for i, file in enumerate(files):
        picture(f"photos/{file}", seed=i)
    for other in ("photos/readme.txt", "photos/cat/notes.csv", "photos/cat/Thumbs.db"):
        Path(other).write_text("no image", encoding="utf-8")
    picture("photos/beside.png")
    picture("photos/.trash/1.png")

    found = collect(folder())
    assert dict(zip(found.ids, found.labels, strict=True)) == files
    assert found.ids == sorted(files)
    assert found.classes == ("cat", "dog")
    assert found.splits is None
    assert found.images is None


def test_separate_folders_for_training_and_test(picture: Picture) -> None:
    train = ["train/cat/1.png", "train/cat/2.png", "train/dog/1.png"]
    test = ["test/cat/1.png", "test/dog/9.png"]
    for file in train + test:
        picture(f"photos/{file}")
    found = collect(folder(train="train", test="test"))
    assert found.ids == train + test
    assert found.labels == ["cat", "cat", "dog", "cat", "dog"]
    assert found.splits == ["train"] * 3 + ["test"] * 2
    assert found.classes == ("cat", "dog")


@pytest.mark.parametrize("spelling", ["test", "./test", "test/"])
def test_the_test_folder_beside_the_classes_is_no_class(picture: Picture, spelling: str) -> None:
    train, test = ["cat/1.png", "dog/1.png"], ["test/cat/1.png", "test/dog/1.png"]
    for file in train + test:
        picture(f"photos/{file}")
    found = collect(folder(test=spelling))
    assert found.classes == ("cat", "dog")
    assert dict(zip(found.ids, found.splits or [], strict=True)) == {
        **dict.fromkeys(train, "train"),
        **dict.fromkeys(test, "test"),
    }


def test_the_order_is_that_of_the_names_not_of_the_disk(picture: Picture) -> None:
    names = [f"{letter}/{i}.png" for letter in "ba" for i in (3, 1, 2)]
    for file in names:
        picture(f"photos/{file}")
    forward = collect(folder())
    shutil.rmtree("photos")
    for file in reversed(names):
        picture(f"photos/{file}")
    assert collect(folder()) == forward
    assert forward.ids == sorted(names)


def test_all_that_is_wrong_with_the_folders(picture: Picture) -> None:
    for file in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/cow/1.png"):
        picture(f"photos/{file}")
    Path("photos/train/bird").mkdir()
    Path("photos/test/dog").mkdir()
    assert problems(folder(train="train", test="test")) == [
        "photos/train/bird: an empty class: it has no image files",
        "photos/test/dog: an empty class: it has no image files",
        "photos/test/cow: this class is not in the training folder",
    ]


def test_missing_folders() -> None:
    said = problems(folder(train="here", test="there"))
    assert len(said) == 2
    assert said[0].endswith("photos/here: no such folder (see data.root and data.train or data.test)")
    assert said[1].endswith("photos/there: no such folder (see data.root and data.train or data.test)")


@pytest.mark.parametrize("file", [None, "beside.png", "cat/text.txt"])
def test_no_images(picture: Picture, file: str | None) -> None:
    Path("photos/cat").mkdir(parents=True)
    if file == "beside.png":
        picture("photos/beside.png")
    elif file is not None:
        (Path("photos") / file).write_text("no image", encoding="utf-8")
    (said,) = problems(folder())
    assert said.startswith("photos: no images: expected a folder per class with image files")
    assert ".png" in said


def test_one_class_folder(picture: Picture) -> None:
    picture("photos/cat/1.png")
    assert problems(folder()) == ["photos: has one class folder: at least two are needed"]


# --- tables -------------------------------------------------------------------------------------

ROWS = [
    ("cats/1.png", "cat", "train"),
    ("dogs/1.png", "dog", "test"),
    ("dogs/2.png", "dog", "train"),
    ("cats/2.png", "cat", "test"),
]


def table(**more: Any) -> Table:
    return placed(Table(kind="table", **{"root": "photos", "table": "labels.csv", **more}), "data")


def write_table(
    rows: Sequence[Sequence[object]],
    columns: Sequence[str] = ("path", "label", "split"),
    name: str = "labels.csv",
) -> None:
    """Write a CSV file by hand, or a Parquet file."""
    path = Path("photos") / name
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        pd.DataFrame(rows, columns=list(columns)).to_parquet(path)
    else:
        lines = [",".join(map(str, row)) for row in (columns, *rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def photos(picture: Picture) -> None:
    for path, _, _ in ROWS:
        picture(f"photos/{path}")


BY_SPLIT = Collected(
    ids=["cats/1.png", "dogs/2.png", "dogs/1.png", "cats/2.png"],
    labels=["cat", "dog", "dog", "cat"],
    splits=["train", "train", "test", "test"],
    classes=("cat", "dog"),
    images=None,
)


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
class TestBothFormats:
    def test_in_the_order_of_the_table(self, name: str) -> None:
        write_table(ROWS, name=name)
        found = collect(table(table=name))
        assert found.ids == [path for path, _, _ in ROWS]
        assert found.labels == [label for _, label, _ in ROWS]
        assert found.classes == ("cat", "dog")
        assert found.splits is None

    def test_a_split_column_puts_the_training_rows_first(self, name: str) -> None:
        write_table(ROWS, name=name)
        assert collect(table(table=name, split_column="split")) == BY_SPLIT

    def test_columns_of_other_names(self, name: str) -> None:
        write_table(ROWS, ("file", "animal", "part"), name)
        names = {"path_column": "file", "label_column": "animal", "split_column": "part"}
        assert collect(table(table=name, **names)) == BY_SPLIT

    def test_classes_in_the_order_given(self, name: str) -> None:
        write_table(ROWS, name=name)
        found = collect(table(table=name, classes=["dog", "cat"]))
        assert found.classes == ("dog", "cat")

    def test_missing_columns(self, name: str) -> None:
        write_table(ROWS, ("file", "lable", "xyz"), name)
        assert problems(table(table=name)) == [
            f"photos/{name}:1: no column 'path' (there are: file, lable, xyz)",
            f"photos/{name}:1: no column 'label'; did you mean 'lable'? (there are: file, lable, xyz)",
        ]

    def test_numbers_are_text(self, name: str) -> None:
        write_table([(path, i % 2, split) for i, (path, _, split) in enumerate(ROWS)], name=name)
        found = collect(table(table=name))
        assert found.labels == ["0", "1", "0", "1"]
        assert found.classes == ("0", "1")

    def test_no_rows(self, name: str) -> None:
        write_table([], name=name)
        assert problems(table(table=name)) == [f"photos/{name}: has no rows"]

    def test_no_file(self, name: str) -> None:
        assert problems(table(table=name))[0].endswith(f"photos/{name}: no such file")

    def test_all_problems_of_all_rows(self, name: str) -> None:
        rows = [
            ("cats/1.png", "cat", "train"),
            ("dogs/1.png", "dog", "train"),
            ("cats/1.png", "cat", "train"),
            ("dogs/9.png", "dog", "test"),
            ("../dogs/1.png", "cow", "trian"),
            ("/dogs/1.png", "", ""),
        ]
        write_table(rows, name=name)
        wanted = [  # 0-based row and what must be said of it
            (2, "cats/1.png is already in {}"),
            (3, "no such image: photos/dogs/9.png"),
            (4, "../dogs/1.png is outside of data.root (photos)"),
            (4, "label 'cow' is not among the classes: cat, dog"),
            (4, "split 'trian': should be 'train' or 'test'"),
            (5, "/dogs/1.png is outside of data.root (photos)"),
            (5, "label '' is not among the classes: cat, dog"),
            (5, "split '': should be 'train' or 'test'"),
        ]

        def row(number: int) -> str:
            return f"line {number + 2}" if name.endswith(".csv") else f"row {number}"

        said = problems(table(table=name, split_column="split", classes=["cat", "dog"]))
        assert said == [f"photos/{name}: {row(number)}: {text.format(row(0))}" for number, text in wanted]


@pytest.mark.usefixtures("photos")
def test_the_line_numbers_are_those_of_the_file() -> None:
    write_table([*ROWS, ("nowhere.png", "cat", "train")])
    (said,) = problems(table())
    lines = Path("photos/labels.csv").read_text(encoding="utf-8").splitlines()
    (number,) = [i for i, line in enumerate(lines, 1) if line.startswith("nowhere.png")]
    assert said == f"photos/labels.csv: line {number}: no such image: photos/nowhere.png"


@pytest.mark.usefixtures("photos")
def test_the_same_path_spelled_twice() -> None:
    write_table([*ROWS, ("./cats//1.png", "cat", "train")])
    (said,) = problems(table())
    assert said.endswith("line 6: cats/1.png is already in line 2")


@pytest.mark.usefixtures("photos")
def test_labels_that_look_like_something_else() -> None:
    labels = ["NA", "01", "1", "null"]
    write_table([(path, label, "") for (path, _, _), label in zip(ROWS, labels, strict=True)])
    found = collect(table())
    assert found.labels == labels
    assert Counter(found.classes) == Counter(labels)


@pytest.mark.usefixtures("photos")
def test_quotes_and_a_byte_order_mark(picture: Picture) -> None:
    picture("photos/a, b.png")
    text = '\ufeffpath,label\n"a, b.png","the ""one"""\ncats/1.png,é\n'
    Path("photos/labels.csv").write_bytes(text.encode())
    found = collect(table())
    assert found.ids == ["a, b.png", "cats/1.png"]
    assert found.labels == ['the "one"', "é"]


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    "write",
    [
        lambda path: path,
        lambda path: path.replace("/", "\\"),
        lambda path: f" {path} ",
        lambda path: str(Path("photos").absolute() / path),
        lambda path: f"./{path}",
    ],
)
def test_paths_as_other_programs_write_them(write: Callable[[str], str]) -> None:
    write_table([(write(path), label, split) for path, label, split in ROWS])
    found = collect(table())
    assert found.ids == [path for path, _, _ in ROWS]


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
def test_paths_in_another_form_of_unicode(
    picture: Picture, on_disk: Literal["NFC", "NFD"], in_table: Literal["NFC", "NFD"]
) -> None:
    names = ["caf\u00e9/\u00fc.png", "dog/\u00e5.png"]
    for name in names:
        picture(f"photos/{unicodedata.normalize(on_disk, name)}")
    write_table([(unicodedata.normalize(in_table, name), name[:3], "train") for name in names])
    assert collect(table()).ids == [unicodedata.normalize(on_disk, name) for name in names]


def test_a_backslash_in_the_name_of_a_file(picture: Picture) -> None:
    for name in ("a\\b.png", "a/b.png", "c.png"):
        picture(f"photos/{name}")
    write_table([("a\\b.png", "cat", ""), ("c.png", "dog", "")])
    assert collect(table()).ids == ["a\\b.png", "c.png"]


@pytest.mark.usefixtures("photos")
def test_an_empty_path() -> None:
    write_table([*ROWS, ("", "cat", "train")])
    assert problems(table()) == ["photos/labels.csv: line 6: the path is empty"]


@pytest.mark.usefixtures("photos")
def test_classes_without_a_training_row() -> None:
    write_table([*ROWS[:3], ("cats/2.png", "cow", "test")])
    said = problems(table(split_column="split", classes=["cat", "dog", "cow", "ant"]))
    assert said == [
        "photos/labels.csv: an empty class: no training row has the label 'cow'",
        "photos/labels.csv: an empty class: no training row has the label 'ant'",
    ]


@pytest.mark.usefixtures("photos")
def test_one_class_alone() -> None:
    write_table([ROWS[0], ROWS[3]])
    (said,) = problems(table())
    assert "at least two are needed" in said


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("labels.txt", b"path\tlabel\n", ": expected a .csv, .tsv or .parquet file"),
        ("labels.csv", b"", ":1: is empty: expected a line of column names"),
        ("labels.csv", b"path,label\na,b\nc,d,e\n", ":3: 3 cells, but the header has 2"),
        ("labels.csv", b"path,label\n\na,b\nc\n", ":4: 1 cells, but the header has 2"),
        (
            "labels.csv",
            "path,label\na,é\n".encode("latin-1"),
            ":2: byte 0xe9 does not fit the encoding UTF-8: save the table as CSV in UTF-8",
        ),
        ("labels.parquet", b"not Parquet", ": cannot be read as a table: "),
    ],
)
def test_files_that_are_no_tables(name: str, content: bytes, expected: str) -> None:
    Path("photos").mkdir()
    (Path("photos") / name).write_bytes(content)
    (said,) = problems(table(table=name))
    assert said.startswith(f"photos/{name}{expected}")


def test_test_images_below_the_training_folder_are_no_class() -> None:
    for side in ("a", "b"):
        for place in (f"photos/{side}", f"photos/splits/test/{side}"):
            Path(place).mkdir(parents=True)
            Image.new("L", (8, 8)).save(f"{place}/0.png")
    found = collect(folder(test="splits/test"))
    assert found.classes == ("a", "b")
    assert sorted(found.ids) == ["a/0.png", "b/0.png", "splits/test/a/0.png", "splits/test/b/0.png"]
    (said,) = problems(folder(test="."))
    assert "data.test: is the same folder as data.train" in said
