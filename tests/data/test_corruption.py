"""Variants: the labels of the training samples, corrupted or given by people."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from placed import placed
from pydantic import TypeAdapter

from memtrack.config.errors import InputError
from memtrack.config.sections.data import Digits
from memtrack.config.sections.variants import (
    ConflictingDuplicates,
    FromFile,
    NoNoise,
    Symmetric,
    VariantParams,
)
from memtrack.core.images.pixels import RandomizedPixels
from memtrack.data.confusion_matrix import confusion_matrix
from memtrack.data.corruption import write_variant
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import Collected
from memtrack.data.variants import VariantData, VariantSummary
from memtrack.stages import corrupt as stage

REPOSITORY = Path(__file__).parents[2]
CLASSES = ("ant", "bee", "cat")
PREPARED = "data/prepared"
PEOPLE = Path("people.csv")


@pytest.fixture
def data() -> PreparedData:
    """60 training samples t0, t1, ..., 6 test and 14 unused ones, of three classes."""
    ids = [f"t{i}" for i in range(60)] + [f"x{i}" for i in range(6)]
    labels = [CLASSES[i % 3] for i in range(len(ids))]
    splits = ["train"] * 60 + ["test"] * 6
    images = np.random.default_rng(0).integers(0, 256, (len(ids), 1, 2, 2), dtype=np.uint8)
    collected = Collected(ids, labels, splits, CLASSES, images)
    params = Digits(kind="digits", root="data/raw", train_limit=46)
    write_prepared(collected, params, Path(PREPARED))
    return PreparedData()


def symmetric(rate: float, labels: str = PREPARED, seed: int = 0) -> Symmetric:
    return Symmetric(kind="symmetric", labels=labels, rate=rate, seed=seed)


def written(name: str) -> pd.DataFrame:
    return pd.read_csv(f"data/variants/{name}/labels.csv", dtype=str, keep_default_na=False)


def summary(name: str) -> Any:
    return json.loads(Path(f"data/variants/{name}/summary.json").read_text(encoding="utf-8"))


def check_summary(name: str, returned: VariantSummary) -> None:
    """summary.json counts what stands in labels.csv."""
    table, said = written(name), summary(name)
    assert said == returned.model_dump(mode="json")
    differ = table["clean_label"] != table["given_label"]
    assert table["corrupted"].tolist() == ["1" if wrong else "0" for wrong in differ]
    pairs = Counter(zip(table["clean_label"], table["given_label"], strict=True))
    counted = [[pairs[(clean, given)] for given in said["classes"]] for clean in said["classes"]]
    assert said["transitions"] == counted
    assert said["classes"] == list(CLASSES)
    assert said["samples"] == len(table)
    assert said["corrupted"] == differ.sum()
    assert said["realized_rate"] == pytest.approx(differ.sum() / len(table))


def check_samples(name: str, data: PreparedData) -> None:
    """labels.csv holds the training samples in their order, with the labels of the data set."""
    table, train = written(name), data.samples[data.samples["split"] == "train"]
    assert table.columns.tolist() == ["id", "image", "clean_label", "given_label", "corrupted", "copy_of"]
    assert (table["copy_of"] == "").all()
    assert table["image"].tolist() == train["image"].tolist()
    assert table["id"].tolist() == train["id"].tolist()
    assert table["clean_label"].tolist() == train["label"].tolist()


def test_an_id_that_a_copy_would_get() -> None:
    ids = ["a", "b", "a#copy", "b#copy"]
    images = np.zeros((4, 1, 2, 2), dtype=np.uint8)
    params = Digits(kind="digits", root="data/raw", test_share=0.5)
    write_prepared(Collected(ids, list("uvuv"), ["train"] * 4, ("u", "v"), images), params, Path(PREPARED))
    copies = placed(
        ConflictingDuplicates(kind="conflicting_duplicates", labels=PREPARED, rate=0.9), "variants", "x"
    )
    with pytest.raises(InputError, match=r"variants.x: a sample has the id '[ab]#copy' already"):
        write_variant("x", copies, PreparedData())


# --- none and symmetric -------------------------------------------------------------------------


def test_no_noise(data: PreparedData) -> None:
    made = write_variant("clean", NoNoise(kind="none", labels=PREPARED), data)
    check_samples("clean", data)
    check_summary("clean", made)
    assert written("clean")["given_label"].equals(written("clean")["clean_label"])
    said = summary("clean")
    assert (said["made_from"], said["corrupted"]) == ({"kind": "none", "labels": PREPARED}, 0)


@pytest.mark.parametrize(("rate", "count"), [(0.0, 0), (0.1, 5), (0.2, 9), (0.5, 23), (0.99, 46), (0.004, 0)])
def test_the_count_of_corrupted_labels_is_exact(rate: float, count: int, data: PreparedData) -> None:
    made = write_variant("noisy", symmetric(rate, seed=7), data)  # of 46 training samples
    check_samples("noisy", data)
    check_summary("noisy", made)
    said = summary("noisy")
    assert said["corrupted"] == count
    assert said["made_from"] == {"kind": "symmetric", "labels": PREPARED, "rate": rate, "seed": 7}
    assert set(written("noisy")["given_label"]) <= set(CLASSES)


def test_the_same_seed_writes_the_same_bytes(data: PreparedData) -> None:
    for name, seed in (("first", 1), ("second", 1), ("other", 2)):
        write_variant(name, symmetric(0.3, seed=seed), data)
    folder = Path("data/variants")
    for file in ("labels.csv", "summary.json"):
        assert (folder / "first" / file).read_bytes() == (folder / "second" / file).read_bytes()
    assert (folder / "first/labels.csv").read_bytes() != (folder / "other/labels.csv").read_bytes()


def test_writing_again_replaces_the_variant(data: PreparedData) -> None:
    write_variant("noisy", symmetric(0.5), data)
    write_variant("noisy", symmetric(0.1), data)
    assert summary("noisy")["corrupted"] == 5
    assert (written("noisy")["corrupted"] == "1").sum() == 5


def test_reading_a_variant_back(data: PreparedData) -> None:
    write_variant("noisy", symmetric(0.3), data)
    table, variant = written("noisy"), VariantData("noisy", data)
    assert variant.ids == table["id"].tolist()
    assert [CLASSES[number] for number in variant.clean] == table["clean_label"].tolist()
    assert [CLASSES[number] for number in variant.given] == table["given_label"].tolist()
    assert variant.corrupted.tolist() == (table["corrupted"] == "1").tolist()


def test_no_noise_on_another_variant_keeps_its_labels(data: PreparedData) -> None:
    write_variant("noisy", symmetric(0.3), data)
    made = write_variant("same", NoNoise(kind="none", labels="data/variants/noisy"), data)
    assert written("same").equals(written("noisy"))
    check_summary("same", made)
    assert made.made_from["labels"] == "data/variants/noisy"


def test_noise_on_noise(data: PreparedData) -> None:
    write_variant("noisy", symmetric(0.5, seed=1), data)
    made = write_variant("noisier", symmetric(0.5, "data/variants/noisy/", seed=2), data)
    check_samples("noisier", data)  # clean is what the data set says, not the variant before
    check_summary("noisier", made)
    before, after = written("noisy")["given_label"], written("noisier")["given_label"]
    assert (before != after).sum() == 23
    assert made.corrupted > 23
    assert made.made_from["rate"] == 0.5


def test_a_base_that_was_not_made(data: PreparedData) -> None:
    with pytest.raises(InputError, match=r"data/variants/noisy: is not there: run `dvc repro corrupt@noisy`"):
        write_variant("noisier", symmetric(0.5, "data/variants/noisy"), data)


# --- other kinds of noise -----------------------------------------------------------------------


def variant(**keys: Any) -> Any:
    """An entry of params.yaml."""
    return TypeAdapter(VariantParams).validate_python({"labels": PREPARED, **keys})


MATRIX = [[0.5, 0.5, 0], [0, 1, 0], [0.1, 0.1, 0.8]]
KINDS = [
    {"kind": "symmetric", "rate": 0.5},
    {"kind": "pair", "rate": 0.5},
    {"kind": "pair", "rate": 0.5, "pairs": {"ant": "cat"}},
    {"kind": "confusion", "matrix": MATRIX},
    {"kind": "instance_dependent", "rate": 0.5},
    {"kind": "random"},
    {"kind": "pixels", "how": "shuffled"},
]


@pytest.mark.parametrize("keys", KINDS, ids=lambda keys: keys["kind"])
def test_every_kind_is_a_variant_fixed_by_its_seed(keys: dict[str, Any], data: PreparedData) -> None:
    made = write_variant("one", variant(**keys), data)
    check_samples("one", data)
    check_summary("one", made)
    write_variant("again", variant(**keys), data)
    write_variant("other", variant(**keys, seed=1), data)
    assert written("one").equals(written("again"))
    assert made.made_from == variant(**keys).model_dump(mode="json")
    if keys["kind"] != "pixels":
        assert not written("one").equals(written("other"))


def test_a_pair_may_be_named(data: PreparedData) -> None:
    write_variant("noisy", variant(kind="pair", rate=0.5, pairs={"ant": "cat"}), data)
    table = written("noisy")
    changed = table[table["corrupted"] == "1"]
    assert len(changed) == round(0.5 * (table["clean_label"] == "ant").sum())
    assert set(zip(changed["clean_label"], changed["given_label"], strict=True)) == {("ant", "cat")}


def test_the_next_class_is_the_partner(data: PreparedData) -> None:
    write_variant("noisy", variant(kind="pair", rate=0.5), data)
    table = written("noisy")
    changed = table[table["corrupted"] == "1"]
    found = set(zip(changed["clean_label"], changed["given_label"], strict=True))
    assert found == {("ant", "bee"), ("bee", "cat"), ("cat", "ant")}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"kind": "pair", "rate": 0.5, "pairs": {"ant": "dog", "be": "cat"}},
            [
                "pairs.ant: 'dog' is not among the classes",
                "pairs.be: 'be' is not among the classes; did you mean 'bee'",
            ],
        ),
        (
            {"kind": "confusion", "matrix": [[1, 0], [0, 1]]},
            ["matrix: has 2 rows: give one for each of the 3 classes"],
        ),
    ],
)
def test_an_entry_that_does_not_fit_the_classes(
    keys: dict[str, Any], said: list[str], data: PreparedData
) -> None:
    with pytest.raises(InputError) as caught:
        write_variant("noisy", placed(variant(**keys), "variants", "noisy"), data)
    for problem, text in zip(caught.value.problems, said, strict=True):
        assert str(problem).startswith("params.yaml")
        assert f"variants.noisy.{text}" in str(problem)


def matrix_in(name: str, table: pd.DataFrame) -> Any:
    """A variant whose matrix is in a table."""
    table.to_parquet(name) if name.endswith(".parquet") else table.to_csv(name, index=False)
    return variant(kind="confusion", labels=name, seed=5)


@pytest.mark.parametrize("name", ["matrix.csv", "matrix.parquet"])
def test_a_confusion_matrix_in_a_table_is_the_one_in_params(name: str, data: PreparedData) -> None:
    """Whatever the order of its rows and columns."""
    table = pd.DataFrame(MATRIX, columns=CLASSES).assign(clean=CLASSES)[["clean", "cat", "ant", "bee"]]
    write_variant("file", matrix_in(name, table.iloc[[1, 2, 0]]), data)
    write_variant("params", variant(kind="confusion", matrix=MATRIX, seed=5), data)
    assert written("file").equals(written("params"))
    assert (written("file")["corrupted"] == "1").any()


def test_a_confusion_matrix_of_many_classes(tmp_path: Path) -> None:
    """More than fit into a params.yaml."""
    names = [f"class {number}" for number in range(250)]
    shares = np.random.default_rng(0).dirichlet(np.ones(250), size=250)
    pd.DataFrame(shares, names, names).to_csv("matrix.csv")
    params = variant(kind="confusion", labels="matrix.csv")
    np.testing.assert_allclose(confusion_matrix(params, names[::-1]), shares[::-1, ::-1], rtol=1e-12)


def test_all_mistakes_of_a_confusion_matrix_are_listed_with_their_lines(data: PreparedData) -> None:
    rows = ["ant,0.5,0.5,0", "bee,0,1,0.5", "bee,0,1,0", "dog,0,x,1", "ant,-1,1,1"]
    Path("matrix.csv").write_text("\n".join([",ant,bee,dog", *rows]))
    with pytest.raises(InputError) as caught:
        write_variant("noisy", variant(kind="confusion", labels="matrix.csv"), data)
    assert [str(problem).removeprefix("matrix.csv:").strip() for problem in caught.value.problems] == [
        "1: the column 'dog' is not among the classes (ant, bee, cat): rename or remove it",
        "1: has no column for the class 'cat': add it",
        "2 rows are named 'ant': keep one",
        "2 rows are named 'bee': keep one",
        "the row 'dog' is not among the classes (ant, bee, cat): rename or remove it",
        "has no row for the class 'cat': add it",
        "line 3: sums to 1.5: the shares of a class should sum to 1",
        "line 5: bee: 'x' should be a number from 0 to 1",
        "line 6: ant: '-1' should be a number from 0 to 1",
    ]


def test_conflicting_duplicates_are_added_and_marked(data: PreparedData) -> None:
    made = write_variant("twice", variant(kind="conflicting_duplicates", rate=0.2), data)
    table = written("twice").set_index("id")
    check_summary("twice", made)
    assert (made.samples, made.copies, made.corrupted) == (46 + 9, 9, 9)
    assert table.index.is_unique
    assert table.index[:46].tolist() == train_ids(data)
    assert (table["copy_of"][:46] == "").all()
    for name, copy in table[46:].iterrows():
        original = table.loc[str(copy["copy_of"])]
        assert name == f"{copy['copy_of']}#copy"
        assert copy["image"] == original["image"]
        assert copy["clean_label"] == original["clean_label"]
        assert copy["given_label"] != original["given_label"]
    variants = VariantData("twice", data)
    assert variants.copy_of == table["copy_of"].tolist()
    assert (data.images(variants.images[46:]) == data.images(table["image"][46:].tolist())).all()


def test_duplicates_of_duplicates_are_of_other_samples(data: PreparedData) -> None:
    write_variant("twice", variant(kind="conflicting_duplicates", rate=0.5), data)
    again = variant(kind="conflicting_duplicates", rate=0.9, labels="data/variants/twice")
    made = write_variant("more", again, data)
    table = written("more")
    assert table["id"].is_unique
    assert made.copies == 23 + round(0.9 * 23)
    assert not table["copy_of"][table["copy_of"] != ""].duplicated().any()


def test_other_noise_on_duplicates_keeps_them(data: PreparedData) -> None:
    write_variant("twice", variant(kind="conflicting_duplicates", rate=0.2), data)
    made = write_variant("noisy", symmetric(0.5, "data/variants/twice"), data)
    assert (made.samples, made.copies) == (55, 9)
    assert written("noisy")["copy_of"].equals(written("twice")["copy_of"])


@pytest.mark.parametrize("how", ["shuffled", "random", "gaussian"])
def test_randomized_pixels_stay_under_other_noise(how: str, data: PreparedData) -> None:
    write_variant("clean", NoNoise(kind="none", labels=PREPARED), data)
    write_variant("pixels", variant(kind="pixels", how=how, seed=4), data)
    write_variant("noisy", symmetric(0.5, "data/variants/pixels"), data)
    assert VariantData("clean", data).pixels is None
    for name in ("pixels", "noisy"):
        pixels = VariantData(name, data).pixels
        assert pixels == RandomizedPixels(how, 4, data.info.mean, data.info.std)  # type: ignore[arg-type]
    assert not VariantData("pixels", data).flags_known
    assert VariantData("pixels", data).read([]).shape == (0, *data.info.shape)


def test_a_copy_looks_like_its_original(data: PreparedData) -> None:
    write_variant("pixels", variant(kind="pixels", how="random"), data)
    write_variant(
        "twice", variant(kind="conflicting_duplicates", rate=0.2, labels="data/variants/pixels"), data
    )
    made = VariantData("twice", data)
    rows = list(range(46, 55))
    originals = [made.ids.index(made.copy_of[row]) for row in rows]
    copies, seen = (
        made.seen(data.images([made.images[row] for row in some]), some) for some in (rows, originals)
    )
    assert (copies == seen).all()
    assert (copies != data.images([made.images[row] for row in rows])).any()


def test_a_table_of_labels_that_was_cut_off(data: PreparedData) -> None:
    write_variant("noisy", symmetric(0.3), data)
    table = Path("data/variants/noisy/labels.csv")
    table.write_text(table.read_text()[:-20])
    with pytest.raises(
        InputError, match=r"labels\.csv: is damaged or was changed: run `dvc repro corrupt@noisy`"
    ):
        VariantData("noisy", data)


def test_noise_on_noise_of_the_same_seed_draws_other_samples(data: PreparedData) -> None:
    both = []
    for seed in range(20):
        write_variant("first", symmetric(0.3, seed=seed), data)
        write_variant("second", symmetric(0.3, "data/variants/first", seed), data)
        before, after = written("first"), written("second")
        changed = before["id"][before["given_label"] != after["given_label"]]
        both.append(len({*changed} & {*before["id"][before["corrupted"] == "1"]}))
        assert len(changed) == 14
    assert np.mean(both) == pytest.approx(14 * 14 / 46, abs=1.5)


# --- labels from a file -------------------------------------------------------------------------


def from_file(**more: Any) -> FromFile:
    return FromFile(kind="from_file", **{"labels": str(PEOPLE), **more})


def train_ids(data: PreparedData) -> list[str]:
    return data.samples.loc[data.samples["split"] == "train", "id"].tolist()


def write_people(rows: list[tuple[str, str]], head: str = "id,label") -> None:
    text = "".join(f"{sample},{label}\n" for sample, label in rows)
    PEOPLE.write_text(f"{head}\n{text}", encoding="utf-8")


def problems(data: PreparedData, params: FromFile | None = None) -> list[str]:
    with pytest.raises(InputError) as caught:
        write_variant("people", params or from_file(), data)
    assert not Path("data/variants/people/labels.csv").exists()
    return [str(problem).removeprefix("people.csv: ") for problem in caught.value.problems]


@pytest.mark.parametrize("as_number", ["", "{}", "{}.0"], ids=["names", "numbers", "as pandas writes them"])
def test_names_or_numbers_of_classes(as_number: str, data: PreparedData) -> None:
    ids = train_ids(data)
    numbers = np.random.default_rng(0).integers(0, 3, size=len(ids)).tolist()
    rows = [
        (sample, as_number.format(number) or CLASSES[number])
        for sample, number in zip(ids, numbers, strict=True)
    ]
    write_people(rows[::-1])  # in any order
    made = write_variant("people", from_file(), data)
    check_samples("people", data)
    check_summary("people", made)
    assert written("people")["given_label"].tolist() == [CLASSES[number] for number in numbers]
    assert (made.made_from["kind"], made.made_from["labels"]) == ("from_file", "people.csv")


def test_a_parquet_file_and_columns_of_other_names(data: PreparedData) -> None:
    ids = train_ids(data)
    frame = pd.DataFrame({"sample": ids, "animal": ["bee"] * len(ids), "who": ["me"] * len(ids)})
    frame.to_parquet("people.parquet")
    params = from_file(labels="people.parquet", id_column="sample", label_column="animal")
    write_variant("people", params, data)
    assert set(written("people")["given_label"]) == {"bee"}


def test_labels_for_test_and_unused_samples_change_nothing(data: PreparedData) -> None:
    rows = [(sample, "cat") for sample in train_ids(data)]
    write_people(rows)
    write_variant("train", from_file(), data)
    others = data.samples.loc[data.samples["split"] != "train", "id"].tolist()
    assert len(others) == 20
    write_people([(sample, "ant") for sample in others] + rows)
    write_variant("all", from_file(), data)
    assert written("all").equals(written("train"))


def test_weights_from_a_file_and_their_way_to_other_variants(data: PreparedData) -> None:
    ids = train_ids(data)
    frame = pd.DataFrame({"id": ids, "label": "bee", "weight": ["0.25", "", "0", *["1"] * (len(ids) - 3)]})
    frame.to_csv("people.csv", index=False)
    params = from_file(weight_column="weight")
    write_variant("weighted", params, data)
    expected = [0.25, 1, 0, *[1] * (len(ids) - 3)]
    weighted = VariantData("weighted", data)
    assert weighted.weights is not None
    assert weighted.weights.tolist() == expected
    copies = ConflictingDuplicates(kind="conflicting_duplicates", labels="data/variants/weighted", rate=0.5)
    write_variant("copies", copies, data)
    both = VariantData("copies", data)
    assert both.weights is not None
    assert both.weights.tolist() == weighted.weights[both.originals].tolist()

    write_variant("plain", from_file(), data)
    frame.assign(weight="1").to_csv("people.csv", index=False)
    write_variant("ones", params, data)
    assert VariantData("ones", data).weights is None
    for name in ("plain", "ones"):  # nothing but the labels identifies the variant, as before
        assert VariantData(name, data).causes["labels"] == VariantData("plain", data).causes["labels"]
    for cell, message in (("2", "line 2: the weight is '2'"), ("x", "line 2: the weight is 'x'")):
        frame.assign(weight=cell).to_csv("people.csv", index=False)
        assert message in problems(data, params)[0]
    frame.assign(weight="0").to_csv("people.csv", index=False)
    with pytest.raises(InputError, match="gives every training sample the weight 0"):
        write_variant("weighted", params, data)
    cleaned = Path("results/clean/noisy/labels.csv")
    cleaned.parent.mkdir(parents=True)
    frame.to_csv(cleaned, index=False)
    with pytest.raises(InputError, match=r"weight_column: stage clean has given weights: write weight"):
        write_variant("people", from_file(labels=str(cleaned)), data)


def test_a_class_name_comes_before_a_class_number(data: PreparedData) -> None:
    collected = Collected(
        list("abcd"), ["1", "0", "1", "0"], ["train"] * 4, ("1", "0"), np.zeros((4, 1, 2, 2), np.uint8)
    )
    write_prepared(collected, Digits(kind="digits", root="data/raw"), Path(PREPARED))
    write_people([("a", "1"), ("b", "0"), ("c", "1"), ("d", "1")])
    write_variant("people", from_file(), PreparedData())
    assert written("people")["given_label"].tolist() == ["1", "0", "1", "1"]


def test_training_samples_without_a_label(data: PreparedData) -> None:
    ids = train_ids(data)
    write_people([(sample, "cat") for sample in ids if sample not in (ids[4], ids[40])])
    lacks, *said = problems(data)
    assert lacks.endswith("partial: people.csv lacks 2 of 46 training samples: true keeps their own labels")
    assert said == [
        f"has no label for the training sample {sample!r}: add a row" for sample in (ids[4], ids[40])
    ]


def test_all_wrong_rows_are_listed_with_their_lines(data: PreparedData) -> None:
    ids = train_ids(data)
    rows = [(sample, "cat") for sample in ids]
    rows[1] = (ids[1], "caat")
    rows[3] = (ids[3], "3")
    rows[5] = (ids[5], "")
    rows += [("T0", "cat"), (ids[0], "cat")]
    write_people(rows)
    assert problems(data) == [
        "line 3: 'caat' is not among the classes; did you mean 'cat'? (ant, bee, cat)",
        "line 5: '3' is not among the classes (ant, bee, cat)",
        "line 7: '' is not among the classes (ant, bee, cat); leave_out names a mark to leave samples out",
        "line 48: no sample has the id 'T0' (ids look like 't0')",
        f"line 49: the id {ids[0]!r} appears twice: remove one of the two rows",
    ]


@pytest.mark.parametrize("label", ["-1", "1.5", "²", "1e0", "Cat", " cat", "bees"])
def test_labels_that_are_no_class(label: str, data: PreparedData) -> None:
    ids = train_ids(data)
    write_people([(sample, label if sample == ids[2] else "bee") for sample in ids])
    (said,) = problems(data)
    assert said.startswith(f"line 4: {label!r} is not among the classes")


def test_missing_columns(data: PreparedData) -> None:
    write_people([("t0", "cat")], head="number,lable")
    assert problems(data) == [
        "people.csv:1: no column 'id' (there are: number, lable)",
        "people.csv:1: no column 'label'; did you mean 'lable'? (there are: number, lable)",
    ]


def test_no_file(data: PreparedData) -> None:
    (said,) = problems(data, from_file(labels="nowhere.csv"))
    assert said.endswith("nowhere.csv: no such file")


def test_a_file_beside_the_copy_of_the_project(
    data: PreparedData, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_people([(sample, "bee") for sample in train_ids(data)])
    copy = project / "copy"
    copy.mkdir()
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(project))
    write_variant("people", from_file(), data)
    assert set(written("people")["given_label"]) == {"bee"}


def test_a_partial_table_changes_what_it_names(
    data: PreparedData, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = train_ids(data)
    own = written_labels(data)
    other = {sample: CLASSES[(CLASSES.index(own[sample]) + 1) % 3] for sample in ids[::5]}
    write_people([*other.items(), ("x1", "cat")])
    made = write_variant("people", from_file(partial=True), data)
    check_samples("people", data)
    check_summary("people", made)
    assert written("people")["given_label"].tolist() == [other.get(sample, own[sample]) for sample in ids]
    assert made.corrupted == len(other)
    assert "people.csv: 1 of 11 samples are not in the training split" in capsys.readouterr().out


def written_labels(data: PreparedData) -> dict[str, str]:
    return dict(zip(data.samples["id"], data.samples["label"], strict=True))


@pytest.mark.parametrize("mark", ["-", "delete", "?"])
def test_samples_that_are_left_out(mark: str, data: PreparedData) -> None:
    ids, own = train_ids(data), written_labels(data)
    gone = {ids[0], ids[7], ids[45]}
    write_people([(sample, mark if sample in gone else own[sample]) for sample in ids])
    made = write_variant("people", from_file(leave_out=mark), data)
    check_summary("people", made)
    assert written("people")["id"].tolist() == [sample for sample in ids if sample not in gone]
    write_people([(sample, mark) for sample in gone])
    write_variant("same", from_file(leave_out=mark, partial=True), data)
    assert written("same").equals(written("people"))
    variant = VariantData("people", data)
    images = dict(zip(data.samples["id"], data.samples["image"], strict=True))
    assert np.array_equal(variant.read(range(43)), data.images([images[sample] for sample in variant.ids]))


def test_a_variant_of_fewer_samples_is_a_base_for_others(data: PreparedData) -> None:
    ids = train_ids(data)
    write_people([(ids[3], "-"), (ids[4], "-")])
    write_variant("people", from_file(leave_out="-", partial=True), data)
    base = "data/variants/people"
    write_variant("noisy", symmetric(0.5, base), data)
    assert summary("noisy")["corrupted"] == 22
    assert written("noisy")["id"].tolist() == written("people")["id"].tolist()
    params = TypeAdapter[VariantParams](VariantParams).validate_python(
        {"kind": "conflicting_duplicates", "labels": base, "rate": 0.25}
    )
    made = write_variant("copies", params, data)
    assert (made.samples, made.copies) == (55, 11)
    assert VariantData("copies", data).originals.max() < 44


def test_marks_that_cannot_be(data: PreparedData) -> None:
    write_people([(sample, "-") for sample in train_ids(data)])
    (said,) = problems(data, from_file(leave_out="-"))
    assert said.endswith("leave_out: people.csv leaves out every training sample: give some a label")
    (said,) = problems(data, from_file(leave_out="cat"))
    assert said.endswith("leave_out: 'cat' is the name of a class: choose another mark")


def test_ids_as_they_are_copied_from_other_programs(data: PreparedData) -> None:
    names = ["-1.png", "a/b.png", "caf\u00e9.png", "d.png"]
    labels = ["ant", "bee", "ant", "bee"]
    collected = Collected(
        names, labels, ["train"] * 4, ("ant", "bee", "\u00e9"), np.zeros((4, 1, 2, 2), np.uint8)
    )
    collected.labels[3] = "\u00e9"
    write_prepared(collected, Digits(kind="digits", root="data/raw"), Path(PREPARED))
    write_people([("'-1.png", "bee"), ("a\\b.png", "ant"), ("cafe\u0301.png ", "e\u0301")])
    write_variant("people", from_file(partial=True), PreparedData())
    assert written("people")["given_label"].tolist() == ["bee", "ant", "\u00e9", "\u00e9"]


# --- the stage ----------------------------------------------------------------------------------


def run_stage(monkeypatch: pytest.MonkeyPatch, name: str) -> object:
    """The exit status of the stage `corrupt` for a variant of a params.yaml here."""
    text = (REPOSITORY / "tests/config/files/valid/minimal.yaml").read_text(encoding="utf-8")
    noisy = (
        "variants:\n"
        "  noisy: {kind: symmetric, labels: data/prepared, rate: 0.5}\n"
        "  hardly: {kind: symmetric, labels: data/prepared, rate: 1.0e-30}\n"
        "  people: {kind: from_file, labels: people.csv, partial: true}\n"
    )
    text = text.replace("variants:\n", noisy).replace("data/raw\n", "data/raw\n  train_limit: 46\n")
    Path("params.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["corrupt", name])
    with pytest.raises(SystemExit) as end:
        stage.main()
    return end.value.code


@pytest.mark.usefixtures("data")
def test_the_stage_makes_the_variant_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stage(monkeypatch, "noisy") == 0
    assert capsys.readouterr().out == "noisy: 23 of 46 labels corrupted (50.00%)\n"
    assert summary("noisy")["corrupted"] == 23
    assert not Path("data/variants/clean").exists()


def test_the_stage_says_that_nothing_is_changed_and_that_a_class_is_empty(
    data: PreparedData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stage(monkeypatch, "hardly") == 0
    assert "hardly: a rate of 1e-30 is less than one sample: no label is changed" in capsys.readouterr().out
    bees = data.samples[(data.samples["split"] == "train") & (data.samples["label"] == "bee")]["id"]
    write_people([(sample, "ant") for sample in bees])
    assert run_stage(monkeypatch, "people") == 0
    assert "people: no sample has the given label 'bee': the network" in capsys.readouterr().out


def test_the_stage_knows_no_other_variant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stage(monkeypatch, "noizy") == 2
    said = capsys.readouterr().err
    assert (
        "variants: no variant 'noizy'; did you mean 'noisy'? (there are: noisy, hardly, people, clean)"
        in said
    )


def test_the_stage_wants_a_prepared_data_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stage(monkeypatch, "noisy") == 2
    assert "data/prepared: is not there: run `dvc repro prepare`" in capsys.readouterr().err
