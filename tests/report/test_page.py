"""The page of a variant: its content against the tables, and what it makes of what is missing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from reviewed import CLASSES, reviewed
from sklearn.metrics import roc_auc_score

from memtrack.config.errors import InputError
from memtrack.config.sections.report import ReportParams
from memtrack.core.recording.trajectory import InMemoryTrajectory
from memtrack.report.page import content as page_content
from memtrack.report.page import overview as page_overview
from memtrack.report.page import results as page_results
from memtrack.report.page.page import embedded, page
from memtrack.report.page.results import Results
from memtrack.report.page.sentences import Learning, neighbour_sentence
from memtrack.report.page.sprites import sprites

SHAPE = (1, 8, 8)


def content(results: Results, **options: int) -> dict[str, Any]:
    """The content as the page gets it."""
    made = page_content.content(results, ReportParams(**options), SHAPE)
    return json.loads(embedded(made))


def numbers(text: str, kind: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_most_suspect_samples_are_shown_with_what_the_tables_have() -> None:
    results = reviewed()
    found = content(results, samples=20)
    table = results.scores.sort_values("suspicion_rank").head(20)
    shown = found["shown"]
    assert found["samples"] == 60
    assert shown["ids"] == table["id"].tolist()
    given, suggested = (numbers(shown[name], "<i4") for name in ("given", "suggested"))
    assert [CLASSES[number] for number in given] == table["given_label"].tolist()
    names = ["" if number < 0 else CLASSES[number] for number in suggested]
    assert names == table["suggested_label"].tolist()
    for place, name in enumerate(("suspicion", "csl")):
        assert found["scores"][place]["key"] == name
        np.testing.assert_array_equal(numbers(shown["ranks"][place], "<i4"), table[f"{name}_rank"])
        np.testing.assert_allclose(numbers(shown["scores"][place], "<f4"), table[name], rtol=1e-6)
    kinds = table["kind"].mask(
        table["id"].isin(results.variant.ids[:2]), "conflicting"
    )  # they have one image
    assert [found["kinds"][number] for number in numbers(shown["kind"], "u1")] == kinds.tolist()
    for name in ("mislabelled", "suggested_probability"):
        np.testing.assert_allclose(numbers(shown[name], "<f4"), table[name], rtol=1e-6)
    epochs = [results.trajectory.load("margin", epoch)[table.index] for epoch in (2, 4, 6)]
    np.testing.assert_array_equal(numbers(shown["margin"], "<f4").reshape(20, 3), np.transpose(epochs))


def test_what_a_sample_seems_to_be_fits_its_probability() -> None:
    results = reviewed()
    voted = np.flatnonzero(results.scores["kind"] == "mislabelled")[2:4]
    results.scores.loc[voted, "mislabelled"] = [0.5, 0.51]
    shown = content(results)["shown"]
    kinds = dict(zip(shown["ids"], numbers(shown["kind"], "u1"), strict=True))
    said = [page_content.KINDS[kinds[name]] for name in results.scores["id"][voted]]
    assert said == ["outvoted", "mislabelled"]


def test_neighbours_are_the_nearest_three() -> None:
    results = reviewed()
    found = content(results, samples=20)
    ids = [*found["shown"]["ids"], *found["others"]["ids"]]
    assert len(ids) == len(set(ids))
    neighbours = numbers(found["shown"]["neighbours"], "<i4").reshape(20, 3)
    for sample, near in zip(found["shown"]["ids"], neighbours, strict=True):
        row = results.variant.row[sample]
        assert [results.variant.row[ids[number]] for number in near] == [
            (row + step) % 60 for step in (3, 6, 9)
        ]
    given = [results.variant.given[results.variant.row[sample]] for sample in found["others"]["ids"]]
    assert numbers(found["others"]["given"], "<i4").tolist() == given


def test_plots_and_tables_agree_with_numpy_and_scikit_learn() -> None:
    results = reviewed()
    found, wrong, scores = content(results), results.variant.corrupted, results.scores
    assert [row["title"] for row in found["aurocs"]] == ["suspicion", "cumulative loss (CSL)"]
    assert found["aurocs"][1]["auroc"] == pytest.approx(roc_auc_score(wrong, scores["csl"]))
    first, last = found["roc"][0]["x"][0], found["roc"][0]["y"][-1]
    assert (first, last) == (0, 1)
    curves = {
        "best possible": [10, 12],
        "suspicion": [9, 12],
        "cumulative loss (CSL)": [9, 12],
        "random": [2, 12],
    }
    assert found["review"] == {"looked_at": [10, 60], "found": curves}
    groups = found["histogram"]["groups"]
    assert [(one["name"], sum(one["counts"])) for one in groups] == [("not corrupted", 48), ("corrupted", 12)]
    edges = np.array(found["histogram"]["edges"])
    assert groups[1]["counts"] == np.histogram(scores["suspicion"][wrong], edges)[0].tolist()
    curvature = results.trajectory.load("curvature", 4)[wrong]
    assert found["curvature"][1]["middle"][1] == pytest.approx(np.median(curvature))
    pairs = {(CLASSES[given], CLASSES[other]): count for given, other, count in found["confusion"]["pairs"]}
    assert pairs == scores[wrong].groupby(["given_label", "suggested_label"]).size().to_dict()
    assert found["usual"]["margin"][0] == pytest.approx(np.median(results.trajectory.load("margin", 2)))


def test_what_was_found_is_said() -> None:
    text = " ".join(content(reviewed())["found"])
    for part in ("60 training samples in 3 classes; 12 labels are known to be corrupted.",
                 "Test accuracy 75.0%.", "Suspicion finds the corrupted samples best: AUROC",
                 "About 12 labels are wrong [10, 14]",
                 "1 of 1 groups have different labels."):  # fmt: skip
        assert part in text


def test_where_no_label_is_known_to_be_corrupted() -> None:
    found = content(reviewed(known=False))
    assert (found["aurocs"], found["roc"], found["shown"]["clean"]) == ([], [], None)
    assert [one["name"] for one in found["curvature"]] == ["not suspected", "suspected"]
    assert "No label is known to be corrupted: there are scores, but no AUROC." in found["found"]


def test_without_probabilities_the_first_twentieth_is_suspected() -> None:
    found = content(reviewed(known=False, learned=False))
    assert found["shown"]["mislabelled"] is None
    assert found["confusion"]["among"] == "the 3 most suspect samples (5%)"
    assert [one["samples"] for one in found["curvature"]] == [57, 3]
    assert any("no probabilities were learned" in line.lower() for line in found["found"])


def test_where_nobody_looked_for_duplicates() -> None:
    found = content(reviewed(duplicates=False))
    assert found["shown"]["group"] is None
    assert 3 not in numbers(found["shown"]["kind"], "u1")
    assert "Nobody has looked for duplicates yet." in found["found"]


def test_what_else_is_wrong() -> None:
    results = reviewed()
    found = content(results)
    assert [(one["title"], one["train"], one["test"]) for one in found["issues"]] == [
        ("in the test split", 1, 2),
        ("in the test split under another label", 1, 0),
        ("dark", 1, 4),
    ]
    has = {
        one["title"]: numbers(found["shown"]["issues"], "<u2") >> one["bit"] & 1 for one in found["issues"]
    }
    place = {sample: number for number, sample in enumerate(found["shown"]["ids"])}
    first, second = (place[results.variant.ids[row]] for row in (2, 3))
    assert {title: np.flatnonzero(flags).tolist() for title, flags in has.items()} == {
        "in the test split": [second], "in the test split under another label": [first], "dark": [first],
    }  # fmt: skip
    others, number = found["others"], numbers(found["shown"]["leak"], "<i4")
    assert [others["ids"][number[sample] - 60] for sample in (first, second)] == ["test 0", "test 1"]
    given = numbers(others["given"], "<i4")
    assert [CLASSES[given[number[sample] - 60]] for sample in (first, second)] == results.images.labels[60:]
    assert (np.delete(number, [first, second]) == -1).all()
    assert found["shown"]["why"][second].startswith("Same image as test 1 of the test split")
    assert any("80% of the images are low in information" in line for line in found["found"])


def test_measured_memorization() -> None:
    results = reviewed()
    found = content(results)
    rows = [results.variant.row[sample] for sample in found["shown"]["ids"]]
    assert results.memorization is not None
    np.testing.assert_allclose(
        numbers(found["shown"]["memorization"], "<f4"), results.memorization[rows], rtol=1e-6
    )
    assert content(reviewed(memorization=False))["shown"]["memorization"] is None


def test_where_nobody_looked_what_else_is_wrong() -> None:
    found = content(reviewed(quality=False))
    assert found["issues"] == []
    assert (found["shown"]["issues"], found["shown"]["leak"]) == (None, None)


def test_scores_that_are_not_known() -> None:
    score = np.where(np.arange(60) < 10, np.nan, 0.5)
    found = content(reviewed(csl=score, suspicion=score))
    assert np.isnan(numbers(found["shown"]["scores"][1], "<f4")).sum() == 10
    assert sum(sum(one["counts"]) for one in found["histogram"]["groups"]) == 50


def test_one_score_one_epoch_and_hardly_any_neighbours() -> None:
    results = reviewed(epochs=(1,))
    few = Results(**{**vars(results), "neighbours": np.full((60, 1), -1)})
    found = content(few)
    assert set(numbers(found["shown"]["neighbours"], "<i4")) == {-1}
    assert found["epochs"] == [1]


def test_long_trajectories_are_thinned() -> None:
    epochs = content(reviewed(epochs=range(1, 101)))["epochs"]
    assert len(epochs) == page_content.EPOCHS
    assert (epochs[0], epochs[-1]) == (1, 100)


def test_many_classes_are_listed_in_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_overview, "CLASSES", 2)
    monkeypatch.setattr(page_overview, "PAIRS", 2)
    confusion = content(reviewed())["confusion"]
    assert not confusion["matrix"]
    assert len(confusion["pairs"]) == 2


def test_marks_belong_to_the_images_and_the_labels() -> None:
    one, other = reviewed(), reviewed()
    assert content(one)["storage"] == content(other)["storage"]
    other.variant.causes["labels"] = "3"
    assert content(one)["storage"] != content(other)["storage"]


def test_no_name_breaks_out_of_the_page() -> None:
    names = ["</script><script>", "<!--", "&amp;", "\u2028\u2029", "é", "\ud800"]
    text = embedded({"names": names})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"names": names}
    html = page(page_content.content(reviewed(), ReportParams(), SHAPE))
    assert html.count("<script") == html.count("</script>") == 2
    assert "alert(1)</script>" not in html


def test_the_page_loads_nothing_and_runs_its_own_script_alone() -> None:
    html = page(page_content.content(reviewed(), ReportParams(), SHAPE))
    script = html.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert (
        f"default-src 'none'; img-src blob: data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
        in html
    )
    assert set(re.findall(r"https?://[^\s\"']+", html)) == {"http://www.w3.org/2000/svg"}
    assert "{{" not in html


class TestSentences:
    """Why a sample is suspect."""

    epochs = (1, 2, 3, 4)
    names = ("cat", "dog", "eel")

    def said(self, *predicted: int, others: int = 0) -> str:
        """Of a sample labelled dog, beside 19 that are learned in epoch 1."""
        rows = np.array([list(predicted)] + [[1] * 4] * 19).T
        arrays = {"predicted": dict(zip(self.epochs, rows.astype(np.int32), strict=True))}
        learning = Learning(InMemoryTrajectory(arrays), np.ones(20, dtype=np.int64))
        return learning.sentence(0, 1, rows[:, 0], self.names)

    @pytest.mark.parametrize(
        ("predicted", "said"),
        [
            ((2, 2, 0, 2), "Its label was never learned: in 3 of 4 recorded epochs the network says eel."),
            ((1, 1, 2, 2), "Its label was learned and lost again; at the end the network says eel."),
            ((0, 1, 1, 1), "Its label was learned late, at epoch 2, after 95% of the others."),
            ((0, 0, 0, 1), "Its label was learned late, at epoch 4: "
                           "in 3 of 4 recorded epochs the network says cat."),
            ((1, 1, 1, 1), ""),
        ],
    )  # fmt: skip
    def test_how_a_label_was_learned(self, predicted: tuple[int, ...], said: str) -> None:
        assert self.said(*predicted) == said

    def test_what_the_neighbours_are_labelled(self) -> None:
        labels = np.array([2, 2, 1])
        assert neighbour_sentence(labels, 1, self.names) == "2 of its 3 nearest neighbours are labelled eel."
        assert neighbour_sentence(labels, 2, self.names) == "2 of its 3 nearest neighbours have its label."
        assert neighbour_sentence(labels[:0], 1, self.names) == ""

    def test_duplicates_under_other_labels(self) -> None:
        results = reviewed()
        results.variant.given[1] = 0
        assert results.duplicates is not None
        found = content(results)
        why = dict(zip(found["shown"]["ids"], found["shown"]["why"], strict=True))
        first, second, third = results.variant.ids[:3]
        assert why[first].startswith(f"Same image as {second}, which is labelled cat.")
        results.duplicates.loc[1, "id"] = third
        found = content(results)
        why = dict(zip(found["shown"]["ids"], found["shown"]["why"], strict=True))
        assert why[first].startswith(f"Nearly the same image as {third}, which is labelled {CLASSES[2]}.")


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_are_kept_as_they_are(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1100, channels, 8, 8), dtype=np.uint8)
    found = sprites(lambda rows: images[np.asarray(rows)], list(range(1100))[::-1], (channels, 8, 8), 48)
    assert (found.width, found.height, len(found.sheets)) == (8, 8, 2)
    for number in (0, 40, 1023, 1024, 1099):
        sheet = Image.open(io.BytesIO(base64.b64decode(found.sheets[number // 1024])))
        row, column = divmod(number % 1024, 32)
        pixels = np.asarray(sheet)[row * found.down :, column * found.across :][:8, :8]
        expected = np.broadcast_to(images[1099 - number], (3, 8, 8)).transpose(1, 2, 0)
        np.testing.assert_array_equal(pixels, expected)


def test_large_images_become_small() -> None:
    image = np.zeros((1, 3, 100, 200), dtype=np.uint8)
    image[:, 0, :, 100:] = 255  # the right half is red
    found = sprites(lambda rows: image, [0], (3, 100, 200), 50)
    assert (found.width, found.height, found.across, found.down) == (50, 25, 64, 32)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(found.sheets[0]))))
    assert pixels[12, 5].max() < 20
    assert pixels[12, 45, 0] > 230


@pytest.mark.parametrize(
    "text", ["id,group\na,1\n", "id,group,conflicting\nz,1,True\n", "id,group,conflicting\na,x,True\n"]
)
def test_duplicates_of_other_samples_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "duplicates.csv"
    path.write_text(text)
    variant: Any = SimpleNamespace(name="noisy", row={"a": 0})
    with pytest.raises(InputError, match="run `dvc repro duplicates@noisy`"):
        page_results._duplicates(path, variant)


def test_issues_are_read_as_they_are_written_and_those_of_other_samples_are_refused(tmp_path: Path) -> None:
    path, images = tmp_path / "issues.csv", SimpleNamespace(ids=["=a", "b", "=a"], first_test=2)
    head = "id,split,label,issue,value,other_id,other_label\n"
    path.write_text(head + "'=a,train,x,leak,0,'=a,x\n'=a,test,x,dark,0.1,,\nb,train,y,dark,0.2,,\n")
    found = page_results._issues(path, "noisy", images)  # type: ignore[arg-type]
    assert found.to_numpy().tolist() == [["leak", 0, 2], ["dark", 2, -1], ["dark", 1, -1]]
    for line in ("z,train,x,dark,0,,", "b,train,x,odd,0,,", "b,train,x,leak,0,b,x", "b,other,x,dark,0,,"):
        path.write_text(f"{head}{line}\n")
        with pytest.raises(InputError, match="run `dvc repro quality@noisy`"):
            page_results._issues(path, "noisy", images)  # type: ignore[arg-type]


def test_curves_that_are_not_there_are_said(tmp_path: Path) -> None:
    variant: Any = SimpleNamespace(name="noisy")
    with pytest.raises(
        InputError, match=r"roc\.csv: is not there, or is damaged: run `dvc repro evaluate@noisy`"
    ):
        page_results._curves(tmp_path / "roc.csv", variant)


def test_duplicates_are_read_as_they_are_named(tmp_path: Path) -> None:
    path = tmp_path / "duplicates.csv"
    path.write_text("group,conflicting,id\n1,True,'=a\n1,True,b\n2,False,c\n")
    variant: Any = SimpleNamespace(name="noisy", row={"=a": 0, "b": 1, "c": 2})
    found = page_results._duplicates(path, variant)
    assert found["id"].tolist() == ["=a", "b", "c"]
    assert found["conflicting"].tolist() == [True, True, False]


def test_what_people_read_of_samples_that_are_no_images() -> None:
    columns = ["a", "b"]
    found = content(reviewed(columns=columns), samples=20)
    rows = [reviewed().variant.row.get(one) for one in [*found["shown"]["ids"], *found["others"]["ids"]]]
    known = [[f"{name} of <b>{row}</b>" for name in columns] for row in rows if row is not None]
    assert [row for row, at in zip(found["words"]["rows"], rows, strict=True) if at is not None] == known
    assert (found["words"]["columns"], found["words"]["left"]) == (columns, 0)
    many = content(reviewed(columns=[f"{number}{'x' * 900}" for number in range(120)]))["words"]
    assert (len(many["columns"]), many["left"], len(many["rows"][0])) == (100, 20, 100)
    assert {len(cell) for row in many["rows"] for cell in row} == {max(60, 5_000_000 // (62 * 100))}
    assert content(reviewed())["words"] is None


def test_suspects_of_the_test_split_come_last() -> None:
    results = reviewed(tests=True)
    found = content(results, samples=20)
    shown = found["shown"]
    assert (found["trains"], found["tests"]) == (20, 2)
    assert shown["ids"][20:] == ["test 1", "test 0"]
    assert shown["ids"][:20] == content(reviewed(), samples=20)["shown"]["ids"]
    given = [CLASSES[number] for number in numbers(shown["given"], "<i4")[20:]]
    assert given == results.images.labels[61:59:-1]
    assert numbers(shown["ranks"][0], "<i4")[20:].tolist() == [1, 2]
    np.testing.assert_allclose(numbers(shown["scores"][0], "<f4")[20:], [0.8, 0.2])
    assert np.isnan(numbers(shown["scores"][1], "<f4")[20:]).all()
    margins = numbers(shown["margin"], "<f4").reshape(22, 3)
    assert margins[20:].tolist() == [[-1.5] * 3, [0.5] * 3]
    assert found["usual_test"] == [-0.5] * 3
    assert np.isnan(numbers(shown["curvature"], "<f4").reshape(22, 3)[20:]).all()
    ids = [*shown["ids"], *found["others"]["ids"]]
    near = numbers(shown["neighbours"], "<i4").reshape(22, 3)[20]
    assert [ids[number] for number in near] == [results.variant.ids[row] for row in (3, 4, 5)]
    leak = numbers(shown["leak"], "<i4")
    assert {shown["ids"][number] for number in leak[leak >= 0]} <= {"test 0", "test 1"}
    wrong = CLASSES[(results.variant.given[3] + 1) % 3]
    assert shown["why"][20].startswith(f"In 3 of 3 recorded epochs the network says {wrong}. ")
    assert "nearest neighbours" in shown["why"][20]
    assert len(found["sprites"]["sheets"]) == 1
