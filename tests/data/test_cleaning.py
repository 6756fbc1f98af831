"""Labels that are mended: by a person's decisions, or by the probability that they are wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from placed import placed

from memtrack.config.errors import InputError
from memtrack.config.json_files import write_json
from memtrack.config.sections.clean import Cleaning, CleanParams
from memtrack.config.sections.data import Digits
from memtrack.config.sections.variants import ConflictingDuplicates, FromFile, NoNoise, PixelNoise, Symmetric
from memtrack.data.cleaning import (
    LEFT_OUT,
    check_cleanable,
    cleaned_labels,
    cleaning_counts,
    decided_by_probability,
    read_cleaned,
    weights_after,
    write_cleaned,
)
from memtrack.data.corruption import write_variant
from memtrack.data.decisions import Decision, read_decisions
from memtrack.data.manifest import write_manifest
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import Collected
from memtrack.data.variants import VariantData
from memtrack.report.metrics import SuspectsMetrics
from memtrack.report.sample_tables import write_csv
from memtrack.runs.benefit import label_sets
from memtrack.stages import clean as stage

CLASSES = ("ant", "bee", "=cat")
FOLDER = Path("results/clean/noisy")
Write = Callable[..., Path]


@pytest.fixture
def data() -> PreparedData:
    """Twelve training samples, whose ids a spreadsheet and a Mac would change, and three test samples."""
    ids = [f"caf\u00e9/{i}.png" for i in range(11)] + ["=1+1.png", "x0", "x1", "x2"]
    labels = [CLASSES[i % 3] for i in range(len(ids))]
    images = np.random.default_rng(0).integers(0, 256, (len(ids), 1, 2, 2), dtype=np.uint8)
    collected = Collected(ids, labels, ["train"] * 12 + ["test"] * 3, CLASSES, images)
    write_prepared(collected, Digits(kind="digits", root="data/raw", train_limit=None), Path("data/prepared"))
    return PreparedData()


@pytest.fixture
def noisy(data: PreparedData) -> VariantData:
    params = Symmetric(kind="symmetric", labels="data/prepared", rate=0.25, seed=1)
    write_variant("noisy", params, data)
    return VariantData("noisy", data)


def cleaning(**keys: Any) -> Cleaning:
    return placed(Cleaning(**{"decisions": "decisions.csv", **keys}), "clean", "variants", "noisy")


def written(*rows: str, header: str = "id,decision,label") -> Path:
    path = Path("decisions.csv")
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def name(variant: VariantData, row: int) -> str:
    return variant.summary.classes[variant.given[row]]


def other(variant: VariantData, row: int) -> str:
    return next(label for label in CLASSES if label != name(variant, row))


def test_who_decided_and_when_is_in_the_record(noisy: VariantData) -> None:
    header = "id,when,decision,by,note,mood"
    path = written(
        "x0,today,keep,=me,a\tb,good".replace("x0", noisy.ids[0]), f"{noisy.ids[1]},,keep,,,", header=header
    )
    decisions = read_decisions(path, noisy)
    assert decisions[noisy.ids[0]] == Decision("keep", "", "a\tb", "=me", "today")
    write_cleaned(FOLDER, noisy, decisions, cleaned_labels(noisy, decisions, cleaning()))
    changes = pd.read_csv(FOLDER / "changes.csv", dtype=str, keep_default_na=False)
    assert changes[["by", "when"]].to_numpy().tolist() == [["'=me", "today"], ["", ""]]


def test_what_a_person_decides_is_what_a_variant_trains_on(data: PreparedData, noisy: VariantData) -> None:
    label = other(noisy, 0)
    path = written(
        f"cafe\u0301/0.png,Relabel,{label}",  # as a Mac writes it
        "caf\u00e9\\1.png,remove,",  # as Windows does
        "'=1+1.png,keep,",  # as it is guarded in results/
        "caf\u00e9/2.png,ambiguous,",
    )
    decisions = read_decisions(path, noisy)
    assert list(decisions) == [noisy.ids[0], noisy.ids[1], "=1+1.png", noisy.ids[2]]
    labels = cleaned_labels(noisy, decisions, cleaning())
    expected = noisy.given.copy()
    expected[0], expected[1] = CLASSES.index(label), -1
    np.testing.assert_array_equal(labels, expected)
    write_cleaned(FOLDER, noisy, decisions, labels)
    np.testing.assert_array_equal(read_cleaned(FOLDER, noisy)[0], expected)
    assert (read_cleaned(FOLDER, noisy)[1] == 1).all()
    changes = pd.read_csv(FOLDER / "changes.csv", dtype=str, keep_default_na=False)
    assert changes["decision"].tolist() == ["relabel", "remove", "keep", "ambiguous"]
    assert changes["id"].tolist()[2] == "'=1+1.png"

    params = FromFile(kind="from_file", labels=str(FOLDER / "labels.csv"), leave_out=LEFT_OUT)
    write_variant("mended", params, data)
    mended = VariantData("mended", data)
    assert mended.ids == [*noisy.ids[:1], *noisy.ids[2:]]
    np.testing.assert_array_equal(mended.given, np.delete(expected, 1))


def test_ambiguous_samples_go_if_asked_to(noisy: VariantData) -> None:
    decisions = read_decisions(written(f"{noisy.ids[2]},ambiguous,"), noisy)
    assert cleaned_labels(noisy, decisions, cleaning(ambiguous="remove"))[2] == -1


def test_ambiguous_samples_may_weigh_less(data: PreparedData, noisy: VariantData) -> None:
    decisions = read_decisions(written(f"{noisy.ids[2]},ambiguous,", f"{noisy.ids[3]},remove,"), noisy)
    options = cleaning(ambiguous="weight", weight=0.25)
    labels, weights = cleaned_labels(noisy, decisions, options), weights_after(noisy, decisions, options)
    expected = np.where(np.arange(12) == 2, 0.25, 1)
    np.testing.assert_array_equal(weights, expected)
    np.testing.assert_array_equal(labels, np.where(np.arange(12) == 3, -1, noisy.given))
    counts = cleaning_counts(noisy, decisions, labels, weights)
    assert (counts["relabelled"], counts["removed"], counts["weighted"]) == (0, 1, 1)
    write_cleaned(FOLDER, noisy, decisions, labels, weights=weights)
    np.testing.assert_array_equal(read_cleaned(FOLDER, noisy)[1], expected)
    assert pd.read_csv(FOLDER / "changes.csv")["weight"].tolist() == [0.25, 1]
    source = str(FOLDER / "labels.csv")
    params = FromFile(kind="from_file", labels=source, leave_out=LEFT_OUT, weight_column="weight")
    write_variant("mended", params, data)
    mended = VariantData("mended", data)
    assert mended.weights is not None
    np.testing.assert_array_equal(mended.weights, np.delete(expected, 3))
    sets = label_sets(noisy, labels, 0, weights)
    assert sets["cleaned"].weights is not None
    np.testing.assert_array_equal(sets["cleaned"].weights, mended.weights)
    assert len(sets["random"].ids) == 10
    assert sets["cleaned"].causes != label_sets(noisy, labels, 0)["cleaned"].causes
    for name in ("given", "random", "true"):
        assert sets[name].weights is None
    again = label_sets(mended, mended.given, 0)  # of a variant that has weights already
    assert again["cleaned"].weights is not None
    assert again["random"].weights is not None
    assert len(again["random"].ids) == 11


def test_whole_numbers_as_pandas_writes_them_beside_empty_cells() -> None:
    images = np.zeros((4, 1, 2, 2), dtype=np.uint8)
    collected = Collected(list("abcd"), list("1212"), None, ("1", "2"), images)
    write_prepared(collected, Digits(kind="digits", root="x", test_share=0.5), Path("data/prepared"))
    write_variant("plain", NoNoise(kind="none", labels="data/prepared"), PreparedData())
    plain = VariantData("plain", PreparedData())
    row = [name(plain, number) for number in range(2)].index("1")
    path = written(f"{plain.ids[row]},1.0,relabel,2.0", header="id,given_label,decision,label")
    assert read_decisions(path, plain) == {plain.ids[row]: Decision("relabel", "2")}


@pytest.mark.parametrize("twice", ["decision", "note"])
def test_a_column_that_is_there_twice(twice: str, noisy: VariantData) -> None:
    path = written(f"{noisy.ids[0]},keep,,", header=f"id,decision,{twice},{twice}")
    with pytest.raises(InputError, match=rf"columns are named '{twice}': rename all but one"):
        read_decisions(path, noisy)


def test_columns_of_the_page_are_checked_and_kept(noisy: VariantData) -> None:
    header = "id,given_label,decision,label,note"
    path = written(f'{noisy.ids[0]},{name(noisy, 0)},keep,,"sure, it is"', header=header)
    assert read_decisions(path, noisy) == {noisy.ids[0]: Decision("keep", "", "sure, it is")}
    path = written(f"{noisy.ids[0]},{other(noisy, 0)},keep,,", header=header)
    with pytest.raises(InputError, match=r"line 2: was decided about the label .*, but it is .* now"):
        read_decisions(path, noisy)


def test_every_row_that_cannot_be_followed_is_named(noisy: VariantData) -> None:
    sample = noisy.ids
    path = written(
        "nobody.png,keep,",
        f"{sample[0]},keep,",
        f"{sample[0]},remove,",
        f"{sample[1]},kepe,",
        f"{sample[2]},relabel,bea",
        f"{sample[3]},relabel,{name(noisy, 3)}",
        f"{sample[4]},remove,ant",
        f"{sample[5]},relabel,",
    )
    with pytest.raises(InputError) as caught:
        read_decisions(path, noisy)
    said = [str(problem) for problem in caught.value.problems]
    expected = [
        "line 2: noisy has no sample 'nobody.png'",
        f"line 4: the id {sample[0]!r} appears twice",
        "line 5: 'kepe' is not a decision; did you mean 'keep'? (keep, relabel, ambiguous, remove)",
        "line 6: 'bea' is not among the classes; did you mean 'bee'?",
        f"line 7: {name(noisy, 3)!r} is its label already: write keep",
        "line 8: remove takes no label, but there is 'ant'",
        "line 9: '' is not among the classes",
    ]
    assert len(said) == len(expected)
    for line, part in zip(said, expected, strict=True):
        assert line.startswith("decisions.csv: ")
        assert part in line


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("id,label", "no column 'decision'"),
        ("id,decision", "no column 'label'"),
        ("decision,label", "no column 'id'"),
    ],
)
def test_columns_that_are_missing(noisy: VariantData, header: str, message: str) -> None:
    row = f"{noisy.ids[0]},relabel" if header == "id,decision" else "relabel,ant"
    with pytest.raises(InputError, match=message):
        read_decisions(written(row, header=header), noisy)


def test_by_probability(noisy: VariantData) -> None:
    probability = np.where(noisy.corrupted, 0.9, 0.1)
    right = [CLASSES[number] for number in noisy.clean]
    decisions = decided_by_probability(noisy, probability, right, cleaning())
    assert set(decisions) == {noisy.ids[row] for row in np.flatnonzero(noisy.corrupted)}
    labels = cleaned_labels(noisy, decisions, cleaning())
    np.testing.assert_array_equal(labels, noisy.clean)
    ones = np.ones(12)
    assert cleaning_counts(noisy, decisions, labels, ones) == {
        "samples": 12, "decided": 3, "relabelled": 3, "removed": 0, "weighted": 0,
        "wrong_before": 3, "wrong_after": 0, "right_lost": 0,
    }  # fmt: skip
    options = cleaning(then="remove", above=0.05)
    decisions = decided_by_probability(noisy, probability, right, options)
    with pytest.raises(InputError, match="removes every sample"):
        cleaned_labels(noisy, decisions, options)
    probability[:5] = 0.01
    decisions = decided_by_probability(noisy, probability, right, options)
    labels = cleaned_labels(noisy, decisions, options)
    np.testing.assert_array_equal(labels, np.where(np.arange(12) < 5, noisy.given, -1))
    counts = cleaning_counts(noisy, decisions, labels, ones)
    assert counts["wrong_after"] == int(noisy.corrupted[:5].sum())
    assert counts["right_lost"] == int((~noisy.corrupted[5:]).sum())
    options = cleaning(then="weight")
    decisions = decided_by_probability(noisy, np.where(noisy.corrupted, 0.9, 0.1), right, options)
    np.testing.assert_array_equal(cleaned_labels(noisy, decisions, options), noisy.given)
    np.testing.assert_allclose(weights_after(noisy, decisions, options), np.where(noisy.corrupted, 0.1, 1))


def test_what_a_table_of_labels_cannot_hold(data: PreparedData) -> None:
    copies = ConflictingDuplicates(kind="conflicting_duplicates", labels="data/prepared", rate=0.5)
    pixels = PixelNoise(kind="pixels", labels="data/prepared", how="random")
    for params, message in ((copies, "has copies"), (pixels, "has changed pixels")):
        write_variant("odd", params, data)
        with pytest.raises(InputError, match=f"clean.variants.noisy: odd {message}"):
            check_cleanable(VariantData("odd", data), cleaning())


def test_a_table_of_another_variant_is_refused(data: PreparedData, noisy: VariantData) -> None:
    write_cleaned(FOLDER, noisy, {}, noisy.given)
    table = (FOLDER / "labels.csv").read_text()
    (FOLDER / "labels.csv").write_text(table.replace(noisy.ids[3], "another"))
    with pytest.raises(InputError, match=r"run `dvc repro clean@noisy`"):
        read_cleaned(FOLDER, noisy)
    for weight in ("-1", "nan", "much"):
        rows = [*table.splitlines()]
        lines = [f"{rows[0]},weight", *(f"{row},1" for row in rows[1:-1]), f"{rows[-1]},{weight}"]
        (FOLDER / "labels.csv").write_text("\n".join(lines))
        with pytest.raises(InputError, match=r"the weight should be a number from 0 to 1"):
            read_cleaned(FOLDER, noisy)
    write_variant("plain", NoNoise(kind="none", labels="data/prepared"), data)
    (FOLDER / "labels.csv").write_text(table.replace(",ant", ",dog"))
    with pytest.raises(InputError, match=r"run `dvc repro clean@plain`"):
        read_cleaned(FOLDER, VariantData("plain", data))


def test_random_samples_are_not_those_that_the_noise_has_drawn(data: PreparedData) -> None:
    """Also where all seeds are the same one."""
    gone = []
    for seed in range(40):
        params = Symmetric(kind="symmetric", labels="data/prepared", rate=0.25, seed=seed)
        write_variant("noisy", params, data)
        noisy = VariantData("noisy", data)
        sets = label_sets(noisy, noisy.clean, seed)
        assert {name: len(labels.ids) for name, labels in sets.items()} == {
            "given": 12, "cleaned": 12, "random": 9, "true": 12,
        }  # fmt: skip
        np.testing.assert_array_equal(sets["cleaned"].given, noisy.clean)
        stay = [noisy.row[sample] for sample in sets["random"].ids]
        np.testing.assert_array_equal(sets["random"].given, noisy.given[stay])
        gone.append(3 - int(noisy.corrupted[stay].sum()))
    assert np.mean(gone) == pytest.approx(3 * 3 / 12, abs=0.35)  # the standard error is 0.11


def test_only_some_samples(noisy: VariantData) -> None:
    rows, labels = np.array([1, 4, 7]), np.array([2, 0, 1])
    some = noisy.only(rows, labels)
    assert some.ids == [noisy.ids[row] for row in rows]
    assert some.row == {noisy.ids[1]: 0, noisy.ids[4]: 1, noisy.ids[7]: 2}
    np.testing.assert_array_equal(some.given, labels)
    np.testing.assert_array_equal(some.clean, noisy.given[rows])
    np.testing.assert_array_equal(some.read([0, 2]), noisy.read([1, 7]))
    assert some.causes != noisy.causes
    assert some.causes != noisy.only(rows, labels[::-1].copy()).causes
    assert len(noisy.ids) == 12


@pytest.mark.parametrize("recovered", [0.74, 0.81, None])
def test_doubtful_probabilities_are_refused(
    recovered: float | None,
    noisy: VariantData,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path("results/suspects/noisy")
    folder.mkdir(parents=True)
    table = pd.DataFrame({"id": noisy.ids, "mislabelled": 0.9 * noisy.corrupted})
    table["suggested_label"] = [other(noisy, row) for row in range(len(noisy.ids))]
    write_csv(table, folder / "suspects.csv")
    numbers = SuspectsMetrics(wrong=3, wrong_low=1, wrong_high=5, called=3, recovered=recovered)
    write_json(numbers, folder / "metrics.json")
    write_manifest(folder, {}, {name: folder / name for name in ("suspects.csv", "metrics.json")})
    monkeypatch.setattr(stage, "suspects_causes", lambda *_: {})

    def decided(**keys: Any) -> dict[str, Decision]:
        options = cleaning(decisions="results/suspects/noisy/suspects.csv", **keys)
        params: Any = SimpleNamespace(clean=CleanParams(variants={"noisy": options}))
        return stage._decisions(params, noisy, {})

    wrong = {sample for sample, bad in zip(noisy.ids, noisy.corrupted, strict=True) if bad}
    if recovered != 0.74:
        assert decided().keys() == wrong
        return
    with pytest.raises(
        InputError, match=r"suggested for 74% of the flipped .* or write `use` to take"
    ) as caught:
        decided()
    assert caught.value.problems[0].loc[-1] == "doubtful"
    assert decided(doubtful="use").keys() == wrong
    assert "are doubtful, and used all the same" in capsys.readouterr().out
    write_json(numbers.model_copy(update={"recovered": 0.9}), folder / "metrics.json")  # edited by hand
    with pytest.raises(
        InputError, match=r"metrics.json: is damaged or was changed: run `dvc repro suspects@noisy`"
    ):
        decided()
