"""Memorization that others have estimated, in files laid out as Feldman & Zhang lay theirs out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from placed import placed

from memtrack.config.errors import InputError
from memtrack.config.sections.data import Digits, ImageFolder
from memtrack.config.sections.memorization import MemorizationParams
from memtrack.config.sections.variants import ConflictingDuplicates, NoNoise, PixelNoise, Symmetric
from memtrack.data.corruption import write_variant
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import Collected, collect
from memtrack.data.variants import VariantData
from memtrack.ensembles.published import published_memorization

Picture = Callable[..., Path]
PATH = Path("published.npz")
CLASSES = ("ant", "bee", "cat")
LABELS = np.arange(60) % 3
MEMORIZATION = np.linspace(-0.2, 1, 60)


@pytest.fixture(autouse=True)
def params_file(project: Path) -> None:
    Path("params.yaml").write_text("memorization:\n  published: {clean: published.npz}\n")


@pytest.fixture
def arrays() -> tuple[PreparedData, VariantData]:
    """46 of 60 training samples in an array, in the order of their ids, which is another one."""
    ids = [f"t{i}" for i in range(60)] + [f"x{i}" for i in range(6)]
    labels = [CLASSES[i % 3] for i in range(66)]
    images = np.random.default_rng(0).integers(0, 256, (66, 1, 2, 2), dtype=np.uint8)
    collected = Collected(ids, labels, ["train"] * 60 + ["test"] * 6, CLASSES, images)
    write_prepared(collected, Digits(kind="digits", root="raw", train_limit=46), Path("data/prepared"))
    return clean()


@pytest.fixture
def files(picture: Picture) -> tuple[PreparedData, VariantData]:
    """Twelve files of two classes."""
    for number in range(16):
        split, name = ("test" if number >= 12 else "train"), ("n01", "n02")[number % 2]
        picture(f"raw/{split}/{name}/{name}_{number}.png", seed=number)
    params = ImageFolder(kind="image_folder", root="raw", train="train", test="test", image_size=8)
    write_prepared(collect(params), params, Path("data/prepared"))
    return clean()


def clean() -> tuple[PreparedData, VariantData]:
    data = PreparedData()
    write_variant("clean", NoNoise(kind="none", labels="data/prepared"), data)
    return data, VariantData("clean", data)


def read(data: PreparedData, variant: VariantData) -> np.ndarray:
    """What the file at PATH says of the variant, as params.yaml names it."""
    options = MemorizationParams(published={variant.name: str(PATH)})
    return published_memorization(placed(options, "memorization"), data, variant)


def save(**changes: Any) -> None:
    arrays = {"tr_mem": MEMORIZATION, "tr_labels": LABELS, **changes}
    np.savez(PATH, **{name: array for name, array in arrays.items() if array is not None})


def test_by_the_order_of_the_data_set(arrays: tuple[PreparedData, VariantData]) -> None:
    save(infl_matrix_class0=np.zeros((20, 2)), tt_labels=np.zeros(6))
    found = read(*arrays)
    assert len(found) == 46
    assert found.tolist() == [MEMORIZATION[int(sample[1:])] for sample in arrays[1].ids]


def test_a_copy_has_none(arrays: tuple[PreparedData, VariantData]) -> None:
    save()
    params = ConflictingDuplicates(kind="conflicting_duplicates", labels="data/prepared", rate=0.2)
    write_variant("twice", params, arrays[0])
    twice = VariantData("twice", arrays[0])
    found = read(arrays[0], twice)
    assert np.isnan(found).tolist() == [bool(original) for original in twice.copy_of]


def test_it_is_of_the_data_sets_own_labels_and_pixels(arrays: tuple[PreparedData, VariantData]) -> None:
    save()
    wrong = Symmetric(kind="symmetric", labels="data/prepared", rate=0.3)
    write_variant("wrong", wrong, arrays[0])
    variant = VariantData("wrong", arrays[0])
    assert (np.isnan(read(arrays[0], variant)) == variant.corrupted).all()
    write_variant("static", PixelNoise(kind="pixels", labels="data/prepared", how="gaussian"), arrays[0])
    with pytest.raises(InputError, match="the pixels of static are randomized"):
        read(arrays[0], VariantData("static", arrays[0]))


@pytest.mark.parametrize("form", ["S", "U", "paths"])
def test_by_the_names_of_files(form: str, files: tuple[PreparedData, VariantData]) -> None:
    """In another order, of another format, of more and fewer files than there are, with classes numbered
    otherwise."""
    numbers = [40, *reversed(range(1, 12))]
    names = [f"{('n01', 'n02')[number % 2]}_{number}.JPEG" for number in numbers]
    if form == "paths":
        names = [f"{name.partition('_')[0]}/{name}" for name in names]
    kind = "S" if form == "S" else "U"
    save(tr_mem=np.array(numbers) / 40, tr_labels=7 - np.array(numbers) % 2,
         tr_filenames=np.array(names, kind))  # fmt: skip
    found = dict(zip(files[1].ids, read(*files), strict=True))
    for sample, value in found.items():
        number = int(Path(sample).stem.partition("_")[2])
        assert value == number / 40 if number else np.isnan(value)


def test_files_with_other_labels(files: tuple[PreparedData, VariantData]) -> None:
    names = [f"{('n01', 'n02')[number % 2]}_{number}" for number in range(12)]
    save(tr_mem=np.arange(12) / 12, tr_labels=np.arange(12) // 3 % 2, tr_filenames=np.array(names))
    with pytest.raises(InputError, match=r"tr_labels differ from the clean labels of 4 of 12 samples"):
        read(*files)


def test_no_byte_that_is_changed_is_a_traceback(arrays: tuple[PreparedData, VariantData]) -> None:
    save()
    content = PATH.read_bytes()
    for place in range(0, 900, 7):
        print("changed:", place)
        changed = bytearray(content)
        changed[-1 - place] ^= 255
        PATH.write_bytes(bytes(changed))
        with contextlib.suppress(InputError):
            read(*arrays)


def pickled() -> None:
    save(tr_filenames=np.array([{"name": "x"}] * 60, dtype=object))


def not_an_archive() -> None:
    PATH.write_bytes(b"memorization")


def without_checksum() -> None:
    save()
    content = bytearray(PATH.read_bytes())
    content[300] ^= 255
    PATH.write_bytes(bytes(content))


def one_array() -> None:
    with PATH.open("wb") as file:
        np.save(file, MEMORIZATION)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: None, "does not exist: it should be an .npz file in the format of Feldman & Zhang"),
        (not_an_archive, "cannot be read"),
        (without_checksum, "cannot be read"),
        (one_array, "it should be an .npz file"),
        (pickled, "holds Python objects, which are not read for safety"),
        (lambda: save(tr_labels=None), "has no tr_labels"),
        (
            lambda: save(tr_labels=LABELS[:50]),
            r"arrays of different sizes \(tr_mem \(60,\), tr_labels \(50,\)\)",
        ),
        (
            lambda: save(tr_mem=MEMORIZATION[:50], tr_labels=LABELS[:50]),
            "has 50 samples: the data set has 60",
        ),
        (lambda: save(tr_mem=MEMORIZATION.astype("U")), "tr_mem should hold numbers, but has 60 of <U"),
        (lambda: save(tr_labels=LABELS / 2), "tr_labels should hold whole numbers, but has 60 of float64"),
        (
            lambda: save(tr_mem=MEMORIZATION[:0], tr_labels=LABELS[:0]),
            "tr_mem should hold numbers, but has 0",
        ),
        (lambda: save(tr_mem=100 * MEMORIZATION), "tr_mem should lie between -1 and 1"),
        (
            lambda: save(tr_labels=LABELS[::-1]),
            r"tr_labels differ from the clean labels of \d+ of 46 samples",
        ),
    ],
)
def test_other_files(make: Callable[[], None], said: str, arrays: tuple[PreparedData, VariantData]) -> None:
    make()
    with pytest.raises(InputError, match=said) as caught:
        read(*arrays)
    assert str(caught.value).startswith("published.npz: ")
    assert "params.yaml:2: memorization.published.clean: names this file" in str(caught.value)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([f"a_{number}" for number in range(12)], "names none of the training images"),
        ([b"n01_\xff"] * 12, "cannot tell images apart"),
        ([""] * 12, "cannot tell images apart"),
        (["n01_0"] * 12, "cannot tell images apart"),
        (None, "has no tr_filenames, which are needed to find the samples of image files"),
    ],
)
def test_names_that_do_not_fit(
    names: list[str] | list[bytes] | None, said: str, files: tuple[PreparedData, VariantData]
) -> None:
    numbers = np.arange(12)
    save(tr_mem=numbers / 12, tr_labels=numbers % 2, tr_filenames=None if names is None else np.array(names))
    with pytest.raises(InputError, match=said):
        read(*files)
