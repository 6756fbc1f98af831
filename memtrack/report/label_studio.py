"""Suspects as tasks of Label Studio, and the decisions in what it exports.

Source: the format of Label Studio's tasks, predictions and JSON export, as label-studio-sdk 2.1 checks it.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from PIL import Image

from memtrack.config.errors import InputError, Problem
from memtrack.config.validation import nearest
from memtrack.core.images.pixels import Pixels
from memtrack.core.scores.suspicion import OUTVOTED, shown_kind
from memtrack.data.decisions import Decision
from memtrack.data.decoding import as_picture
from memtrack.data.tables import finder
from memtrack.data.variants import VariantData
from memtrack.report.exported import Suspect, Suspects

AMBIGUOUS, REMOVE = "(ambiguous)", "(remove)"
"""The choices beside the classes."""
SHOWN = 256
"""Smaller images are enlarged to about this side, in pixels, by whole factors."""
CHUNK = 512


def config(classes: Sequence[str]) -> str:
    """The labelling interface of a project, in XML.

    Raises:
        InputError: if a class is called like one of the other choices.
    """
    if taken := {AMBIGUOUS, REMOVE} & set(classes):
        text = f"a class is called {taken.pop()!r}, which is a choice of its own in Label Studio: rename it"
        raise InputError([Problem(Path("params.yaml"), loc=("data",), message=text)])
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in (*classes, AMBIGUOUS, REMOVE))
    return f"""<View>
  <Image name="image" value="$image" zoom="true"/>
  <Text name="about" value="$about"/>
  <Choices name="label" toName="image" choice="single" showInline="true" required="true">
{choices}
  </Choices>
  <TextArea name="note" toName="image" maxSubmissions="1" placeholder="note"/>
</View>
"""


def tasks(suspects: Suspects, url: str | None) -> Iterator[dict[str, Any]]:
    """A task for each suspect, with the suggested label as a prediction.

    Args:
        url: what goes before the path of an image file, as the source names it; None: the images are in the
            tasks.
    """
    chosen = list(suspects)
    for start in range(0, len(chosen), CHUNK):
        part = chosen[start : start + CHUNK]
        if url is None or suspects.files is None:
            images = [_embedded(image) for image in suspects.variant.read([one.row for one in part])]
        else:
            images = [url + quote(suspects.variant.images[one.row]) for one in part]
        for suspect, image in zip(part, images, strict=True):
            yield _task(suspect, image, suspects.variant)


def _task(suspect: Suspect, image: str, variant: VariantData) -> dict[str, Any]:
    score = 1 - (suspect.rank - 1) / len(variant.ids) if suspect.mislabelled is None else suspect.mislabelled
    about = f"#{suspect.rank} {suspect.id}: given {suspect.given}"
    if suspect.suggested:
        about += f", suggested {suspect.suggested}"
    kind = shown_kind(suspect.kind, suspect.mislabelled)
    if kind:
        about += ", another label has more votes" if kind == OUTVOTED else f", seems {kind}"
    choice = {"from_name": "label", "to_name": "image", "type": "choices"}
    predicted = {**choice, "value": {"choices": [suspect.suggested]}}
    prediction = {"model_version": f"memtrack {variant.name}", "score": score, "result": [predicted]}
    return {
        "data": {
            "image": image,
            "about": about,
            "id": suspect.id,
            "given_label": suspect.given,
            "suggested_label": suspect.suggested,
            "rank": suspect.rank,
        },
        "predictions": [prediction] if suspect.suggested else [],
    }


def _embedded(image: Pixels) -> str:
    """The image as a PNG file in an address."""
    drawn = as_picture(image)
    by = max(1, SHOWN // max(drawn.size))
    file = io.BytesIO()
    drawn.resize((drawn.width * by, drawn.height * by), Image.Resampling.NEAREST).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def exported_decisions(path: Path, variant: VariantData) -> dict[str, Decision]:
    """The decisions in a file that Label Studio exported as JSON, by sample.

    The given label is kept; another one relabels. Tasks without an annotation, and annotations that were
    skipped, are no decisions.

    Raises:
        InputError: with the task of every sample or label that is not known, that was given another label in
            the meantime, or about which people disagree.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError([Problem(path, message="no such file")]) from None
    except (OSError, ValueError) as error:
        raise InputError([Problem(path, message=f"cannot be read as JSON: {error}")]) from None
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise InputError([Problem(path, message="is no list of tasks: export the project as JSON")])
    given = dict(zip(variant.ids, (variant.summary.classes[number] for number in variant.given), strict=True))
    find = finder(variant.ids)
    found: dict[str, Decision] = {}
    problems: list[Problem] = []
    for place, task in enumerate(content, start=1):
        name = f"task {task.get('id', f'number {place}')}"
        try:
            sample, decision = _decided(cast(dict[str, Any], task), given, find, variant)
            if sample in found and decision is not None:
                raise ValueError(f"{sample!r} is in another task, too: leave one of the two annotations")
        except ValueError as error:
            problems.append(Problem(path, message=f"{name}: {error}"))
        except (KeyError, TypeError, IndexError, AttributeError):
            text = "is not as in the format JSON (not JSON-MIN) of a project with the tasks of memtrack"
            problems.append(Problem(path, message=f"{name}: {text}"))
        else:
            if decision is not None:
                found[sample] = decision
    if problems:
        raise InputError(problems)
    return found


def _decided(
    task: dict[str, Any], given: dict[str, str], find: Any, variant: VariantData
) -> tuple[str, Decision | None]:
    """The sample of a task, and what was decided; None if nobody has decided."""
    data, name = task["data"], str(task["data"]["id"])
    sample = find(name)
    if sample is None:
        raise ValueError(f"{variant.name} has no sample {name!r} (ids look like {variant.ids[0]!r})")
    before = data.get("given_label", given[sample])
    if before != given[sample]:
        text = f"{sample!r} was shown with the label {before!r}, but it is {given[sample]!r} now"
        raise ValueError(f"{text}: look at the sample again")
    made = [one for one in task["annotations"] if not one.get("was_cancelled")]
    made.sort(key=lambda one: str(one.get("created_at") or ""))
    if not made:
        return sample, None
    choices = [_choice(one, variant.summary.classes) for one in made]
    if len(set(choices)) > 1:
        raise ValueError(f"the annotations of {sample!r} differ ({', '.join(choices)}): leave one of them")
    person = made[-1].get("completed_by") or ""
    by = str(person.get("email") or person.get("id") or "") if isinstance(person, dict) else str(person)
    when = str(made[-1].get("updated_at") or made[-1].get("created_at") or "")
    return sample, _decision(choices[0], given[sample], _note(made[-1]), by, when)


def _decision(choice: str, given: str, note: str, by: str, when: str) -> Decision:
    if choice == AMBIGUOUS:
        return Decision("ambiguous", "", note, by, when)
    if choice == REMOVE:
        return Decision("remove", "", note, by, when)
    if choice == given:
        return Decision("keep", "", note, by, when)
    return Decision("relabel", choice, note, by, when)


def _choice(annotation: dict[str, Any], classes: Sequence[str]) -> str:
    """The only choice of an annotation."""
    chosen: list[str] = [
        choice
        for result in annotation["result"]
        if result.get("from_name") == "label"
        for choice in result["value"]["choices"]
    ]
    if len(chosen) != 1:
        raise ValueError(f"{len(chosen)} labels are chosen in annotation {annotation.get('id')}: choose one")
    if chosen[0] not in (*classes, AMBIGUOUS, REMOVE):
        text = f"{chosen[0]!r} is not among the classes{nearest(chosen[0], classes)} ({', '.join(classes)})"
        raise ValueError(text)
    return chosen[0]


def _note(annotation: dict[str, Any]) -> str:
    texts = [result["value"]["text"] for result in annotation["result"] if result.get("from_name") == "note"]
    return " ".join(" ".join(text) if isinstance(text, list) else str(text) for text in texts)
