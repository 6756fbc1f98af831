"""Images become arrays, and a source becomes the canonical form under data/prepared."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from placed import placed
from sklearn.datasets import load_digits

from memtrack.config.errors import InputError
from memtrack.config.sections.data import DataParams, Digits, ImageFolder, Table
from memtrack.data.decoding import decode
from memtrack.data.manifest import write_manifest
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import DatasetInfo, PreparedData, class_numbers
from memtrack.data.sources import Collected, collect
from memtrack.stages import prepare as stage

REPOSITORY = Path(__file__).parents[2]
Picture = Callable[..., Path]
Bytes = NDArray[np.uint8]


def noise(*shape: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


def prepare(params: DataParams, to: str = "data/prepared") -> DatasetInfo:
    return write_prepared(collect(params), params, Path(to))


def problems(params: DataParams) -> list[str]:
    with pytest.raises(InputError) as caught:
        prepare(params)
    return [str(problem) for problem in caught.value.problems]


def digits(**more: Any) -> Digits:
    return placed(Digits(kind="digits", root="data/raw", **more), "data")


def folder(**more: Any) -> ImageFolder:
    return placed(ImageFolder(kind="image_folder", **{"root": "photos", "image_size": 8, **more}), "data")


@pytest.fixture
def photos(picture: Picture) -> None:
    """30 cats and 10 dogs."""
    for i in range(40):
        picture(f"photos/{'cat' if i < 30 else 'dog'}/{i}.png", seed=i)


# --- decoding one file --------------------------------------------------------------------------

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601: the grey of a colour


def plain(mode: str, colour: int | tuple[int, ...], size: tuple[int, int] = (9, 5)) -> Image.Image:
    """An image of one colour: whatever is done to its size, the colour stays."""
    return Image.new(mode, size, colour)


def sixteen_bits(value: int) -> Image.Image:
    return Image.fromarray(np.full((5, 9), value, dtype=np.uint16))


def palette() -> Image.Image:
    """All pixels are entry 1 of a palette of three colours."""
    image = Image.new("P", (9, 5), 1)
    image.putpalette([255, 255, 255, 200, 100, 50, 0, 0, 0])
    return image


@pytest.mark.parametrize(
    ("file", "image", "colour"),
    [
        ("grey.png", plain("L", 100), (100, 100, 100)),
        ("colour.png", plain("RGB", (200, 100, 50)), (200, 100, 50)),
        ("colour.jpg", plain("RGB", (200, 100, 50)), (200, 100, 50)),
        ("colour.bmp", plain("RGB", (200, 100, 50)), (200, 100, 50)),
        ("grey_and_alpha.png", plain("LA", (100, 128)), (100, 100, 100)),
        ("alpha.png", plain("RGBA", (200, 100, 50, 128)), (200, 100, 50)),
        ("palette.png", palette(), (200, 100, 50)),
        ("palette.gif", palette(), (200, 100, 50)),
        ("print.jpg", plain("CMYK", (0, 0, 0, 0)), (255, 255, 255)),
        ("cyan.jpg", plain("CMYK", (255, 0, 0, 0)), (0, 255, 255)),
        ("sixteen.png", sixteen_bits(40_000), (156, 156, 156)),
        ("sixteen.tif", sixteen_bits(40_000), (156, 156, 156)),
        ("sixteen_dark.png", sixteen_bits(0), (0, 0, 0)),
        ("sixteen_white.png", sixteen_bits(65_535), (255, 255, 255)),
        ("white.png", plain("1", 1), (255, 255, 255)),
        ("black.png", plain("1", 0), (0, 0, 0)),
        ("large.png", plain("RGB", (1, 2, 3), (300, 200)), (1, 2, 3)),
        ("tiny.png", plain("RGB", (1, 2, 3), (1, 1)), (1, 2, 3)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_kind_of_image(file: str, image: Image.Image, colour: tuple[int, int, int]) -> None:
    path = Path(file)
    image.save(path)
    tolerance = 3 if path.suffix == ".jpg" else 1
    decoded = decode(path, size=6, mode="RGB")
    assert decoded.dtype == np.uint8
    assert decoded.shape == (3, 6, 6)
    assert np.abs(decoded - np.array(colour, dtype=float)[:, None, None]).max() <= tolerance
    grey = decode(path, size=6, mode="L")
    assert grey.shape == (1, 6, 6)
    assert np.abs(grey - np.dot(LUMA, colour)).max() <= tolerance


def test_a_lossless_webp_is_exact() -> None:
    pixels = noise(8, 8, 3)
    Image.fromarray(pixels).save("exact.webp", lossless=True)
    assert np.array_equal(decode(Path("exact.webp"), size=8, mode="RGB"), pixels.transpose(2, 0, 1))


def test_rows_are_rows_and_channels_come_first(picture: Picture) -> None:
    pixels = noise(8, 8, 3)
    decoded = decode(picture("noise.png", pixels), size=8, mode="RGB")
    for channel in range(3):
        assert np.array_equal(decoded[channel], pixels[:, :, channel])


def test_resizing_keeps_left_left_and_up_up(picture: Picture) -> None:
    pixels = np.zeros((40, 80), dtype=np.uint8)
    pixels[:20, 40:] = 240  # the upper right quarter is light
    (decoded,) = decode(picture("wide.png", pixels), size=8, mode="L")
    light = np.zeros((8, 8), dtype=bool)
    light[:4, 4:] = True
    assert decoded[light].mean() > 200
    assert decoded[~light].mean() < 40


UPRIGHT: dict[int, Callable[[Bytes], Bytes]] = {  # EXIF orientation: how to turn it upright
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.T,
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).T,
    8: lambda image: np.rot90(image),
}


@pytest.mark.parametrize("extension", ["png", "webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_images_are_turned_upright(orientation: int, extension: str) -> None:
    pixels, exif, path = noise(8, 8), Image.Exif(), Path(f"turned.{extension}")
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, lossless=True)
    (decoded,) = decode(path, size=8, mode="L")
    assert np.array_equal(decoded, UPRIGHT[orientation](pixels))


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif", "bmp", "tif"])
@pytest.mark.parametrize("part", [0, 0.1, 0.6])
def test_a_part_of_an_image_is_no_image(picture: Picture, extension: str, part: float) -> None:
    path = picture(f"whole.{extension}", noise(64, 64, 3))
    decode(path, size=8, mode="RGB")
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(OSError, match=r"."):
        decode(path, size=8, mode="RGB")


def test_a_missing_image() -> None:
    with pytest.raises(OSError, match=r"nowhere\.png"):
        decode(Path("nowhere.png"), size=8, mode="RGB")


# --- arrays: the digits -------------------------------------------------------------------------


def test_digits_round_trip() -> None:
    record = prepare(digits())
    data, bunch = PreparedData(), load_digits()
    assert data.info == record
    assert data.samples.columns.tolist() == ["id", "label", "split", "image"]
    assert data.samples["id"].tolist() == [str(number) for number in range(1797)]
    assert data.codes(data.samples["label"]).tolist() == bunch.target.tolist()
    images = data.images(data.samples["image"].tolist())
    assert images.shape == (1797, *record.shape)
    assert np.array_equal(np.rint(images[:, 0] / 255 * 16), bunch.images)
    assert (record.source, record.classes, record.shape) == ("digits", tuple("0123456789"), (1, 8, 8))
    assert record.files is None


def test_images_come_in_the_order_asked_for() -> None:
    prepare(digits())
    data, bunch = PreparedData(), load_digits()
    some = data.samples["image"].iloc[[1796, 3, 3, 0]].tolist()
    wanted = bunch.images[[1796, 3, 3, 0]]
    assert np.array_equal(np.rint(data.images(some)[:, 0] / 255 * 16), wanted)


def test_mean_and_standard_deviation_are_those_of_the_training_pixels() -> None:
    record = prepare(digits(train_limit=600))
    data = PreparedData()
    pixels = data.images(data.split("train")["image"].tolist()).astype(np.float64) / 255
    assert len(pixels) == 600
    assert record.mean == pytest.approx([pixels.mean()], rel=1e-12)
    assert record.std == pytest.approx([pixels.std()], rel=1e-12)
    everything = data.images(data.samples["image"].tolist()).astype(np.float64) / 255
    assert record.mean != pytest.approx([everything.mean()], rel=1e-6)


def within_one(part: Counter[str], whole: Counter[str]) -> bool:
    """The part has its share of each class, up to rounding."""
    share = part.total() / whole.total()
    return all(abs(part[name] - share * whole[name]) <= 1 for name in whole)


@pytest.mark.parametrize(("share", "limit"), [(0.2, None), (0.37, None), (0.2, 100), (0.5, 333)])
def test_the_held_out_share_and_the_limit_are_stratified(share: float, limit: int | None) -> None:
    record = prepare(digits(test_share=share, train_limit=limit))
    samples = pd.read_csv("data/prepared/samples.csv", dtype=str)
    count = {name: Counter(rows["label"]) for name, rows in samples.groupby("split")}
    test, rest = count["test"], Counter(samples["label"]) - count["test"]
    assert test.total() == record.test == math.ceil(share * 1797)
    assert within_one(test, Counter(samples["label"]))
    assert count["train"].total() == record.train == (limit or 1797 - record.test)
    assert within_one(count["train"], rest)
    assert record.unused == count.get("unused", Counter()).total() == rest.total() - record.train
    assert record.skipped == 0


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    prepare(digits(), "without")
    prepare(digits(train_limit=5000), "with")
    assert Path("with/samples.csv").read_bytes() == Path("without/samples.csv").read_bytes()


def test_a_second_run_writes_the_same_bytes() -> None:
    for to in ("first", "second"):
        prepare(digits(train_limit=500, seed=3), to)
    for name in ("samples.csv", "dataset.json", "images.npy"):
        assert Path("first", name).read_bytes() == Path("second", name).read_bytes()


def test_the_seed_draws_another_split() -> None:
    splits = []
    for seed in (0, 1):
        prepare(digits(seed=seed))
        splits.append(set(PreparedData().split("test")["id"]))
    assert splits[0] != splits[1]
    assert len(splits[0]) == len(splits[1])


def test_a_limit_below_the_number_of_classes() -> None:
    (said,) = problems(digits(train_limit=5))
    assert said.startswith("params.yaml: data.train_limit: the samples cannot be split by class: ")


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    images = noise(4, 3, 5, 5)
    images[:, 1] = 255
    collected = Collected(list("abcd"), list("xyxy"), ["train"] * 4, ("x", "y"), images)
    record = write_prepared(collected, digits(), Path("data/prepared"))
    assert record.std[1] == 1.0
    assert record.mean[1] == 1.0
    assert record.std[0] == pytest.approx((images[:, 0] / 255).std())


def test_class_numbers_are_places_in_the_list_of_classes() -> None:
    assert class_numbers(["b", "a", "b"], ("a", "b")).tolist() == [1, 0, 1]
    with pytest.raises(KeyError):
        class_numbers(["c"], ("a", "b"))


# --- image files --------------------------------------------------------------------------------


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_files_round_trip(mode: str) -> None:
    record = prepare(folder(mode=mode))
    data = PreparedData()
    assert data.samples["id"].tolist() == sorted(data.samples["id"])
    assert data.samples["id"].tolist() == data.samples["image"].tolist()
    names = data.samples["image"].tolist()[::-3]
    for name, decoded in zip(names, data.images(names), strict=True):
        with Image.open(Path("photos") / name) as image:
            pixels = np.asarray(image.convert(mode))
        assert np.array_equal(decoded, pixels[None] if mode == "L" else pixels.transpose(2, 0, 1))
    train = data.split("train")
    pixels = data.images(train["image"].tolist()).astype(np.float64) / 255
    assert record.shape == pixels.shape[1:]
    assert record.mean == pytest.approx(pixels.mean(axis=(0, 2, 3)), rel=1e-12)
    assert record.std == pytest.approx(pixels.std(axis=(0, 2, 3)), rel=1e-12)
    assert not Path("data/prepared/images.npy").exists()


@pytest.mark.usefixtures("photos")
def test_a_share_of_a_folder_is_held_out_by_class() -> None:
    record = prepare(folder(test_share=0.2))
    samples = PreparedData().samples
    assert (record.train, record.test) == (32, 8)
    assert Counter(samples.loc[samples["split"] == "test", "label"]) == {"cat": 6, "dog": 2}
    first = Path("data/prepared/samples.csv").read_bytes()
    prepare(folder(test_share=0.2))
    assert Path("data/prepared/samples.csv").read_bytes() == first
    prepare(folder(test_share=0.2, seed=1))
    assert Path("data/prepared/samples.csv").read_bytes() != first


def test_a_test_folder_is_left_as_it_is(picture: Picture) -> None:
    for part, count in (("train", 6), ("test", 3)):
        for i in range(count):
            picture(f"photos/{part}/{'cat' if i % 2 else 'dog'}/{i}.png", seed=i)
    record = prepare(folder(train="train", test="test", test_share=0.5))
    assert (record.train, record.test) == (6, 3)
    assert all(name.startswith("test/") for name in PreparedData().split("test")["id"])


def test_a_table_with_a_split_column(picture: Picture) -> None:
    rows = []
    for i in range(12):
        picture(f"photos/{i}.png", seed=i)
        rows.append(f"{i}.png,{'cat' if i % 2 else 'dog'},{'test' if i < 4 else 'train'}\n")
    Path("photos/labels.csv").write_text("path,label,split\n" + "".join(rows), encoding="utf-8")
    params = Table(
        kind="table",
        root="photos",
        table="labels.csv",
        split_column="split",
        classes=("dog", "cat"),
        image_size=4,
        train_limit=4,
    )
    record = prepare(params)
    data = PreparedData()
    assert (record.train, record.test, record.unused) == (4, 4, 4)
    assert record.classes == ("dog", "cat")
    assert record.shape == (3, 4, 4)
    assert data.split("test")["id"].tolist() == [f"{i}.png" for i in range(4)]
    assert Counter(data.split("train")["label"]) == {"dog": 2, "cat": 2}
    assert data.codes(data.split("test")["label"]).tolist() == [0, 1, 0, 1]


@pytest.mark.usefixtures("photos")
def test_names_with_commas_quotes_and_accents(picture: Picture) -> None:
    names = ['cat/a, "b".png', "cat/ä ö.png", "dog/NA.png", "dog/ 1.png"]
    for i, name in enumerate(names):
        picture(f"photos/{name}", seed=100 + i)
    prepare(folder())
    data = PreparedData()
    assert set(names) <= set(data.samples["id"])
    assert data.images(names).shape == (4, 3, 8, 8)


def break_images() -> list[str]:
    """Spoil three images in three ways; their paths."""
    names = ["photos/cat/1.png", "photos/cat/7.png", "photos/dog/33.png"]
    Path(names[0]).write_bytes(b"")
    Path(names[1]).write_bytes(b"no image")
    Path(names[2]).write_bytes(Path(names[2]).read_bytes()[:80])
    return names


@pytest.mark.usefixtures("photos")
def test_all_broken_images_are_listed() -> None:
    names = break_images()
    first, *rest = problems(folder())
    assert first.startswith("params.yaml: data.on_error: 3 broken images")
    assert [line.split(": ")[0] for line in rest] == names
    assert all(": a broken image: " in line for line in rest)
    assert not Path("data/prepared/dataset.json").exists()


@pytest.mark.usefixtures("photos")
def test_broken_images_can_be_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    names = break_images()
    record = prepare(folder(on_error="skip"))
    said = capsys.readouterr().out
    assert all(name in said for name in names)
    assert "skipped 3 broken images" in said
    data = PreparedData()
    assert [f"photos/{name}" for name in data.split("skipped")["id"]] == names
    assert (record.skipped, record.train + record.test) == (3, 37)
    assert record.test == math.ceil(0.2 * 37)
    pixels = data.images(data.split("train")["image"].tolist()).astype(np.float64) / 255
    assert record.mean == pytest.approx(pixels.mean(axis=(0, 2, 3)), rel=1e-12)
    assert record.std == pytest.approx(pixels.std(axis=(0, 2, 3)), rel=1e-12)


def test_a_class_of_which_every_image_is_broken(picture: Picture) -> None:
    for i in range(4):
        picture(f"photos/cat/{i}.png", seed=i)
        picture(f"photos/cow/{i}.png", seed=i)
    Path("photos/dog").mkdir()
    Path("photos/dog/1.png").write_bytes(b"no image")
    assert problems(folder(on_error="skip")) == ["photos: no usable training image of class 'dog'"]


def test_a_class_of_one_image_cannot_be_split(picture: Picture) -> None:
    for i in range(9):
        picture(f"photos/cat/{i}.png", seed=i)
    picture("photos/dog/1.png")
    (said,) = problems(folder())
    assert said.startswith("params.yaml: data.test_share: the samples cannot be split by class: ")
    assert "dog" in said


@pytest.mark.usefixtures("photos")
def test_files_are_found_from_a_copy_of_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(folder())
    here = PreparedData()
    names = here.samples["image"].tolist()[:3]
    images = here.images(names)
    copy = project / "copy"
    copy.mkdir()
    (project / "data").rename(copy / "data")
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert np.array_equal(PreparedData().images(names), images)


@pytest.mark.usefixtures("photos")
def test_a_record_that_was_tampered_with_is_refused() -> None:
    prepare(folder())
    path = Path("data/prepared/dataset.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["train"] = "many"
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"dataset\.json: is damaged or was changed: run `dvc repro prepare`"
    ):
        PreparedData()
    write_manifest(path.parent, {})  # whoever changed it had thought of this
    with pytest.raises(InputError, match=r'dataset\.json:\d+: train: "many"'):
        PreparedData()


def test_labels_that_pandas_would_take_for_nothing() -> None:
    names = ("NA", "None", "nan")
    labels = [names[i % 3] for i in range(6)]
    collected = Collected(list("abcdef"), labels, ["train"] * 6, names, noise(6, 1, 2, 2))
    write_prepared(collected, digits(), Path("data/prepared"))
    data = PreparedData()
    assert data.samples["label"].tolist() == labels
    assert data.codes(data.samples["label"]).tolist() == [0, 1, 2, 0, 1, 2]


def test_nothing_prepared() -> None:
    with pytest.raises(InputError, match=r"data/prepared: is not there: run `dvc repro prepare`"):
        PreparedData()


# --- the stage ----------------------------------------------------------------------------------


def parameters(**more: object) -> None:
    """A params.yaml here: the minimal one, with more in its section `data`."""
    text = (REPOSITORY / "tests/config/files/valid/minimal.yaml").read_text(encoding="utf-8")
    lines = "".join(f"  {key}: {value}\n" for key, value in more.items())
    Path("params.yaml").write_text(text.replace("data:\n", f"data:\n{lines}"), encoding="utf-8")


def test_the_stage_prepares_what_the_parameters_say(capsys: pytest.CaptureFixture[str]) -> None:
    parameters(test_share=0.5, train_limit=100)
    with pytest.raises(SystemExit) as end:
        stage.main()
    assert end.value.code == 0
    assert capsys.readouterr().out == (
        "digits: 100 training and 899 test samples, 10 classes, images 1x8x8\n"
    )
    assert PreparedData().info.train == 100


@pytest.mark.parametrize("mistake", [{"train_limit": 5}, {"test_share": 2}])
def test_the_stage_ends_with_status_2(mistake: dict[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    parameters(**mistake)
    with pytest.raises(SystemExit) as end:
        stage.main()
    assert end.value.code == 2
    (key,) = mistake
    assert f"data.{key}: " in capsys.readouterr().err
