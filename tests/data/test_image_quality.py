"""Images that were made dark, light, blurry, empty, large and long on purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_image

from memtrack.config.errors import InputError
from memtrack.core.images.pixels import Pixels
from memtrack.data.image_quality import ImageIssues, image_issues
from memtrack.data.sources import digits as source

DARK, LIGHT, BLURRY, EMPTY = 3, 11, 17, 29


def photographs(count: int = 40, side: int = 64) -> Pixels:
    """Parts of a photograph, of which some are spoilt, uint8 (count, 3, side, side)."""
    draw, whole = np.random.default_rng(0), Image.fromarray(load_sample_image("china.jpg"))
    corners = [
        (int(draw.integers(whole.width - 300)), int(draw.integers(whole.height - 300))) for _ in range(count)
    ]
    parts = [whole.crop((x, y, x + 300, y + 300)).resize((side, side)) for x, y in corners]
    made = np.stack([np.asarray(part).transpose(2, 0, 1) for part in parts])
    made[DARK] //= 5
    made[LIGHT] = 255 - made[LIGHT] // 20
    image = Image.fromarray(made[BLURRY].transpose(1, 2, 0))
    made[BLURRY] = np.asarray(image.filter(ImageFilter.GaussianBlur(8))).transpose(2, 0, 1)
    made[EMPTY] = 128
    return made


def rows(found: ImageIssues) -> dict[str, list[int]]:
    return {kind: members.tolist() for kind, (members, _) in found.found.items()}


@pytest.mark.parametrize("channels", [1, 3])
def test_spoilt_images_are_found_and_no_others(channels: int) -> None:
    images = photographs()[:, :channels]
    found = image_issues([images[:25], images[25:]], None)
    empty = [LIGHT, EMPTY] if channels == 1 else [EMPTY]
    assert rows(found) == {"dark": [DARK], "light": [LIGHT], "blurry": [BLURRY], "low_information": empty}
    assert all((values >= 0).all() and (values < 1).all() for _, values in found.found.values())
    assert found.usual == {}


def test_it_is_what_cleanvision_itself_says() -> None:
    from cleanvision import Imagelab

    class Dataset:
        """As torchvision has it."""

        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, number: int) -> tuple[Image.Image]:
            return (Image.fromarray(images[number].transpose(1, 2, 0)),)

    images = photographs()
    lab = Imagelab(torchvision_dataset=Dataset(), verbose=False)
    kinds = ("dark", "light", "blurry", "low_information")
    lab.find_issues({kind: {} for kind in kinds}, n_jobs=1, verbose=False)
    found = image_issues([images], None)
    for kind in kinds:
        members, values = found.found[kind]
        assert members.tolist() == np.flatnonzero(lab.issues[f"is_{kind}_issue"]).tolist()
        np.testing.assert_array_equal(values, lab.issues[f"{kind}_score"].to_numpy()[members])


def test_odd_sizes_and_shapes_are_those_of_the_files(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    sizes = [(60 + int(draw.integers(5)), 60 + int(draw.integers(5))) for _ in range(40)]
    sizes[5], sizes[8] = (400, 400), (200, 20)  # large; of the usual area, but long
    files = [tmp_path / f"{number}.png" for number in range(40)]
    for file, size in zip(files, sizes, strict=True):
        Image.new("L", size).save(file)
    images = np.repeat(photographs()[:1], 40, axis=0)
    assert rows(image_issues([images], files)) == {
        "dark": [],
        "light": [],
        "blurry": [],
        "low_information": [],
        "odd_size": [5],
        "odd_aspect_ratio": [8],
    }
    files[7].write_bytes(b"no image")
    files[9].unlink()
    with pytest.raises(InputError) as caught:
        image_issues([images], files)
    assert [problem.path.name for problem in caught.value.problems] == ["7.png", "9.png"]
    assert "run `dvc repro prepare`" in str(caught.value)


def test_what_holds_for_most_images_is_not_listed() -> None:
    """The scanned digits have 8x8 pixels: they all say little to cleanvision."""
    found = image_issues([source.collect(None).images[:100]], None)  # type: ignore[arg-type, index]
    assert found.usual.keys() == {"low_information"}
    assert found.usual["low_information"] > 0.5
    assert "low_information" not in found.found


def test_no_images() -> None:
    assert image_issues([], None) == ImageIssues({}, {})
    vectors = np.zeros((3, 5, 1, 1), dtype=np.float32)
    assert image_issues([vectors], None) == ImageIssues({}, {})  # type: ignore[list-item]
