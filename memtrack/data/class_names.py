"""The names of classes: how a label becomes one, and which are refused as being nearly surely mistakes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from memtrack.config.errors import InputError, Problem
from memtrack.config.sections.data import Cells, DataParams, ImageFolder, NamedByPeople, Rows, Table
from memtrack.data.sources.collected import Collected
from memtrack.data.tables import composed

MISSING = {"", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nil", "nat", "?", "-"}
"""Labels that other programs write where there is none."""
NUMBER = re.compile(r"([+-]?\d+)\.0+")
"""A whole number, as it is written where the column may hold fractions."""
DECIMAL = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
SEVERAL = ";|,"
"""Signs that people write between several labels of a sample."""
HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Line breaks and other control characters: no table, picture or terminal shows them as they are."""


def names_of_labels(cells: Iterable[Any]) -> list[str]:
    """The names of the classes of a column of labels, whichever source it comes from; '' for a missing label.

    Whole numbers have no point, whether the column holds integers, floats or text (1.0 is "1"), and truth
    values are "True" and "False", as pandas writes them. Other text stays as it is, also in a column of text
    where some labels are no whole numbers with a point: the versions 1.0 and 1.5, for example.
    """
    found = [label_text(cell) for cell in cells]
    if all(NUMBER.fullmatch(name) for name in found if name):
        return [without_point(name) for name in found]
    return found


def without_point(label: str) -> str:
    """A label; a whole number without the .0 that programs write where a column may hold fractions."""
    found = NUMBER.fullmatch(label)
    return found[1] if found else label


def label_text(cell: Any) -> str:
    """A label as text; '' if it is missing. See `names_of_labels`."""
    if cell is None or cell != cell:  # NaN
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def check_names(collected: Collected, params: DataParams) -> None:
    """Look at the names of the classes and samples of a source.

    Raises:
        InputError: if a name has a line break or another control character; or, unless data.similar_classes
            is keep or data.classes lists the classes, if classes differ by case, blanks or Unicode form
            alone, or if those that are no folders look like missing labels, fractions or lists of labels; or
            if ids differ by outer blanks or Unicode form alone.
    """
    root = Path(params.root)
    problems = [
        Problem(root, message=f"the {what} {name!a} has a line break or a control character: rename it")
        for what, names in (("class", collected.classes), ("sample", collected.ids))
        for name in names
        if HIDDEN.search(name)
    ]
    chosen = isinstance(params, Table) and params.classes is not None
    if isinstance(params, NamedByPeople) and params.similar_classes == "refuse" and not chosen:
        for text in _mistakes(collected.labels, cells=not isinstance(params, ImageFolder)):
            problems += params.mistake("similar_classes", message=text).problems
    if isinstance(params, Rows | Cells) and params.id_column is not None:
        problems += [Problem(root, message=text) for text in _same_in_a_table(collected.ids)]
    if problems:
        raise InputError(problems)


def _same_in_a_table(ids: Sequence[str]) -> Iterator[str]:
    """Which ids a table of labels could confuse: other programs change blanks and Unicode forms."""
    known: dict[str, str] = {}
    for sample in ids:
        other = known.setdefault(composed(sample).strip(), sample)
        if other != sample:
            yield (
                f"the ids {other!a} and {sample!a} differ by outer blanks or Unicode form alone, which other "
                "programs change: rename one, or remove data.id_column to take the numbers of the rows"
            )


def _mistakes(labels: list[str], *, cells: bool) -> list[str]:
    """`cells`: the labels are those of a table or an array, which may lack some; a folder has a name."""
    counts = Counter(labels)
    groups: dict[str, list[str]] = {}
    for name in sorted(counts):
        groups.setdefault(_folded(name), []).append(name)
    found = [
        f"these classes look like the same one: {', '.join(f'{name!r} ({counts[name]})' for name in names)}. "
        "Give them one name (the table and the folders may differ in case, blanks or Unicode form), or write "
        "similar_classes: keep"
        for names in groups.values()
        if len(names) > 1
    ]
    if not cells:
        return found
    missing = MISSING if len(counts) == 2 else {*MISSING, "-1"}  # two classes may be -1 and 1
    found += [
        f"the class {name!r} ({counts[name]} samples) looks like a missing label: give these samples a label "
        "or leave them out, or write similar_classes: keep"
        for name in sorted(counts)
        if _folded(name) in missing
    ]
    if text := no_classes(labels):
        found.append(f"{text}. If they are classes, write similar_classes: keep")
    return found


def class_problems(
    path: Path, classes: Sequence[str], labels: Sequence[str], splits: Sequence[str] | None
) -> list[Problem]:
    """What is wrong with the classes of a table of samples: there is one, or one has no training row.

    Args:
        splits: the split of each row; None: all rows may be for training.
    """
    trained = set(labels) if splits is None else {
        label for label, split in zip(labels, splits, strict=True) if split == "train"
    }  # fmt: skip
    problems = []
    if len(classes) < 2:
        text = f"has one class ({', '.join(classes)}): at least two are needed"
        problems.append(Problem(path, message=text))
    alike = {_folded(name): name for name in sorted(trained)}
    for name in (name for name in classes if name not in trained):
        text = f"an empty class: no training row has the label {name!r}"
        other = alike.get(_folded(name))
        text += ": add some" if other is None else f", which looks like {other!r}: give both one name"
        problems.append(Problem(path, message=text))
    return problems


def no_classes(labels: Sequence[str]) -> str:
    """Why the labels (N,) in a table or an array are nearly surely no classes; '' if they may be."""
    counts = Counter(labels)
    numbers = [name for name in sorted(counts) if DECIMAL.match(name)]
    fractions = [name for name in numbers if not float(name).is_integer()]
    if fractions and len(numbers) == len(counts):
        return (
            f"the labels are numbers, and {fractions[0]!r} is no whole one: labels are classes, and "
            "regression is not supported"
        )
    for separator in SEVERAL:
        joined = {name: [part.strip() for part in name.split(separator)] for name in counts}
        several = [name for name in sorted(counts) if separator in name]
        if 2 * sum(counts[name] for name in several) > len(labels) and _recur(joined, several):
            return (
                f"more than half of the labels are lists of labels, such as {several[0]!r}: memtrack is for "
                "one label a sample"
            )
    return ""


def _recur(joined: Mapping[str, Sequence[str]], several: Sequence[str]) -> bool:
    """Whether names are lists of labels, and not names with a comma in them: most lists have only parts that
    other names have too, and some part is at different places. The parts of "cat, tabby" are at one place.

    Args:
        joined: the parts of each name. several: the names with two parts or more.
    """
    within = Counter(part for parts in joined.values() for part in set(parts))
    recurring = sum(all(within[part] > 1 for part in joined[name]) for name in several)
    places = {(part, place) for parts in joined.values() for place, part in enumerate(parts)}
    return 2 * recurring > len(several) and len(places) > len(within)


def _folded(name: str) -> str:
    """The name without the differences that are easily overlooked: case, outer and repeated blanks,
    characters without width, Unicode form, and the .0 that pandas gives numbers beside missing ones."""
    composed = unicodedata.normalize("NFKC", name)
    visible = "".join(letter for letter in composed if unicodedata.category(letter) != "Cf")
    return without_point(" ".join(visible.casefold().split()))
