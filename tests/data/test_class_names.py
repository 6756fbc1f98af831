"""Names of classes that are nearly surely mistakes are refused, unless they are meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from placed import placed

from memtrack.config.errors import InputError
from memtrack.config.sections.data import (
    Arrays,
    DataParams,
    Digits,
    Features,
    HuggingFace,
    ImageFolder,
    Parquet,
    Rows,
    Table,
    Text,
)
from memtrack.data.class_names import check_names, names_of_labels
from memtrack.data.sources import Collected, collect


def collected(*labels: str, ids: list[str] | None = None) -> Collected:
    names = ids or [f"{number}.png" for number in range(len(labels))]
    return Collected(names, list(labels), None, tuple(sorted(set(labels))), None)


def folder(**more: Any) -> ImageFolder:
    return placed(ImageFolder(kind="image_folder", root="photos", **more), "data")


def table(**more: Any) -> Table:
    return placed(Table(kind="table", root="photos", table="x.csv", **more))


def said(found: Collected, params: Arrays | Digits | ImageFolder | Rows | Table) -> list[str]:
    with pytest.raises(InputError) as caught:
        check_names(found, params)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "other", ["Cat", "CAT", "cat ", " cat", "cat\u00a0", "c\u200bat", "\ufeffcat", "\uff43at"]
)
def test_classes_that_look_the_same(other: str) -> None:
    found = collected("cat", "dog", other, "cat")
    (text,) = said(found, folder())
    assert text.startswith("params.yaml: data.similar_classes: these classes look like the same one: ")
    assert "'cat' (2)" in text
    assert "(1)" in text
    assert "'dog'" not in text
    check_names(found, folder(similar_classes="keep"))
    check_names(
        found, placed(Table(kind="table", root="photos", table="x.csv", classes=("cat", "dog", other)))
    )


def test_a_number_as_pandas_writes_it_beside_missing_ones() -> None:
    (text,) = said(collected("1", "1.0", "1.5", "01", "10"), folder())
    assert "'1' (1), '1.0' (1). " in text
    check_names(collected("1.0", "1.5", "2.0", "v1.0", "v1"), folder())


@pytest.mark.parametrize(("one", "other"), [("caf\u00e9", "cafe\u0301"), ("q", "q "), ("q", "\u2003q")])
def test_ids_that_a_table_could_confuse(one: str, other: str) -> None:
    found = collected("cat", "dog", "dog", ids=[one, "r", other])
    for params in (
        Text(kind="text", root="raw", table="t.csv", id_column="id"),
        Parquet(kind="parquet", root="raw", id_column="id"),
    ):
        (text,) = said(found, placed(params, "data"))
        assert f"the ids {one!a} and {other!a} differ by outer blanks or Unicode form alone" in text
    check_names(found, folder())  # files have such names


def test_forms_of_unicode() -> None:
    (text,) = said(collected("caf\u00e9", "cafe\u0301", "cafe"), folder())
    assert text.count("(1)") == 2


@pytest.mark.parametrize("name", ["nan", "NaN", "NA", "n/a", "#N/A", "null", "None", "", " ", "<NA>"])
def test_labels_that_look_missing(name: str) -> None:
    (text,) = said(collected("cat", name), table())
    assert f"the class {name!r} (1 samples) looks like a missing label" in text
    check_names(collected("cat", name), table(similar_classes="keep"))
    check_names(collected("cat", name), folder())  # somebody has made that folder
    (text,) = said(collected("cat", name), placed(Arrays(kind="arrays", root="raw"), "data"))
    assert "looks like a missing label" in text


def test_classes_that_differ() -> None:
    check_names(collected("cat", "cats", "c at", "Ca", "nano", "no", "0", "O", "cat-1", "cat_1"), folder())


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\tb", "\x1b[2J", "a\x85", "a\u2028"])
def test_line_breaks_and_control_characters(name: str) -> None:
    for params in (folder(similar_classes="keep"), Digits(kind="digits", root="raw")):
        (text,) = said(collected("cat", name), params)
        assert f"the class {name!a} has a line break or a control character: rename it" in text
        assert text.isprintable()
    (text,) = said(collected("cat", "dog", ids=["1.png", f"{name}.png"]), folder())
    assert "the sample '" in text


def test_ids_are_not_compared() -> None:
    check_names(collected("cat", "dog", ids=["a.png", "A.png"]), folder())


def test_the_counts_are_those_of_the_labels() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(["ant", "Ant", "bee"], size=200).tolist()
    (text,) = said(collected(*labels), folder())
    assert f"'Ant' ({labels.count('Ant')}), 'ant' ({labels.count('ant')})" in text


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("-1", "0", "1"), "'-1' (1 samples) looks like a missing label"),
        (("-1", "1"), None),
        (("1.5", "2", "3"), "'1.5' is no whole one"),
        (("1.5", "2", "v3"), None),
    ],
)
def test_numbers_that_are_no_classes(classes: tuple[str, ...], expected: str | None) -> None:
    if expected is None:
        check_names(collected(*classes), table())
    else:
        (text,) = said(collected(*classes), table())
        assert expected in text


GENRES = ("drama", "comedy", "war", "crime")


@pytest.mark.parametrize("separator", [",", ";", "|", ", "])
def test_several_labels_a_sample(separator: str) -> None:
    draw = np.random.default_rng(0)
    lists = [separator.join(draw.permutation(GENRES)[: draw.integers(2, 4)]) for _ in range(30)]
    (text,) = said(collected(*lists, *GENRES * 3), table())
    assert f"more than half of the labels are lists of labels, such as '{min(lists)}'" in text
    assert "memtrack is for one label a sample" in text
    check_names(collected(*lists, *GENRES * 3), table(similar_classes="keep"))
    check_names(collected(*lists, *GENRES * 10), table())  # they are fewer than half
    check_names(collected(*lists, *GENRES * 3), folder())


@pytest.mark.parametrize(
    "classes",
    [
        (
            "tench, Tinca tinca",
            "cock",
            "hen",
            "crane, bird",
            "crane, machine",
            "maillot",
            "maillot, tank suit",
        ),
        ("cat, tabby", "cat, persian", "dog, boxer", "dog, collie"),
        ("left, male", "left, female", "right, male", "right, female"),  # the places of the parts are fixed
        ("1,5", "2,5", "3,7"),
    ],
)
def test_names_with_a_comma(classes: tuple[str, ...]) -> None:
    check_names(collected(*classes, *classes), table())


# --- the names of labels ------------------------------------------------------------------------


datasets = pytest.importorskip("datasets")


def everywhere(labels: list[Any], picture: Callable[..., Path]) -> Iterator[DataParams]:
    """The same labels in each kind of source that has a column of them."""
    images = [picture(f"raw/{number}.png") for number in range(len(labels))]
    cells = [{"bytes": image.read_bytes(), "path": None} for image in images]
    numbers = list(range(len(labels)))
    rows = pd.DataFrame({"path": [image.name for image in images], "x": numbers, "label": labels})
    rows["text"] = [f"word{number} words" for number in numbers]
    rows.to_csv("raw/t.csv", index=False)
    rows.to_parquet("raw/t.parquet")
    pd.DataFrame({"image": cells, "label": labels}).to_parquet("raw/images.parquet")
    kind = {bool: "bool", int: "int64", float: "float64", str: "string"}[type(labels[0])]
    features = datasets.Features(image=datasets.Image(), label=datasets.Value(kind))
    datasets.Dataset.from_dict({"image": cells, "label": labels}, features=features).save_to_disk("raw/saved")
    np.savez("raw/a.npz", images=np.zeros((len(labels), 8, 8), np.uint8), labels=np.array(labels))
    yield Parquet(kind="parquet", root="raw", file="images.parquet")
    yield HuggingFace(kind="hugging_face", root="raw/saved")
    yield Arrays(kind="arrays", root="raw", file="a.npz")
    for name in ("t.csv", "t.parquet"):
        yield Table(kind="table", root="raw", table=name)
        yield Features(kind="features", root="raw", table=name, columns=("x",))
        yield Text(kind="text", root="raw", table=name, dimensions=2)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([0, 1, 1, 10], ["0", "1", "1", "10"]),
        ([0.0, -1.0, -1.0, 10.0], ["0", "-1", "-1", "10"]),
        ([True, False, False, True], ["True", "False", "False", "True"]),
        (["b", "a", "a", "1.0"], ["b", "a", "a", "1.0"]),
        (["2.0", "1.0", "1.0", "2.0"], ["2", "1", "1", "2"]),
        (["01", "2", "2", "01"], ["01", "2", "2", "01"]),
    ],
    ids=["whole", "floats", "truth values", "text", "text of floats", "codes"],
)
def test_a_label_has_one_name_in_every_source(
    labels: list[Any], names: list[str], picture: Callable[..., Path]
) -> None:
    for source in everywhere(labels, picture):
        found = collect(placed(source, "data"))
        assert found.labels == names, source
        assert set(found.classes) == set(names), source


def test_versions_and_listed_classes_stay_as_they_are(picture: Callable[..., Path]) -> None:
    assert names_of_labels(["1.0", "1.5", ""]) == ["1.0", "1.5", ""]
    assert names_of_labels([1.0, None, float("nan")]) == ["1", "", ""]
    *_, _ = everywhere([1.0, 2.0], picture)
    found = collect(placed(Table(kind="table", root="raw", table="t.csv", classes=("2.0", "1")), "data"))
    assert (found.labels, found.classes) == (["1", "2.0"], ("2.0", "1"))


def test_the_labels_of_several_tables_are_named_together() -> None:
    Path("raw").mkdir()
    for name, last in (("train", "1.0"), ("more", "1.5")):
        rows = f"x,label,part\n1,2.0,train\n2,{last},train\n3,2.0,test\n"
        Path(f"raw/{name}.csv").write_text(rows, encoding="utf-8")
    source = Features(kind="features", root="raw", columns=("x",), split_column="part")
    assert sorted(collect(placed(source, "data")).labels) == ["1.0", "1.5", "2.0", "2.0", "2.0", "2.0"]
