"""The decoded images of a data set: the pixels of the files, kept once, within a limit, and checked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from memtrack.config.errors import InputError
from memtrack.config.sections.data import ImageFolder
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import collect

Picture = Callable[..., Path]
SIZE = 6
LARGE = 10**9
FOLDER = Path(".memtrack/images")


@pytest.fixture
def params(picture: Picture) -> ImageFolder:
    for number in range(9):
        picture(f"photos/{'ab'[number % 2]}/{number}.png", seed=number)
    return ImageFolder(kind="image_folder", root="photos", image_size=SIZE, on_error="skip")


def prepared(params: ImageFolder, limit: float) -> PreparedData:
    write_prepared(collect(params), params, Path("data/prepared"), image_cache=limit)
    return PreparedData()


def decoded_by_pillow(data: PreparedData) -> np.ndarray:
    """What Pillow makes of the files, in id order."""
    pictures = [Image.open(f"photos/{name}").convert("RGB") for name in data.samples["image"]]
    small = [np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for picture in pictures]
    return np.stack(small).transpose(0, 3, 1, 2)


def caches() -> list[Path]:
    return sorted(FOLDER.glob("*.npy"))


@pytest.mark.parametrize("by_prepare", [True, False])
def test_images_are_decoded_once(by_prepare: bool, params: ImageFolder) -> None:
    data = prepared(params, LARGE if by_prepare else 0)
    assert len(caches()) == by_prepare
    wanted, names = decoded_by_pillow(data), data.samples["image"].tolist()
    assert not data.decoded
    data.keep_decoded(LARGE)
    assert data.decoded
    (file,) = caches()
    before = file.read_bytes()
    for path in Path("photos").rglob("*.png"):
        path.unlink()
    again = PreparedData()
    again.keep_decoded(LARGE)
    for source in (data, again):
        np.testing.assert_array_equal(source.images(names), wanted)
        np.testing.assert_array_equal(source.images(names[::-2]), wanted[::-2])
    assert file.read_bytes() == before
    assert not list(FOLDER.glob("*.part"))


def test_images_of_more_than_8_bits_are_those_that_were_read_last(params: ImageFolder) -> None:
    values = np.arange(SIZE * SIZE, dtype=np.uint16).reshape(SIZE, SIZE) * 100
    Image.fromarray(values).save("photos/a/deep.png")
    data = prepared(params, LARGE)
    data.keep_decoded(LARGE)
    (grey,) = data.images(["a/deep.png"])
    np.testing.assert_array_equal(grey, np.broadcast_to(values >> 4, (3, SIZE, SIZE)))  # 12 bits are used


def test_a_broken_image_has_a_row_that_is_not_used(params: ImageFolder) -> None:
    Path("photos/a/0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for limit in (LARGE, 0):
        data = prepared(params, limit)
        data.keep_decoded(LARGE)
        (file,) = caches()
        assert len(np.load(file)) == 9
        used = data.samples[data.samples["split"] != "skipped"]
        assert len(used) == 8
        assert (data.images(used["image"].tolist()).reshape(8, -1).std(axis=1) > 0).all()
        file.unlink()


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_file_is_made_again(
    damage: str, params: ImageFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    data = prepared(params, LARGE)
    (file,) = caches()
    content = file.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    file.write_bytes({"flipped": flipped, "cut": content[:-10], "empty": b""}[damage])
    data.keep_decoded(LARGE)
    assert f"{file.name}: is damaged: the images are decoded again" in capsys.readouterr().out
    assert file.read_bytes() == content


def test_images_that_changed_since_they_were_prepared_are_refused(
    params: ImageFolder, picture: Picture
) -> None:
    data = prepared(params, 0)
    picture("photos/a/0.png", seed=77)
    with pytest.raises(InputError, match=r"a/0\.png: is not the image that was prepared: put it back"):
        data.keep_decoded(LARGE)
    assert not caches()
    with pytest.raises(InputError, match=r"a/0\.png: is not the image that was prepared"):  # without a cache
        data.images(["a/2.png", "a/0.png"])
    assert data.images(["a/2.png", "b/1.png"]).shape == (2, 3, SIZE, SIZE)
    Path("photos/a/0.png").unlink()
    with pytest.raises(InputError, match=r"0\.png.*put it back"):
        data.keep_decoded(LARGE)
    assert not list(FOLDER.glob("*.part"))


def test_no_more_than_the_limit_is_kept(params: ImageFolder, capsys: pytest.CaptureFixture[str]) -> None:
    data = prepared(params, 500)
    data.keep_decoded(500)
    assert not caches()
    assert not data.decoded
    assert capsys.readouterr().out.count("compute.image_cache allows 5e-07 GB") == 2
    names = data.samples["image"].tolist()
    np.testing.assert_array_equal(data.images(names), decoded_by_pillow(data))


def test_the_longest_unused_is_removed_for_another(params: ImageFolder) -> None:
    one = 128 + 9 * 3 * SIZE * SIZE
    kept = []
    for number, mode in enumerate(["RGB", "L", "RGB"]):
        params = params.model_copy(update={"mode": mode, "background": (0, 0, number)})
        Image.new("RGB", (9, 9), (number, 0, 0)).save("photos/b/1.png")
        before = set(caches())
        prepared(params, 2 * one)
        (new,) = set(caches()) - before
        kept.append(new)
        os.utime(new, (number, number))
    assert caches() == sorted(kept[1:])


def test_no_room_on_the_disk(
    params: ImageFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    data = prepared(params, LARGE)
    data.keep_decoded(LARGE)
    assert not data.decoded
    assert capsys.readouterr().out.count("the disk has 1e-07 GB free") == 2
