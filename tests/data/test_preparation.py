"""Images become arrays, and a source becomes the canonical form under data/prepared."""

from __future__ import annotations

import errno
import json
import math
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from placed import placed
from sklearn.datasets import load_digits

from memtrack.config.errors import InputError
from memtrack.config.sections.data import DataParams, Digits, ImageFolder, Table
from memtrack.data import decoding, preparation
from memtrack.data.decoding import BrokenImage, RefusedImage, decode
from memtrack.data.manifest import write_manifest
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import DatasetInfo, PreparedData, class_numbers
from memtrack.data.report import PreparationReport
from memtrack.data.sources import Collected, collect
from memtrack.stages import prepare as stage

REPOSITORY = Path(__file__).parents[2]
Picture = Callable[..., Path]
Bytes = NDArray[np.uint8]


def noise(*shape: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


def prepare(params: DataParams, to: str = "data/prepared") -> DatasetInfo:
    return write_prepared(collect(params), params, Path(to))[0]


def report(params: DataParams) -> PreparationReport:
    return write_prepared(collect(params), params, Path("data/prepared"))[1]


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
        ("opaque.png", plain("RGBA", (200, 100, 50, 255)), (200, 100, 50)),
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
    decoded = decode(path, size=6, mode="RGB", depth=16)
    assert decoded.dtype == np.uint8
    assert decoded.shape == (3, 6, 6)
    assert np.abs(decoded - np.array(colour, dtype=float)[:, None, None]).max() <= tolerance
    grey = decode(path, size=6, mode="L", depth=16)
    assert grey.shape == (1, 6, 6)
    assert np.abs(grey - np.dot(LUMA, colour)).max() <= tolerance


def seen(image: Image.Image, name: str = "image.png", **how: Any) -> tuple[int, ...]:
    """What becomes of an image of one colour that is saved in a file; the colour."""
    image.save(name)
    pixels = decode(Path(name), **{"size": 4, "mode": "RGB", "depth": 16, **how})
    colour = tuple(int(value) for value in pixels[:, 0, 0])
    assert (pixels == np.array(colour)[:, None, None]).all()
    return colour


def with_transparency(mode: str, colour: int | tuple[int, ...], transparent: Any) -> Image.Image:
    image = palette() if mode == "P" else plain(mode, colour)
    image.info["transparency"] = transparent
    return image


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 200, 30)])
@pytest.mark.parametrize(
    ("image", "colour", "alpha"),
    [
        (plain("RGBA", (200, 100, 50, 128)), (200, 100, 50), 128 / 255),
        (plain("RGBA", (0, 0, 0, 0)), (0, 0, 0), 0),
        (plain("LA", (100, 51)), (100, 100, 100), 0.2),
        (with_transparency("P", 1, bytes([255, 102])), (200, 100, 50), 0.4),
        (with_transparency("P", 1, 1), (200, 100, 50), 0),
        (with_transparency("P", 1, 0), (200, 100, 50), 1),
        (with_transparency("L", 77, 77), (77, 77, 77), 0),
        (with_transparency("RGB", (1, 2, 3), (1, 2, 3)), (1, 2, 3), 0),
        (with_transparency("RGB", (1, 2, 3), (3, 2, 1)), (1, 2, 3), 1),
    ],
)
def test_transparent_pixels_show_the_background(
    image: Image.Image, colour: tuple[int, ...], alpha: float, background: tuple[int, ...]
) -> None:
    wanted = alpha * np.array(colour) + (1 - alpha) * np.array(background)
    name, saved = "image.png", {"transparency": image.info["transparency"]} if image.info else {}
    image.save(name, **saved)
    decoded = decode(Path(name), size=4, mode="RGB", background=background)
    assert np.abs(decoded - wanted[:, None, None]).max() <= 1
    grey = decode(Path(name), size=4, mode="L", background=background)
    assert np.abs(grey - np.dot(LUMA, wanted)).max() <= 1.5


def test_a_premultiplied_image_shows_its_own_colour() -> None:
    """TIFF holds colours that are multiplied by their opacity (ExtraSamples 1)."""
    pixels = np.zeros((5, 9, 4), dtype=np.uint8)
    pixels[:] = (100, 50, 25, 128)  # (200, 100, 50) at half opacity
    path = Path("image.tif")
    Image.fromarray(pixels).save(path)
    extra, premultiplied = (struct.pack("<HHIH", 338, 3, 1, kind) for kind in (2, 1))
    assert path.read_bytes().count(extra) == 1
    path.write_bytes(path.read_bytes().replace(extra, premultiplied))
    decoded = decode(Path("image.tif"), size=4, mode="RGB", background=(0, 0, 0))
    assert np.abs(decoded[:, 0, 0] - np.array([100, 50, 25])).max() <= 1


def test_a_picture_that_is_drawn_by_alpha_alone() -> None:
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[2:5, 1:7, 3] = 255
    Image.fromarray(pixels).save("icon.png")
    (grey,) = decode(Path("icon.png"), size=8, mode="L")
    assert np.array_equal(grey == 0, pixels[:, :, 3] == 255)
    assert set(np.unique(grey)) == {0, 255}


@pytest.mark.parametrize("name", ["image.png", "image.tif"])
@pytest.mark.parametrize(("value", "depth", "wanted"), [
    (200, 8, 200), (1023, 10, 255), (512, 10, 128), (4095, 12, 255), (16, 12, 1), (65535, 16, 255),
])  # fmt: skip
def test_the_upper_bits_that_are_used_are_kept(name: str, value: int, depth: int, wanted: int) -> None:
    assert seen(sixteen_bits(value), name, depth=depth) == (wanted,) * 3


def test_a_transparent_value_of_16_bits() -> None:
    image = sixteen_bits(4000)
    image.save("image.png", transparency=4000)
    assert decode(Path("image.png"), size=4, mode="L", depth=12, background=(9, 9, 9)).max() == 9
    image.save("image.png", transparency=4001)
    assert decode(Path("image.png"), size=4, mode="L", depth=12, background=(9, 9, 9)).max() == 250


def test_32_bits_that_hold_16_and_white_that_is_zero() -> None:
    image = Image.fromarray(np.full((5, 9), 4095, dtype=np.int32))
    assert seen(image, "image.tif", depth=12) == (255, 255, 255)
    sixteen_bits(0).save("negative.tif", tiffinfo={262: 0})
    with Image.open("negative.tif") as saved:
        assert saved.tag_v2[262] == 0  # type: ignore[attr-defined]
    assert decode(Path("negative.tif"), size=4, mode="L", depth=12).min() == 255


@pytest.mark.parametrize(
    ("image", "depth", "said"),
    [
        (sixteen_bits(7), None, "has more than 8 bits per channel"),
        (sixteen_bits(4096), 12, r"values up to 4096, but data.depth \(12 bits\) allows 4095"),
        (Image.fromarray(np.full((5, 9), -3, dtype=np.int32)), 16, "values from -3 to -3, but 0 to 65535"),
        (Image.fromarray(np.full((5, 9), 2**20, dtype=np.int32)), 16, "but 0 to 65535 can be used"),
        (Image.fromarray(np.full((5, 9), 0.5, dtype=np.float32)), 16, "32-bit floats"),
    ],
)
def test_values_that_would_wrap_are_refused(image: Image.Image, depth: int | None, said: str) -> None:
    image.save("image.tif")
    with pytest.raises(RefusedImage, match=said):
        decode(Path("image.tif"), size=4, mode="RGB", depth=depth)


def png_of_16_bit_colours(name: str, value: int) -> None:
    """A PNG file of 4x4 pixels with 16 bits for each of red, green and blue, written by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">12H", *[value] * 12)
    Path(name).write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b"")
    )  # fmt: skip


def test_colours_of_16_bits() -> None:
    png_of_16_bit_colours("full.png", 40_000)
    assert decode(Path("full.png"), size=4, mode="RGB", depth=16).max() == 156
    png_of_16_bit_colours("dark.png", 4000)
    with pytest.raises(RefusedImage, match="uses 12 of them: Pillow would lose the lower ones"):
        decode(Path("dark.png"), size=4, mode="RGB", depth=12)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pip install pillow-heif"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "EPS"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "pip install pillow-jxl-plugin"),
        (b"P5 40 30 255\n" + bytes(1200), "40 x 30 pixels are more than data.max_pixels"),
    ],
)
def test_whole_files_are_not_called_broken(content: bytes, said: str) -> None:
    Path("image.png").write_bytes(content)
    with pytest.raises(RefusedImage, match=said):
        decode(Path("image.png"), size=8, mode="RGB", max_pixels=1000)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b" \n<!DOCTYPE html><p>404", "it is a page of HTML: download the image itself"),
        (b"\xef\xbb\xbf<svg xmlns='x'/>", "it is a drawing (SVG): save it as PNG"),
        (b"%PDF-1.4", "it is a PDF: save its images as PNG"),
        (b"hello", "no image, or none of a format that Pillow reads"),
    ],
)
def test_a_broken_image_is_called_what_it_is(content: bytes, said: str) -> None:
    Path("image.png").write_bytes(content)
    with pytest.raises(BrokenImage) as caught:
        decode(Path("image.png"), size=8, mode="RGB")
    assert str(caught.value) == said


def test_pillows_own_limits_do_not_count_and_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("prompt", "x" * 3_000_000, zip=True)
    plain("L", 7, (40, 30)).save("image.png", pnginfo=text)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    limits = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    assert decode(Path("image.png"), size=4, mode="L").max() == 7
    assert limits == (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)
    monkeypatch.setattr(decoding, "TEXT_LIMIT", 1000)
    with pytest.raises(RefusedImage, match="remove its metadata"):
        decode(Path("image.png"), size=4, mode="L")


def test_a_large_jpeg_is_decoded_at_a_lower_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = np.tile(np.linspace(0, 255, 640).astype(np.uint8), (320, 1))
    Image.fromarray(ramp).save("large.jpg")
    exact = decode(Path("large.jpg"), size=8, mode="L").astype(int)
    monkeypatch.setattr(decoding, "LARGE", 1000)
    assert np.abs(decode(Path("large.jpg"), size=8, mode="L") - exact).max() <= 2


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
    assert said == (
        "params.yaml: data.train_limit: 1437 samples of 10 classes: each side of the split needs one of each "
        "class"
    )


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    images = noise(4, 3, 5, 5)
    images[:, 1] = 255
    collected = Collected(list("abcd"), list("xyxy"), ["train"] * 4, ("x", "y"), images)
    record, _ = write_prepared(collected, digits(), Path("data/prepared"))
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
    assert problems(folder(on_error="skip")) == [
        "photos: no usable training image is left of the class 'dog': mend or add some, or remove the class"
    ]


def test_a_class_of_one_image_cannot_be_split(picture: Picture) -> None:
    for i in range(9):
        picture(f"photos/cat/{i}.png", seed=i)
    picture("photos/dog/1.png")
    (said,) = problems(folder())
    assert said.startswith("params.yaml: data.test_share: the class 'dog' has one sample, and each side")


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


def test_a_bitmap_of_16_bits_in_all_is_no_deep_image(tmp_path: Path) -> None:
    """RGB565: five or six bits a colour."""
    header = struct.pack("<2sIHHI", b"BM", 194, 0, 0, 66)
    header += struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 16, 3, 128, 0, 0, 0, 0)
    header += struct.pack("<III", 0xF800, 0x07E0, 0x1F)
    path = tmp_path / "dark.bmp"
    path.write_bytes(header + np.full(64, 0b00010_000100_00010, dtype=np.uint16).tobytes())
    pixels = decode(path, size=8, mode="RGB", background=(255, 255, 255), depth=None)
    assert (pixels == np.array([16, 16, 16])[:, None, None]).all()


def test_nothing_prepared() -> None:
    with pytest.raises(InputError, match=r"data/prepared: is not there: run `dvc repro prepare`"):
        PreparedData()


# --- what is said of the images ------------------------------------------------------------------


@pytest.mark.parametrize(("largest", "bits"), [(1023, 10), (4096, 14)])
def test_the_depth_is_decided_once_over_all_files(largest: int, bits: int) -> None:
    for i in range(12):
        path = Path(f"photos/{'ab'[i % 2]}/{i}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        sixteen_bits(largest if i == 5 else 100 + i).save(path)
    assert report(folder(mode="L")).depth == bits
    data = PreparedData()
    assert data.info.files is not None
    assert data.info.files.depth == bits
    pixels = data.images([f"{'ab'[i % 2]}/{i}.png" for i in range(12)])
    values = np.array([largest if i == 5 else 100 + i for i in range(12)])
    assert pixels[:, 0, 0, 0].tolist() == (values // 2 ** (bits - 8)).tolist()
    train = data.images(data.split("train")["image"].tolist()) / 255
    assert data.info.mean == pytest.approx([train.mean()], rel=1e-12)


@pytest.mark.usefixtures("photos")
def test_a_depth_that_is_too_small_names_the_files() -> None:
    sixteen_bits(5000).save("photos/dog/35.png")
    (said,) = problems(folder(depth=12))
    assert said.startswith("photos/dog/35.png: has values up to 5000, but data.depth (12 bits)")


@pytest.mark.usefixtures("photos")
def test_images_that_are_whole_but_cannot_be_used_are_never_skipped() -> None:
    plain("RGB", (1, 2, 3), (30, 20)).save("photos/cat/3.png")
    (said,) = problems(folder(max_pixels=500, on_error="skip"))
    assert said.startswith("photos/cat/3.png: 30 x 20 pixels are more than data.max_pixels (500)")


@pytest.mark.usefixtures("photos")
def test_a_file_that_may_not_be_read_is_never_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = decoding.decode_and_judge

    def guarded(path: Path, **how: Any) -> Any:  # the tests may be run by root, who may read everything
        if path.name == "3.png":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return decode(path, **how)

    monkeypatch.setattr(preparation, "decode_and_judge", guarded)
    assert problems(folder(on_error="skip")) == ["photos/cat/3.png: cannot be read: Permission denied"]


@pytest.mark.usefixtures("photos")
def test_a_reading_process_that_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "decode_and_judge", lambda *_, **__: os.kill(os.getpid(), 9))
    (said,) = problems(folder())
    assert said.startswith("params.yaml: data.max_pixels: a process that reads the images has died")


@pytest.mark.usefixtures("photos")
def test_animations_and_pages_are_counted_and_their_first_one_is_used() -> None:
    first, second = (Image.fromarray(noise(8, 8, 3, seed=seed)) for seed in (1, 2))
    first.quantize(64).save("photos/cat/several.gif", save_all=True, append_images=[second.quantize(64)])
    first.save("photos/cat/pages.tiff", save_all=True, append_images=[second])
    first.save("photos/dog/phone.jpg", format="MPO", save_all=True, append_images=[second])
    first.quantize(64).save("photos/dog/one.gif")
    found = report(folder())
    assert found.several_frames == 2
    assert "files of several frames or pages, of which the first is used: 2" in found.in_words()
    (page,) = PreparedData().images(["cat/pages.tiff"])
    assert np.array_equal(page, np.asarray(first.resize((8, 8))).transpose(2, 0, 1))


@pytest.mark.usefixtures("photos")
def test_a_data_set_of_other_parameters_is_refused() -> None:
    prepare(folder())
    assert PreparedData.current(folder()).samples.equals(PreparedData().samples)
    with pytest.raises(
        InputError, match=r"data\.seed: was 0 when data/prepared was made: run `dvc repro prep"
    ):
        PreparedData.current(folder(seed=1))
    with pytest.raises(InputError, match=r"data\.\w+: was .* when data/prepared was made"):
        PreparedData.current(digits())
    write_manifest(Path("data/prepared"), {})
    with pytest.raises(InputError, match="earlier version of memtrack: run `dvc repro prepare`"):
        PreparedData.current(folder())


@pytest.mark.usefixtures("photos")
def test_what_is_reported_of_transparent_pixels() -> None:
    for name in ("cat/1", "dog/33"):  # white shapes: nothing is seen on white
        pixels = np.full((8, 8, 4), 255, dtype=np.uint8)
        pixels[:4, :, 3] = 0
        Image.fromarray(pixels).save(f"photos/{name}.png")
    found = report(folder())
    assert (found.transparent, found.one_colour) == (2, 2)
    assert "images with transparent pixels, which show data.background: 2" in found.in_words()
    found = report(folder(background=[0, 0, 0]))
    assert (found.transparent, found.one_colour) == (2, 0)
    (first,) = PreparedData().images(["cat/1.png"])
    assert first[0, :, 0].tolist() == [0] * 4 + [255] * 4


@pytest.mark.usefixtures("photos")
def test_the_report_counts_images_by_class_and_what_is_left_out() -> None:
    break_images()
    Path("photos/cat/notes.txt").write_text("no image", encoding="utf-8")
    found = report(folder(on_error="skip", train_limit=10))
    counts = Counter(
        (row.label, row.split) for row in PreparedData().samples.itertuples() if row.split != "skipped"
    )
    assert {
        (name, split): count for name, by in found.images.items() for split, count in by.items()
    } == counts
    assert {left.reason: (left.count, left.examples[0]) for left in found.left_out} == {
        "extension .txt: not an image": (1, "cat/notes.txt"),
        "broken images (data.on_error: skip)": (3, "cat/1.png"),
    }
    lines = found.in_words()
    assert any(line.startswith("  cat: ") for line in lines)
    assert "left out: 4 files or folders" in lines


def test_no_test_image_is_left(picture: Picture) -> None:
    for i in range(4):
        picture(f"photos/train/{'cat' if i % 2 else 'dog'}/{i}.png", seed=i)
    for name in ("cat", "dog"):
        path = Path(f"photos/test/{name}/1.png")
        path.parent.mkdir(parents=True)
        path.write_bytes(b"no image")
    params = folder(train="train", test="test", on_error="skip")
    assert problems(params) == [
        "photos: no usable test image: all are broken and left out (data.on_error: skip): mend or add some"
    ]


@pytest.mark.usefixtures("photos")
def test_images_that_are_lost_after_prepare() -> None:
    prepare(folder())
    Path("photos/cat/3.png").unlink()
    Path("photos/cat/5.png").write_bytes(b"no image")
    with pytest.raises(InputError) as caught:
        PreparedData().images(["cat/1.png", "cat/3.png", "cat/5.png"])
    missing, damaged = (str(problem) for problem in caught.value.problems)
    assert missing.startswith("photos/cat/3.png: cannot be read: No such file or directory")
    assert damaged.startswith("photos/cat/5.png: a broken image: ")
    assert "dvc repro prepare" in missing


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
    first, *by_class = capsys.readouterr().out.splitlines()
    assert first == "digits: 100 training and 899 test samples, 10 classes, images 1x8x8"
    assert len(by_class) == 10
    written = json.loads(Path("results/prepare/report.json").read_text(encoding="utf-8"))
    assert sum(counts["train"] for counts in written["images"].values()) == 100
    assert PreparedData().info.train == 100


@pytest.mark.parametrize("mistake", [{"train_limit": 5}, {"test_share": 2}])
def test_the_stage_ends_with_status_2(mistake: dict[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    parameters(**mistake)
    with pytest.raises(SystemExit) as end:
        stage.main()
    assert end.value.code == 2
    (key,) = mistake
    assert f"data.{key}: " in capsys.readouterr().err
