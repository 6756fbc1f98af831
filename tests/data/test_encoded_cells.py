"""Images in the cells of Parquet files and of what Hugging Face's datasets saves."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from placed import placed

from memtrack.config.errors import InputError
from memtrack.config.sections.data import Cells, HuggingFace, Parquet
from memtrack.core.images.pixels import Pixels
from memtrack.data.image_quality import image_issues
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.report import PreparationReport
from memtrack.data.sources import collect, place_problems
from memtrack.project.found import look_at

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()

CLASSES = ("dog", "cat")
NOISE = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)


def parquet(**more: Any) -> Parquet:
    return placed(Parquet(kind="parquet", root="raw", image_size=8, **more), "data")


def saved(**more: Any) -> HuggingFace:
    return placed(HuggingFace(kind="hugging_face", root="raw", image_size=8, **more), "data")


def data_set(first: int, last: int) -> Any:
    """Some images of noise; the class of an image is that of its number, even or odd."""
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(CLASSES)))
    images = [Image.fromarray(image) for image in NOISE[first:last]]
    labels = [number % 2 for number in range(first, last)]
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)


def shards(folder: Path) -> None:
    """Files as `push_to_hub` writes them: two of the training split with several row groups, one to test."""
    folder.mkdir(parents=True)
    for name, (first, last) in {"train-00000-of-00002": (0, 13), "train-00001-of-00002": (13, 24),
                                "test-00000-of-00001": (24, 30)}.items():  # fmt: skip
        data_set(first, last).to_parquet(folder / f"{name}.parquet", batch_size=4)


def prepared(params: Cells) -> tuple[PreparedData, PreparationReport]:
    _, report = write_prepared(collect(params), params, Path("data/prepared"))
    return PreparedData(), report


def png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def table(path: str, *, metadata: dict[str, Any] | None = None, **columns: Any) -> None:
    """A Parquet file; the images of noise are in the column `image` unless it is given."""
    count = len(next(iter(columns.values())))
    image = [{"bytes": png(pixels), "path": None} for pixels in NOISE[:count]]
    content = pa.table({"image": image, **columns})
    if metadata is not None:
        content = content.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, row_group_size=3)


def problems(params: Cells) -> list[str]:
    with pytest.raises(InputError) as caught:
        prepared(params)
    return [str(problem) for problem in caught.value.problems]


def expected_samples() -> tuple[list[str], list[str], Pixels]:
    ids = [f"train/{number}" for number in range(24)] + [f"test/{number}" for number in range(6)]
    return ids, [CLASSES[number % 2] for number in range(30)], NOISE.transpose(0, 3, 1, 2)


def save(folder: str) -> None:
    splits = {"train": data_set(0, 24), "test": data_set(24, 30), "extra": data_set(0, 3)}
    datasets.DatasetDict(splits).save_to_disk(folder, num_shards={"train": 2, "test": 1, "extra": 1})


@pytest.mark.parametrize("layout", ["shards", "saved"])
def test_the_samples_are_those_that_datasets_has_written(layout: str) -> None:
    if layout == "shards":
        shards(Path("raw/data"))
        source: Cells = parquet(test="test")
    else:
        save("raw")
        Path("raw/train/cache-0123456789abcdef.arrow").write_bytes(b"what `map` of datasets leaves")
        source = saved(test="test")
    data, report = prepared(source)
    ids, labels, pixels = expected_samples()
    assert data.samples["id"].tolist() == ids
    assert data.samples["label"].tolist() == labels
    assert data.info.classes == CLASSES  # in the order of the schema
    where = data.samples["image"].tolist()
    np.testing.assert_array_equal(data.images(where), pixels)
    np.testing.assert_array_equal(data.images(where[::-7]), pixels[::-7])
    assert data.image_files(where) is None
    assert image_issues([pixels], data.encoded(where)).found["odd_size"][0].tolist() == []
    assert [(one.reason.split()[0], one.count) for one in report.left_out] == (
        [] if layout == "shards" else [("caches", 1), ("tables", 1)]
    )
    found = look_at(Path("raw"), "raw")
    assert (found.size, found.grey, found.count) == (8, False, 24)
    assert collect(placed(type(source)(**found.section), "data")).ids == ids


def test_a_table_that_changes_is_another_data_set() -> None:
    table("raw/photos.parquet", label=["a", "b"] * 5)
    data, _ = prepared(parquet())
    first = data.samples["image"].tolist()[0]
    assert first == "photos.parquet#0"
    table("raw/photos.parquet", image=[png(pixels) for pixels in NOISE[:10][::-1]], label=["a", "b"] * 5)
    with pytest.raises(InputError, match=r"photos.parquet: row 0: image: is not the image that was prepared"):
        PreparedData().images([first])


GONE = "cannot be read: No such file or directory"
OTHER = "is damaged, or another table than it was: copy or save it again"
CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "removed": (lambda path: path.unlink(), GONE),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-9]), OTHER),
    "shorter": (lambda path: pq.write_table(pq.read_table(path)[:0], path), OTHER),
    "renamed column": (
        lambda path: pq.write_table(pq.read_table(path).rename_columns(["picture", "label"]), path),
        OTHER,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_table_that_is_gone_or_damaged_is_one_sentence(change: str) -> None:
    table("raw/a.parquet", label=["a", "b"] * 5)
    table("raw/b.parquet", label=["a", "b"] * 5)
    data, _ = prepared(parquet())
    spoil, text = CHANGES[change]
    spoil(Path("raw/b.parquet"))
    where = data.samples["image"].tolist()
    remedy = ". Stage prepare could read it: put it back, or run `dvc repro prepare`"
    for look in (
        lambda: data.images(where),
        lambda: image_issues([data.images(where[:10])] * 2, data.encoded(where)),
    ):
        with pytest.raises(InputError) as caught:
            look()
        assert [str(problem) for problem in caught.value.problems] == [f"raw/b.parquet: {text}{remedy}"]


def test_rows_with_the_same_fault_are_one_sentence() -> None:
    table("raw/a.parquet", label=["a", "b"] * 15)
    data, _ = prepared(parquet())
    table("raw/a.parquet", image=[png(pixels) for pixels in NOISE[::-1]], label=["a", "b"] * 15)
    with pytest.raises(InputError) as caught:
        data.images(data.samples["image"].tolist())
    rows = ", ".join(map(str, range(20)))
    assert str(caught.value) == (
        f"raw/a.parquet: rows {rows} and 10 more: image: is not the image that was prepared: "
        "put it back, or run `dvc repro prepare`"
    )


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["b", "a"] * 3, ("a", "b")),
        ([10, 9, 9, 10, 9, 10], ("9", "10")),
        ([1.0, 0.0] * 3, ("0", "1")),
        ([True, False] * 3, ("False", "True")),
        (pa.array(["x", "y"] * 3).dictionary_encode(), ("x", "y")),
    ],
    ids=["text", "numbers", "whole floats", "truth values", "dictionary"],
)
def test_labels_without_names(cells: Any, classes: Sequence[str]) -> None:
    table("raw/t.parquet", label=cells, name=list("uvwxyz"))
    found = collect(parquet(id_column="name"))
    assert found.classes == classes
    given = cells.to_pylist() if isinstance(cells, pa.Array) else cells
    names = {False: "False", True: "True"} if given[0] is True else {0: "0", 1: "1", 9: "9", 10: "10"}
    assert found.labels == [one if isinstance(one, str) else names[one] for one in given]
    assert found.ids == list("uvwxyz")


NAMES = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["cat", "dog", "emu"]}}}}
TWICE = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "a"]}}}}


def test_names_of_the_schema_are_classes_if_they_occur() -> None:
    table("raw/t.parquet", label=[2, 0, 2, 0], metadata=NAMES)
    found = collect(parquet())
    assert (found.labels, found.classes) == (["emu", "cat"] * 2, ("cat", "emu"))


FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no label": ({"label": [0, None, 1, -1], "metadata": NAMES}, {}, "t.parquet: row 1: label: the label is"),
    "no class": ({"label": [0, 3], "metadata": NAMES}, {}, "row 1: label: 3 is not the number of a class: "),
    "several": ({"label": [[0, 1], [1]]}, {}, "one label for each row is expected; several labels a"),
    "regression": ({"label": [0.5, 1.0]}, {}, "row 0: label: 0.5 is no whole number: labels are cla"),
    "dates": ({"label": pa.array([1, 2], pa.date32())}, {}, "'label': holds date32[day]: expected text"),
    "no column": ({"lable": [0, 1]}, {}, "no column 'label'; did you mean 'lable'? (there are"),
    "numbers": ({"label": [0, 1], "image": [1, 2]}, {}, "'image': holds int64: expected encoded images"),
    "lists": ({"label": [0, 1], "image": [[b""], [b""]]}, {}, "'image': holds lists (list<"),
    "one class": ({"label": [1, 1]}, {}, "has one class (1): at least two are needed"),
    "ids": ({"label": [0, 1], "name": ["x", "x"]}, {"id_column": "name"}, "row 1: name: the id 'x' is alr"),
    "no id": ({"label": [0, 1], "name": ["x", " "]}, {"id_column": "name"}, "row 1: name: the id is missing"),
    "odd ids": ({"label": [0, 1], "name": [0.0, 1.0]}, {"id_column": "name"}, "row 0: name: the id should"),
    "equal names": ({"label": [0, 1], "metadata": TWICE}, {}, "the schema has two classes with the name 'a'"),
    "no split": ({"label": [0, 1]}, {"test": "test"}, "data.test: no table has the split 'test'"),
    "empty": ({"label": [], "image": pa.array([], pa.binary())}, {}, "the tables have no rows"),
    "forms": ({"label": [0, 1], "name": ["\u00e9", "e\u0301"]}, {"id_column": "name"}, "ids '\\xe9' and "),
    "no file": ({"label": [0, 1]}, {"file": "x.parquet"}, "data.file: no such file"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_tables_that_cannot_be_used(name: str) -> None:
    columns, more, said = FAULTS[name]
    table("raw/t.parquet", **columns)
    found = problems(parquet(**more))
    assert said in found[0]
    assert len(found) == (2 if name in ("no label", "odd ids") else 1)
    if name == "no file":
        assert said in str(place_problems(parquet(**more))[0])


def test_a_folder_behind_a_link_is_not_left_out() -> None:
    table("raw/t.parquet", label=[0, 1])
    table("elsewhere/u.parquet", label=[0, 1])
    Path("raw/more").symlink_to("../elsewhere")
    assert "raw/more: is a link to ../elsewhere, and DVC does not look behind links" in problems(parquet())[0]


def test_files_that_are_no_tables() -> None:
    Path("raw").mkdir()
    assert "there is no .parquet file" in problems(parquet())[0]
    Path("raw/t.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "a pointer of git-lfs, not the table: run `git lfs pull`" in problems(parquet())[0]
    Path("raw/t.parquet").write_bytes(b"PAR1 and then nothing")
    assert "t.parquet: is damaged, or no Parquet file: copy or save it again" in problems(parquet())[0]


@pytest.mark.parametrize(
    ("names", "keys", "said"),
    [
        (["train", "test"], {"test": "tset"}, "data.test: no table below raw has the split 'tset'; did"),
        (["a-00000-of-00001"], {}, "data.train: no table below raw has the split 'train': there are a"),
        (["train", "more"], {}, "more.parquet: has no split in its name, but other tables have: rename it"),
    ],
)  # fmt: skip
def test_splits_that_are_not_there(names: Sequence[str], keys: dict[str, Any], said: str) -> None:
    for name in names:
        table(f"raw/{name}.parquet", label=[0, 1])
    assert said in problems(parquet(**keys))[0]


def test_a_shard_that_is_not_there_is_reported() -> None:
    shards(Path("raw/data"))
    Path("raw/data/train-00000-of-00002.parquet").unlink()
    Path("raw/data/test-00000-of-00001.parquet").rename("raw/data/test-00001-of-00002.parquet")
    _, report = prepared(parquet(test="test"))
    (found,) = (omission for omission in report.left_out if "not there" in omission.reason)
    assert found.count == 2
    assert found.examples == ["data/test-00000-of-00002.parquet", "data/train-00000-of-00002.parquet"]


def test_shards_of_two_sets_are_refused() -> None:
    shards(Path("raw/data"))
    data_set(0, 24).to_parquet("raw/data/train-00000-of-00001.parquet")
    assert problems(parquet(test="test")) == [
        f"raw/data/train-0000{number}-of-00002.parquet: is one of 2 tables, and "
        "data/train-00000-of-00001.parquet is one of 1: keep one set"
        for number in (0, 1)
    ]


def test_a_test_split_without_rows_is_refused() -> None:
    table("raw/train.parquet", label=[0, 1] * 5)
    pq.write_table(pq.read_table("raw/train.parquet")[:0], "raw/test.parquet")
    (found,) = problems(parquet(test="test"))
    said = "has no rows, so the split 'test' is empty: add some, or remove data.test to hold out a share"
    assert found == f"raw/test.parquet: {said}"


def test_shards_with_other_names_of_classes() -> None:
    table("raw/train/0000.parquet", label=[0, 1], metadata=NAMES)
    table("raw/train/0001.parquet", label=[0, 1])
    (said,) = problems(parquet())
    assert "0000.parquet: none in place of cat, dog, emu. Save all tables with one ClassLabel, " in said


def test_broken_images_are_listed_or_left_out() -> None:
    good = [{"bytes": png(pixels), "path": None} for pixels in NOISE[:12]]
    good[4]["bytes"], good[7]["bytes"] = b"no image", good[7]["bytes"][:60]
    table("raw/t.parquet", image=good, label=[0, 1] * 6)
    hint, *said = problems(parquet())
    assert "data.on_error" in hint
    where = [line.partition(": a broken image")[0] for line in said]
    assert where == [f"raw/t.parquet: row {row}: image" for row in (4, 7)]
    data, report = prepared(parquet(on_error="skip"))
    assert data.info.skipped == 2
    assert report.left_out[0].examples == ["4", "7"]
    good[9] = {"bytes": None, "path": "/home/me/9.png"}
    table("raw/t.parquet", image=good, label=[0, 1] * 6)
    (said_of_path,) = problems(parquet(on_error="skip"))
    assert "row 9: image: holds the path '/home/me/9.png' and no image" in said_of_path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: Path("raw/state.json").unlink(), "has no dataset_dict.json and no state.json"),
        (lambda: Path("raw/state.json").write_text("{}"), "state.json: has no list '_data_files'"),
        (lambda: Path("raw/data-00000-of-00001.arrow").unlink(), "00001.arrow: no such file, but"),
        (lambda: next(Path("raw").glob("*.arrow")).write_bytes(b"x" * 99), "damaged, or no Arrow file of"),
        (
            lambda: Path("raw/state.json").write_text('{"_data_files": [{"filename": "/etc/passwd"}]}'),
            "state.json: names '/etc/passwd', which is no name of a file or folder beside it",
        ),
        (lambda: Path("raw/dataset_dict.json").write_text('{"splits": [1]}'), "dict.json: names 1, which is"),
        (lambda: Path(".dvcignore").write_text("*.arrow\n"), "DVC does not watch it"),
    ],
)  # fmt: skip
def test_a_saved_data_set_that_is_damaged(change: Callable[[], object], said: str) -> None:
    data_set(0, 6).save_to_disk("raw")
    assert len(collect(saved()).ids) == 6
    change()
    assert said in problems(saved())[0]


def test_a_name_on_the_hub_is_downloaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load(*names: Any, **more: Any) -> Any:
        asked.append((*names, more))
        if len(asked) == 1:
            raise ConnectionError("no network")
        return datasets.DatasetDict({"train": data_set(0, 24), "test": data_set(24, 30)})

    monkeypatch.setattr(datasets, "load_dataset", load)
    source = saved(name="me/noise", revision="v1", test="test")
    assert "data.name: me/noise is not in raw/me--noise--@v1 (data.download is false)" in problems(
        source.model_copy(update={"download": False})
    )[0]  # fmt: skip
    assert not asked
    assert "data.name: the download of me/noise failed: ConnectionError: no network" in problems(source)[0]
    assert not Path("raw").exists()
    for _ in range(2):
        data, _ = prepared(source)
        assert data.samples["id"].tolist() == expected_samples()[0]
    assert data.samples["image"][0] == "me--noise--@v1/train/data-00000-of-00001.arrow#0"
    np.testing.assert_array_equal(data.images(data.samples["image"].tolist()), expected_samples()[2])
    assert asked == [("me/noise", None, {"revision": "v1"})] * 2


def test_what_init_cannot_know() -> None:
    datasets.Dataset.from_dict({"text": ["a b c", "d e f"], "label": [0, 1]}).save_to_disk("texts")
    with pytest.raises(InputError, match=r"no column of encoded images \(there are: text, label\)"):
        look_at(Path("texts"), "texts")
    table("raw/t.parquet", image=[b"no image"] * 4, label=[0, 1, 0, 1], size=[1, 2, 3, 4])
    assert look_at(Path("raw/t.parquet"), "raw").section["kind"] == "features"
    table("raw/t.parquet", label=[0, 1, 0, 1], target=[1, 2, 3, 4])
    with pytest.raises(InputError, match=r"which column holds the labels\? There are: image, label, target"):
        look_at(Path("raw/t.parquet"), "raw")
    features = {"kind": {"_type": "ClassLabel", "names": ["a", "b"]}}
    table("raw/t.parquet", kind=[0, 1] * 2, metadata={"info": {"features": features}})
    assert look_at(Path("raw/t.parquet"), "raw").section == {
        "kind": "parquet",
        "root": "raw",
        "file": "t.parquet",
        "image_column": "image",
        "label_column": "kind",
        "image_size": 8,
        "mode": "RGB",
        "test_share": 0.2,
    }
