"""Tables of people are read whatever program wrote them, or refused with what they are."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pytest

from memtrack.config.errors import InputError
from memtrack.data.tables import FORMULAS, guarded, read_table, required_columns, unguarded

ROWS = [["path", "label"], ["a.png", "cat"], ["b, c.png", "dög"], ["d.png", ""]]


def table(content: bytes, name: str = "labels.csv") -> Path:
    path = Path(name)
    path.write_bytes(content)
    return path


def problem(content: bytes, name: str = "labels.csv") -> str:
    with pytest.raises(InputError) as caught:
        read_table(table(content, name))
    return str(caught.value)


def cells(path: Path) -> list[list[str]]:
    found = read_table(path)
    return [found.columns.tolist(), *found.to_numpy().tolist()]


def text(separator: str, end: str = "\n") -> str:
    """The rows, every cell in quotes."""
    return "".join(separator.join(f'"{cell}"' for cell in row) + end for row in ROWS)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_and_line_ends(separator: str, end: str) -> None:
    assert cells(table(text(separator, end).encode())) == ROWS
    assert cells(table(text(separator, end).encode(), "labels.tsv")) == ROWS


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
def test_encodings(encoding: str) -> None:
    path = table(text(";", "\r\n").encode(encoding))
    assert cells(path) == ROWS
    assert read_table(path).index.tolist() == [2, 3, 4]


@pytest.mark.parametrize("separator", [",", ";", "\t", "#"])
def test_the_separator_that_excel_names_in_the_first_line(separator: str) -> None:
    path = table(f"sep={separator}\r\n{text(separator, chr(13) + chr(10))}".encode())
    assert cells(path) == ROWS
    assert read_table(path).index.tolist() == [3, 4, 5]


def test_a_comma_in_a_cell_between_semicolons() -> None:
    assert cells(table(b"path;label;note\na;cat;1,5\nb;dog;2,5\n"))[1] == ["a", "cat", "1,5"]
    assert cells(table(b"path;label;a, b\na;cat;x\n"))[0] == ["path", "label", "a, b"]


def test_blanks_after_every_separator() -> None:
    assert cells(table(b"path, label, split\na, cat, train\n")) == [
        ["path", "label", "split"],
        ["a", "cat", "train"],
    ]
    assert cells(table(b"path,label\na, cat\n"))[1] == ["a", " cat"]


def test_columns_that_nobody_asks_for_may_hold_anything() -> None:
    frame = pd.DataFrame(
        {"path": ["a"], "png": [b"\x89PNG"], "vector": [[0.5, 1.0]], "long": ["x" * 200_000]}
    )
    frame.to_parquet("labels.parquet")
    assert read_table(Path("labels.parquet"))["path"].tolist() == ["a"]
    frame[["path", "long"]].to_csv("labels.csv", index=False)
    assert read_table(Path("labels.csv"))["path"].tolist() == ["a"]


def test_lists_in_a_column_of_parquet() -> None:
    frame = pd.DataFrame({"path": ["a", "b"], "label": [["cat", "dog"], ["cat"]], "other": [[1], [2]]})
    frame.to_parquet("labels.parquet")
    table = read_table(Path("labels.parquet"))
    required_columns(table, ["path"], Path("labels.parquet"))
    with pytest.raises(InputError, match=r"the cells of the column 'label' are lists .*: expected one text"):
        required_columns(table, ["path", "label"], Path("labels.parquet"))


def test_numbers_beside_missing_ones_in_parquet() -> None:
    frame = pd.DataFrame({"a": [1, None], "b": [b"cat", b"dog"], "c": ["x", None]})
    frame.astype({"a": "Int64"}).to_parquet("labels.parquet")
    assert cells(Path("labels.parquet"))[1:] == [["1", "cat", "x"], ["", "dog", ""]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b;c\n1,2;3\n", ":1: the cells can be separated by commas or semicolons: use commas"),
        (b"a,b\n1,2\n3;4\n", ":3: 1 cells, but the header has 2"),
        (b"a;b;c\n1;2;3\n3,4\n", ":3: 1 cells, but the header has 3"),
        (b'a,b\n1,2\n3,"4\n5,6\n', ":3: a quote that begins in this line is not closed"),
        (b'a,b\n1,"2"x\n', ":2: a quote that begins in this line is not closed, or text follows"),
        ("a,b\n1,é\n".encode("cp1252"), ":2: byte 0xe9 does not fit the encoding UTF-8"),
        ("a,b\n1,2\n".encode("utf-16")[:-1], ":2: byte 0x0a does not fit the encoding UTF-16-LE"),
        (b"PK\x03\x04...", ": is an Excel workbook or a zip file, not a CSV file: save it as CSV"),
        (b"PAR1...", ": is a Parquet file, not a CSV file"),
        (b"a,b\n" + b"x,y\n" * 500 + b"\0,1\n", ": is no text: save the table as CSV in UTF-8"),
        (b"a,b\n\0,1\n", ": is no text: save the table as CSV in UTF-8"),
        (b'a,"b"c\n1,2\n', ":1: a quote that begins in this line is not closed, or text follows"),
    ],
)
def test_tables_that_are_in_doubt(content: bytes, expected: str) -> None:
    assert problem(content).startswith(f"labels.csv{expected}")


def test_lines_of_empty_cells_are_no_rows() -> None:
    """A spreadsheet leaves them at the end."""
    assert cells(table(b"a,b\n1,2\n,\n3,\n,\n"))[1:] == [["1", "2"], ["3", ""]]


def test_a_column_named_twice() -> None:
    path = table(b"path,label,label,note,note\na,b,c,d,e\n")
    with pytest.raises(InputError, match=r"labels\.csv:1: 2 columns are named 'label': rename all but one"):
        required_columns(read_table(path), ["path", "label"], path)
    required_columns(read_table(path), ["path"], path)


# --- tables for people --------------------------------------------------------------------------

DRAWN = [
    "".join(random.Random(seed).choices("=+-@\t\r'\"ab,;1 \uff1dé", k=random.Random(seed).randrange(6)))
    for seed in range(300)
]


def test_no_text_is_a_formula_and_every_text_comes_back() -> None:
    for cell in DRAWN:
        assert unguarded(guarded(cell)) == cell
        assert guarded(cell)[:1] not in FORMULAS - {"'"}
        assert guarded(cell) in (cell, "'" + cell)
    assert guarded("cat/1.png") == "cat/1.png"
    assert guarded("=1+1") == "'=1+1"
