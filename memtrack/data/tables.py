"""Tables of people: those that they give (CSV or Parquet), and those in results/ that they read."""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from memtrack.config.errors import InputError, Problem
from memtrack.config.validation import nearest

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars (|)"}
CSV = (".csv", ".tsv")
PARQUET = ".parquet"
NO_LABEL = "the label is missing: give it one, or leave the row out"
DAMAGED = "is damaged, or no Parquet file: copy or save it again"
MARKS = {  # UTF-32 first: its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}
"""The byte order mark of each encoding that is read."""
OTHER_FILES = {b"PK\x03\x04": "an Excel workbook or a zip file", b"\xd0\xcf\x11\xe0": "an old Excel workbook",
               b"PAR1": "a Parquet file", b"\x1f\x8b": "a compressed file"}  # fmt: skip

FORMULAS = frozenset("=+-@\t\r'\uff1d\uff0b\uff0d\uff20")  # the last four: the signs in full width
"""A spreadsheet takes text that begins with one of these as a formula. The apostrophe is among them so that
`unguarded` gives every text back."""


csv.field_size_limit(2**31 - 1)  # a caption or an encoded image may be long


def read_table(path: Path) -> pd.DataFrame:
    """All columns as text, empty cells as ''; the index is the line in a CSV file or the row in Parquet.

    A CSV file is in UTF-8, or in UTF-16 or UTF-32. Its cells are separated by commas, semicolons, tabs or
    bars: by what gives each line as many cells as the header, or as a first line `sep=;` of Excel says.

    Raises:
        InputError: if the table cannot be read, or a line has more or fewer cells than the header.
    """
    if path.exists() and not path.is_file():  # to read a named pipe would take for ever
        what = "a folder" if path.is_dir() else "a named pipe or a device"
        raise InputError([Problem(path, message=f"is {what}: expected a .csv, .tsv or .parquet file")])
    try:
        if path.suffix.lower() == PARQUET:
            _refuse_twice(path, pq.read_schema(path).names)
            table = pd.read_parquet(path, dtype_backend="numpy_nullable")  # otherwise 1 beside null is 1.0
            return table.reset_index(drop=True).map(_text)
        if path.suffix.lower() in CSV:
            return _read_csv(path)
    except FileNotFoundError:
        raise InputError([Problem(path, message="no such file")]) from None
    except OSError as error:
        text = f"cannot be read: {error.strerror}" if error.strerror else DAMAGED
        raise InputError([Problem(path, message=text)]) from None
    except (ValueError, pa.ArrowException):
        raise InputError([Problem(path, message=DAMAGED)]) from None
    raise InputError([Problem(path, message="expected a .csv, .tsv or .parquet file")])


def _refuse_twice(path: Path, names: Sequence[str]) -> None:
    """pandas reads no Parquet file in which two columns have the same name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        text = "{} columns are named {!r}: rename all but one"
        problems = [Problem(path, message=text.format(names.count(name), name)) for name in twice]
        raise InputError(problems)


def _read_csv(path: Path) -> pd.DataFrame:
    text = _decoded(path, path.read_bytes())
    first, _, rest = text.partition("\n")
    told = first.strip().lower()
    if (told.startswith("sep=") and len(told) == 5) or told == "sep=":  # the tab of "sep=\t" is stripped
        tables = [_Cells(path, rest, told[4:] or "\t", skipped=1)]
    else:
        header = text.lstrip("\r\n").partition("\n")[0]
        possible = [separator for separator in SEPARATORS if separator in header]
        tables = [_Cells(path, text, separator) for separator in possible or [","]]
        split = [table for table in tables if len(table.header) > 1]
        fitting = [table for table in split if not table.problems]
        tables = fitting or sorted(split, key=lambda table: -len(table.header)) or tables[:1]
        if len(fitting) > 1:
            names = " or ".join(SEPARATORS[table.separator] for table in fitting)
            raise InputError([Problem(path, 1, message=f"the cells can be separated by {names}: use commas")])
    table = tables[0]
    if table.problems and not table.header:
        raise InputError(table.problems)
    if not table.header:
        raise InputError([Problem(path, 1, message="is empty: expected a line of column names")])
    if table.problems:
        raise InputError(table.problems)
    return pd.DataFrame.from_dict(table.rows, orient="index", columns=table.header, dtype=str)


class _Cells:
    """The cells of a CSV file under one separator: the header, the rows by line, and what does not fit."""

    def __init__(self, path: Path, text: str, separator: str, skipped: int = 0) -> None:
        self.separator = separator
        self.header: list[str] = []
        self.rows: dict[int, list[str]] = {}
        self.problems: list[Problem] = []
        blanks = all(cell.startswith(" ") for cell in text.partition("\n")[0].split(separator)[1:])
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=blanks
        )
        last = skipped
        try:
            for row in reader:
                if not self.header and row:
                    self.header = row
                elif any(row):  # a blank line is no row; spreadsheets leave lines of empty cells
                    self.rows[last + 1] = row
                    if len(row) != len(self.header):
                        text = f"{len(row)} cells, but the header has {len(self.header)}: put a cell with "
                        text += f"{SEPARATORS[separator]} in it into quotes, or add or remove cells"
                        self.problems.append(Problem(path, last + 1, message=text))
                last = skipped + reader.line_num
        except csv.Error:
            text = "a quote that begins in this line is not closed, or text follows a closing quote"
            self.problems.append(Problem(path, last + 1, message=text))


def _decoded(path: Path, raw: bytes) -> str:
    for start, what in OTHER_FILES.items():
        if raw.startswith(start):
            raise InputError([Problem(path, message=f"is {what}, not a CSV file: save it as CSV (UTF-8)")])
    mark = next((mark for mark in MARKS if raw.startswith(mark)), b"")
    encoding = MARKS.get(mark, "utf-8")
    if not mark and raw[:1000].count(b"\0") > len(raw[:1000]) / 4:  # UTF-16: a byte of each ASCII letter is 0
        encoding = "utf-16-be" if raw[:1] == b"\0" else "utf-16-le"
    content = raw[len(mark) :]
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        text = f"byte {content[error.start]:#04x} does not fit the encoding {encoding.upper()}: "
        raise InputError([Problem(path, line, message=f"{text}save the table as CSV in UTF-8")]) from None
    if "\0" in text:
        raise InputError([Problem(path, message="is no text: save the table as CSV in UTF-8")])
    return text


def required_columns(table: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Raise an `InputError` that names each column that is missing or there twice, and the existing ones."""
    have = [str(name) for name in table.columns]
    problems = [
        Problem(
            path,
            1,
            message=f"no column {name!r}{nearest(name, have)} (there are: {', '.join(have)})"
            if name not in have
            else f"{have.count(name)} columns are named {name!r}: rename all but one",
        )
        for name in dict.fromkeys(columns)
        if have.count(name) != 1
    ]
    if problems:
        raise InputError(problems)
    if path.suffix.lower() == PARQUET:
        schema = pq.read_schema(path)
        nested = [name for name in columns if pa.types.is_nested(schema.field(name).type)]
        if nested:
            raise InputError([
                Problem(path, message=f"the cells of the column {name!r} are lists or structures "
                        f"({schema.field(name).type}): expected one text or number a cell")
                for name in nested
            ])  # fmt: skip


def row_name(path: Path, row: int) -> str:
    """How to find a row of the index: its line in a CSV file, its number in a Parquet file."""
    return f"line {row}" if path.suffix.lower() in CSV else f"row {row}"


def spellings(text: str) -> Iterator[str]:
    """What the cell of a path or an id may mean: itself, the same without outer blanks, with / for the
    backslash of Windows, and unguarded, as it is copied from a table in results/."""
    for plain in dict.fromkeys((text, text.strip())):
        yield plain
        yield plain.replace("\\", "/")
        yield unguarded(plain)


def finder(names: Collection[str]) -> Callable[[str], str | None]:
    """Finds the name that a cell means, in any of its `spellings` and either Unicode form, or None."""
    known = {composed(name): name for name in names} | {name: name for name in names}

    def find(text: str) -> str | None:
        forms = (form for way in spellings(text) for form in (way, composed(way)))
        return next((known[form] for form in forms if form in known), None)

    return find


def composed(text: str) -> str:
    """One Unicode form (NFC) for all names: macOS writes e and its accent as two characters."""
    return unicodedata.normalize("NFC", text)


def guarded(text: str) -> str:
    """The text, with an apostrophe before it if a spreadsheet would take it as a formula.

    Source: OWASP, CSV Injection.
    """
    return f"'{text}" if text[:1] in FORMULAS else text


def unguarded(text: str) -> str:
    """The text that `guarded` was given."""
    return text.removeprefix("'")


def _text(cell: object) -> str:
    if isinstance(cell, bytes):
        return cell.decode(errors="replace")  # a column of images, for example, which nobody asks for
    return str(cell) if not pd.api.types.is_scalar(cell) or pd.notna(cell) else ""  # type: ignore[call-overload]
