"""Each data source gives the samples that are there, and lists all that is wrong with them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pickle
import re
import shutil
import socket
import struct
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
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
        f"photos/{name}: an empty class: no image files; if it is no class, move it out of photos/{side}, "
        f"or write /photos/{name} into {Path.cwd()}/.dvcignore"
        for side, name in (("train", "train/bird"), ("test", "test/dog"))
    ] + [
        "photos/test/cow: this class has no folder for training: add one, or move it away",
    ]


@pytest.mark.usefixtures("classes")
@pytest.mark.parametrize("inside", [True, False])
def test_a_folder_beside_the_classes_is_left_out_as_the_message_says(inside: bool, tmp_path: Path) -> None:
    Path("photos/scripts").mkdir()
    root = "photos" if inside else shutil.move("photos", tmp_path.parent / f"{tmp_path.name}-elsewhere")
    (said,) = problems(folder(root=str(root)))
    assert f"if it is no class, move it out of {root}" in said
    if not inside:
        assert ".dvcignore" not in said
        return
    [(line, file)] = re.findall("write (.*) into (.*)$", said)
    Path(file).write_text(f"{line}\n", encoding="utf-8")
    assert set(collect(folder()).classes) == {"cat", "dog"}


def test_missing_folders() -> None:
    Path("photos").mkdir()
    said = problems(folder(train="here", test="there"))
    assert len(said) == 2
    assert said[0].endswith(
        "photos/here: no such folder: name the folder of the class folders in data.train and data.test"
    )
    assert said[1].endswith(
        "photos/there: no such folder: name the folder of the class folders in data.train and data.test"
    )


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


def left_out(params: ImageFolder | Table) -> dict[str, list[str]]:
    return collect(params).left_out


@pytest.fixture
def classes(picture: Picture) -> list[str]:
    """Two classes of two images."""
    names = [f"{name}/{i}.png" for name in ("cat", "dog") for i in (1, 2)]
    for name in names:
        picture(f"photos/{name}")
    return names


def test_what_systems_leave_behind_is_no_class_and_no_sample(classes: list[str]) -> None:
    folders = [
        "__MACOSX",
        "@eaDir",
        "$RECYCLE.BIN",
        ".ipynb_checkpoints",
        "System Volume Information",
        "#recycle",
    ]
    litter = [f"{folder}/1.png" for folder in folders] + [f"cat/{folder}/1.png" for folder in folders]
    litter += ["cat/._1.png", "cat/Thumbs.db", "dog/.DS_Store", "dog/desktop.ini"]
    for name in litter:
        Path(f"photos/{name}").parent.mkdir(exist_ok=True)
        shutil.copy("photos/cat/1.png", f"photos/{name}")
    assert collect(folder()).ids == classes
    (said,) = left_out(folder()).values()
    assert sorted(said) == sorted(
        [*folders, *(f"cat/{name}" for name in folders), "cat/._1.png", "cat/Thumbs.db", "dog/.DS_Store",
         "dog/desktop.ini"]
    )  # fmt: skip


def test_every_file_is_taken_or_left_out_with_a_reason(classes: list[str], picture: Picture) -> None:
    taken = [f"cat/x{end}" for end in (".jfif", ".AVIF", ".jp2", ".tga", ".TIF", ".webp")]
    other = ["cat/x.heic", "cat/x", "dog/x.image", "dog/notes.txt", "dog/x.svg", "dog/x.pdf"]
    for name in taken + other[:3]:
        shutil.copy("photos/cat/1.png", f"photos/{name}")
    for name in other[3:]:
        Path(f"photos/{name}").write_text("no image", encoding="utf-8")
    picture("photos/beside.png")
    found = collect(folder())
    assert found.ids == sorted(classes + taken)
    assert found.left_out == {
        "extension .heic: `pip install pillow-heif` lets Pillow read it": ["cat/x.heic"],
        "no extension: they are images (PNG), rename them to be taken": ["cat/x"],
        "extension .image: they are images (PNG), rename them to be taken": ["dog/x.image"],
        "extension .txt: not an image": ["dog/notes.txt"],
        "extension .svg: not an image": ["dog/x.svg"],
        "extension .pdf: not an image": ["dog/x.pdf"],
        "images outside of the class folders": ["beside.png"],
    }


def test_an_empty_class_says_what_it_has(classes: list[str]) -> None:
    Path("photos/cow").mkdir()
    shutil.copy("photos/cat/1.png", "photos/cow/1.heic")
    (said,) = problems(folder())
    assert said.startswith(
        "photos/cow: an empty class: no image files (left out: 1 extension .heic: `pip install"
    )


@pytest.mark.usefixtures("classes")
def test_images_beside_the_training_and_test_folders_are_counted(picture: Picture) -> None:
    for name in ("train/cat/1", "train/dog/1", "test/cat/1", "val/cat/1", "train/1"):
        picture(f"splits/{name}.png")
    found = collect(folder(root="splits", train="train", test="test"))
    assert found.left_out == {"images outside of the class folders": ["train/1.png", "val/cat/1.png"]}


def test_links_to_files_are_followed_as_dvc_does(classes: list[str], picture: Picture) -> None:
    picture("elsewhere/1.png")
    Path("photos/cat/3.png").symlink_to(Path("elsewhere/1.png").absolute())
    Path("photos/dog/3.png").symlink_to("1.png")
    Path("link").symlink_to("photos")
    for root in ("photos", "link"):
        assert collect(folder(root=root)).ids == sorted([*classes, "cat/3.png", "dog/3.png"])


@pytest.mark.parametrize("link", ["cow", "cat/more", "cat/deep/more"])
@pytest.mark.parametrize("inside", [True, False])
def test_links_to_folders_are_refused(classes: list[str], picture: Picture, link: str, inside: bool) -> None:
    picture("elsewhere/1.png")
    where = Path("photos") / link
    where.parent.mkdir(exist_ok=True)
    where.symlink_to(Path("photos/dog" if inside else "elsewhere").absolute())
    (said,) = problems(folder())
    assert said.startswith(f"photos/{link}: is a link to /")
    assert "DVC does not look behind links to folders" in said


@pytest.mark.usefixtures("classes")
def test_a_training_folder_that_is_a_link(picture: Picture) -> None:
    Path("root").mkdir()
    Path("root/train").symlink_to(Path("photos").absolute())
    (said,) = problems(folder(root="root", train="train"))
    assert said.startswith("root/train: is a link to ")
    picture("root/real/cat/1.png")
    picture("root/real/dog/1.png")
    assert left_out(folder(root="root", train="real")) == {
        "links to folders: DVC does not look behind them": ["train"]
    }


def test_links_that_lead_nowhere_or_in_circles(classes: list[str]) -> None:
    Path("photos/cat/lost.png").symlink_to("nowhere.png")
    Path("photos/dog/round").symlink_to("round")
    lost, circle = problems(folder())
    assert lost == "photos/cat/lost.png: is a link that leads nowhere: remove it, or mend it"
    assert circle == "photos/dog/round: is a link that leads in a circle: remove it, or mend it"


def test_pipes_and_sockets_are_not_opened(classes: list[str]) -> None:
    os.mkfifo("photos/cat/9.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("photos/dog/9.png")
        found = collect(folder())
    assert found.ids == classes
    ((reason, paths),) = found.left_out.items()
    assert reason.startswith("named pipes, sockets and devices: remove them")
    assert paths == ["cat/9.png", "dog/9.png"]


def test_names_that_are_not_utf8(classes: list[str]) -> None:
    Path("photos/cat/1.png").rename(os.fsdecode(b"photos/cat/caf\xe9.png"))
    (said,) = problems(folder())
    assert said.startswith("photos/cat/caf\\xe9.png: the name is not UTF-8")
    said.encode()


def test_names_under_another_locale(classes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("photos/cat/1.png").rename(os.fsdecode(b"photos/cat/caf\xe9.png"))
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    (said,) = problems(folder())
    assert said.endswith("names are in ascii by the locale: set PYTHONUTF8=1, or LC_ALL to C.UTF-8")


@pytest.mark.usefixtures("classes")
@pytest.mark.parametrize("where", [".", "cat", "cat/more"])
def test_folders_that_cannot_be_read(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("photos/cat/more").mkdir()
    scandir, closed = os.scandir, Path("photos") / where

    def guarded(path: Path) -> Any:  # the tests may be run by root, who may read everything
        if path == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    for params in (folder(), table()):
        assert problems(params) == [
            f"{closed}: cannot be read: Permission denied: permit it (chmod), or move it away"
        ]


@pytest.mark.usefixtures("classes")
def test_what_dvc_ignores_is_left_out() -> None:
    shutil.copy("photos/cat/1.png", "photos/cat/3.bmp")
    shutil.copytree("photos/cat", "photos/dog/old")
    Path(".dvcignore").write_text("# a comment\n*.bmp\nold/\n", encoding="utf-8")
    assert left_out(folder()) == {
        "named in .dvcignore: DVC does not watch it": ["cat/3.bmp", "dog/old"],
    }
    assert left_out(folder(root=str(Path("photos").absolute()))) == left_out(folder())
    outside = Path("elsewhere/project")
    outside.mkdir(parents=True)
    root = str(Path("photos").absolute())
    with contextlib.chdir(outside):
        assert "cat/3.bmp" in collect(folder(root=root)).ids


SPLIT_FOLDERS = [
    (["train", "val", "test"], "`train: train` and `test: test`"),
    (["train", "valid"], "`train: train` and `test: valid`"),
    (["Training", "Test"], "`train: Training` and `test: Test`"),
    (["seg_train", "seg_test"], "`train: seg_train` and `test: seg_test`"),
    (["train2017", "val2017"], "`train: train2017` and `test: val2017`"),
]


@pytest.mark.parametrize(("splits", "keys"), SPLIT_FOLDERS)
def test_folders_of_splits_are_no_classes(splits: list[str], keys: str, picture: Picture) -> None:
    for split in splits:
        for name in ("cat", "dog"):
            picture(f"photos/{split}/{name}/1.png")
    (said,) = problems(folder())
    assert said.startswith(
        f"params.yaml: data.train: the folders {', '.join(sorted(splits))} look like splits"
    )
    assert keys in said
    assert collect(folder(allow_split_names=True)).classes == tuple(sorted(splits))


def test_splits_below_the_classes(picture: Picture) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            picture(f"photos/{name}/{split}/1.png")
    (said,) = problems(folder())
    assert said.startswith("params.yaml: data.train: the class folders hold the splits test, train")
    assert collect(folder(allow_split_names=True)).classes == ("cat", "dog")


@pytest.mark.parametrize("names", [("train", "bus"), ("bullet train", "test tube"), ("test", "exam")])
def test_classes_that_are_named_like_a_split(names: tuple[str, str], picture: Picture) -> None:
    for name in names:
        picture(f"photos/{name}/{name[-1]}/1.png")
    assert collect(folder()).classes == tuple(sorted(names))


def test_the_one_class_folder_may_be_a_split(picture: Picture) -> None:
    for name in ("cat", "dog"):
        picture(f"photos/train/{name}/1.png")
    (said,) = problems(folder())
    assert said.endswith("at least two are needed (for the classes below it, write `train: train`)")


ROOTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "photos": (lambda path: None, "no such folder: photos"),
    "photos.zip": (lambda path: path.write_bytes(b"PK"), "is an archive: unpack it"),
    "photos.tar.gz": (lambda path: path.write_bytes(b""), "is an archive: unpack it"),
    "photos.bin": (
        lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "run `git lfs pull`"
    ),
    "photos.dvc": (lambda path: path.write_text("outs:"), "run `dvc pull photos.dvc`"),
    "raw/photos": (
        lambda path: (path.parent.mkdir(), Path("raw.dvc").write_text("outs:")), "run `dvc checkout raw.dvc`"
    ),
    "image.png": (lambda path: path.write_bytes(b""), "is a file: expected the folder"),
    "pipe": (os.mkfifo, "is no folder: expected the folder"),
    "lost": (lambda path: path.symlink_to("nowhere"), "is a link that leads nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("root", ROOTS)
def test_a_root_that_is_no_folder(root: str) -> None:
    make, said = ROOTS[root]
    make(Path(root))
    for params in (folder(root=root), table(root=root)):
        (problem,) = problems(params)
        assert problem.startswith("params.yaml: data.root: ")
        assert said in problem


def test_a_torchvision_folder_that_is_a_link(network: Sequence[str]) -> None:
    for part in ("train", "t10k"):
        write_idx(Path("elsewhere/MNIST/raw"), part, noise(3, 5, 4), noise(3) % 10)
    Path("store").mkdir()
    Path("store/MNIST").symlink_to(Path("elsewhere/MNIST").absolute())
    (said,) = problems(torchvision("MNIST"))
    assert said.startswith("store/MNIST: is a link to ")
    Path("link").symlink_to("elsewhere")
    assert len(collect(torchvision("MNIST", root="link")).ids) == 6


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
        assert problems(table(table=name)) == [f"photos/{name}: has no rows: add one for each image"]

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
            (2, "cats/1.png is already in {}: remove one of the rows"),
            (3, "no such image: photos/dogs/9.png"),
            (4, "../dogs/1.png is outside of data.root (photos)"),
            (4, "label 'cow' is not among the classes: cat, dog"),
            (4, "split 'trian': should be 'train' or 'test'"),
            (5, "/dogs/1.png is outside of data.root (photos)"),
            (5, "the label is missing: give it one, or leave the row out"),
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
    assert said.endswith("line 6: cats/1.png is already in line 2: remove one of the rows")


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
        "photos/labels.csv: an empty class: no training row has the label 'cow': add some",
        "photos/labels.csv: an empty class: no training row has the label 'ant': add some",
    ]


@pytest.mark.usefixtures("photos")
def test_images_that_no_row_names_are_counted(picture: Picture) -> None:
    write_table(ROWS)
    picture("photos/cats/9.png")
    picture("photos/.hidden/1.png")
    assert collect(table()).left_out == {"images that no row of the table names": ["cats/9.png"]}


@pytest.mark.usefixtures("photos")
def test_rows_that_dvc_does_not_see(picture: Picture) -> None:
    picture("elsewhere/1.png")
    picture("photos/.hidden/1.png")
    Path("photos/birds").symlink_to(Path("elsewhere").absolute())
    Path(".dvcignore").write_text("photos/dogs/2.png\n", encoding="utf-8")
    write_table([*ROWS, ("birds/1.png", "cat", "train"), (".hidden/1.png", "cat", "train")])
    link, ignored = sorted(problems(table()))
    assert link.startswith("photos/birds: is a link to ")
    assert ignored.startswith(
        "photos/dogs/2.png: named in .dvcignore: DVC does not watch it: remove its line "
    )


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
        ("labels.parquet", b"not Parquet", ": is damaged, or no Parquet file: copy or save it again"),
    ],
)
def test_files_that_are_no_tables(name: str, content: bytes, expected: str) -> None:
    Path("photos").mkdir()
    (Path("photos") / name).write_bytes(content)
    (said,) = problems(table(table=name))
    assert said.startswith(f"photos/{name}{expected}")


def test_tables_that_are_no_files(picture: Picture) -> None:
    Path("photos").mkdir()
    os.mkfifo("photos/labels.csv")  # to read it would take for ever
    assert "photos/labels.csv: is a named pipe or a device: expected a .csv" in problems(table())[0]
    Path("photos/labels.csv").unlink()
    Path("photos/labels.csv").mkdir()
    assert "photos/labels.csv: is a folder: expected a .csv" in problems(table())[0]


def test_a_parquet_file_with_a_name_twice() -> None:
    Path("photos").mkdir()
    columns = [pa.array(["x.png"]), pa.array(["a"]), pa.array([1]), pa.array([2])]
    pq.write_table(pa.Table.from_arrays(columns, names=["path", "label", "n", "n"]), "photos/labels.parquet")
    said = problems(table(table="labels.parquet"))
    assert said == ["photos/labels.parquet: 2 columns are named 'n': rename all but one"]


def test_images_in_no_class_folder_are_counted(picture: Picture) -> None:
    for number in range(3):
        picture(f"photos/{number}.png")
    (said,) = problems(folder())
    assert "; 3 images are here, in no such folder: move them, or name them in a table" in said


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
