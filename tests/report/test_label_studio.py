"""Tasks for Label Studio, and the decisions in what it exports."""

from __future__ import annotations

import base64
import io
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from suspected import CLASSES, GIVEN, IDS, PIXELS, VARIANT, suspects

from memtrack.config.errors import InputError
from memtrack.data.decisions import Decision, read_decisions, write_decisions
from memtrack.report.label_studio import config, exported_decisions, tasks


def made(*, url: str | None = None, **options: Any) -> list[dict[str, Any]]:
    chosen = suspects(**options)
    if url is not None:
        chosen.files = [Path("/photos") / sample for sample in IDS]
    return list(tasks(chosen, url))


def test_each_suspect_is_a_task_with_its_image_and_the_suggestion() -> None:
    first, second, _ = made()
    image = Image.open(
        io.BytesIO(base64.b64decode(first["data"]["image"].removeprefix("data:image/png;base64,")))
    )
    assert image.size == (256, 256)
    np.testing.assert_array_equal(np.asarray(image)[16::32, 16::32], PIXELS[2].transpose(1, 2, 0))
    assert first["data"]["id"] == "a/2.png"
    (prediction,) = first["predictions"]
    assert prediction["score"] == 0.9
    assert prediction["result"][0]["value"] == {"choices": [CLASSES[1]]}
    assert second["predictions"] == []
    assert made(learned=False)[2]["predictions"][0]["score"] == 0.5  # the third of four


def test_of_a_feature_vector_people_see_its_cells() -> None:
    chosen = suspects()
    vectors = np.full((4, 4, 1, 1), 127.5, dtype=np.float32)
    vectors[2, 3] = 255
    chosen.variant = SimpleNamespace(**{**vars(VARIANT), "read": lambda rows: vectors[np.asarray(rows)]})
    file = next(tasks(chosen, None))["data"]["image"].removeprefix("data:image/png;base64,")
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(file))))
    assert (image[0, 0], image[0, -1], image[-1, 0], image[-1, -1]) == (128, 128, 128, 255)


def test_images_that_label_studio_serves() -> None:
    assert [task["data"]["image"] for task in made(url="/data/local-files/?d=x/")] == [
        "/data/local-files/?d=x/a/2.png", "/data/local-files/?d=x/%3Da/0.png",
        "/data/local-files/?d=x/a/3%20%C3%BC.png",
    ]  # fmt: skip


def test_the_interface_offers_all_classes() -> None:
    root = ElementTree.fromstring(config(CLASSES))
    assert [choice.get("value") for choice in root.iter("Choice")] == [*CLASSES, "(ambiguous)", "(remove)"]
    with pytest.raises(InputError, match="is a choice of its own"):
        config(["cat", "(remove)"])


def test_the_sdk_of_label_studio_takes_them() -> None:
    sdk = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    interface = sdk.LabelInterface(config(CLASSES))
    interface.validate()
    for task in made():
        assert interface.validate_task({"data": task["data"]})
        for prediction in task["predictions"]:
            assert interface.validate_prediction(prediction, return_errors=True) == []
    wrong = made()[0]["predictions"][0]
    wrong["result"][0]["value"]["choices"] = ["cow"]
    assert interface.validate_prediction(wrong, return_errors=True) != []
    for answer in (annotated("cat"), annotated("(remove)", note="black")):
        assert interface.validate_annotation(answer)


def annotated(*choices: str, note: str = "", **more: Any) -> dict[str, Any]:
    """An annotation as Label Studio exports it."""
    result: list[dict[str, Any]] = [
        {"id": "x1", "from_name": "label", "to_name": "image", "type": "choices", "origin": "manual",
         "value": {"choices": list(choices)}}
    ]  # fmt: skip
    if note:
        result.append({"id": "x2", "from_name": "note", "to_name": "image", "type": "textarea",
                       "value": {"text": [note]}})  # fmt: skip
    return {
        "id": 7, "completed_by": 1, "result": result, "was_cancelled": False, "ground_truth": False,
        "created_at": "2026-03-01T09:30:00.000000Z", "updated_at": "2026-03-01T09:31:00.000000Z",
        "lead_time": 2.5, "prediction": {}, "result_count": 1, **more,
    }  # fmt: skip


def exported(*found: tuple[int, Sequence[dict[str, Any]]], **data: Any) -> Path:
    """What Label Studio exports: the samples by their rows, with annotations; task 101 is that of row 0."""
    content = [
        {"id": 101 + row, "annotations": list(annotations), "predictions": [], "meta": {}, "project": 3,
         "data": {"image": "data:", "id": IDS[row], "given_label": CLASSES[GIVEN[row]], **data}}
        for row, annotations in found
    ]  # fmt: skip
    path = Path("project.json")
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_decisions_are_read_back() -> None:
    skipped = annotated("eel", was_cancelled=True)
    person = {"id": 5, "email": "ada@example.org"}
    path = exported(
        (0, [annotated("cat", note="a rare breed"), skipped]),
        (1, [annotated("eel", completed_by=person, created_at="2026-03-02", updated_at=None)]),
        (2, [annotated("(ambiguous)"), annotated("(ambiguous)", completed_by=2, created_at="2027")]),
        (3, [skipped]),
    )
    when = "2026-03-01T09:31:00.000000Z"
    found = exported_decisions(path, VARIANT)
    assert found == {
        IDS[0]: Decision("keep", "", "a rare breed", "1", when),
        IDS[1]: Decision("relabel", "eel", "", "ada@example.org", "2026-03-02"),
        IDS[2]: Decision("ambiguous", "", "", "2", when),
    }
    table = Path("decisions/noisy.csv")
    write_decisions(table, VARIANT, found)
    assert read_decisions(table, VARIANT) == found
    assert table.read_text().splitlines()[:2] == [
        "id,given_label,decision,label,note,by,when", f"'=a/0.png,cat,keep,,a rare breed,1,{when}",
    ]  # fmt: skip


def test_a_table_of_no_person_has_no_columns_for_one() -> None:
    write_decisions(Path("d.csv"), VARIANT, {IDS[1]: Decision("remove")})
    assert Path("d.csv").read_text() == 'id,given_label,decision,label,note\na/1.png,"<d""&og>",remove,,\n'
    write_decisions(Path("d.csv"), VARIANT, {})
    assert read_decisions(Path("d.csv"), VARIANT) == {}


@pytest.mark.parametrize(
    ("annotations", "data", "said"),
    [
        ([annotated("cow")], {}, "task 101: 'cow' is not among the classes"),
        ([annotated("cat")], {"id": "b/9.png"}, "task 101: noisy has no sample 'b/9.png'"),
        ([annotated("cat")], {"given_label": "eel"}, "task 101: '=a/0.png' was shown with the label 'eel'"),
        ([annotated("cat", "eel")], {}, "task 101: 2 labels are chosen in annotation 7: choose one"),
        ([annotated("cat"), annotated("eel")], {}, "the annotations of '=a/0.png' differ (cat, eel)"),
        ([{"result": [{"from_name": "label", "value": {}}]}], {}, "task 101: is not as in the format JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused_with_its_task(
    annotations: list[dict[str, Any]], data: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        exported_decisions(exported((0, annotations), **data), VARIANT)
    assert said in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    path = exported((0, [annotated("cow")]), (1, [annotated("eel")]), (1, [annotated("cat")]))
    with pytest.raises(InputError) as caught:
        exported_decisions(path, VARIANT)
    assert [str(problem).partition(": task ")[2][:3] for problem in caught.value.problems] == ["101", "102"]
    assert "is in another task, too" in str(caught.value)


@pytest.mark.parametrize("text", ["{}", "[1]", "no JSON", '[{"image": "x", "label": "cat", "id": 3}]'])
def test_other_files_are_refused(text: str) -> None:
    Path("x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json"):
        exported_decisions(Path("x.json"), VARIANT)
    with pytest.raises(InputError, match="no such file"):
        exported_decisions(Path("y.json"), VARIANT)
