"""`memtrack evaluate`: tables, pictures and the page of a recorded loop."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pages import run_here
from sklearn.metrics import roc_auc_score
from torch import nn

from memtrack.cli.main import main
from memtrack.integrations.recorder import Recorder
from memtrack.report import figures
from memtrack.report.evaluation import Evaluation

COUNT, CLASSES = 120, ["cat", "dog", "owl"]
WRONG = np.arange(COUNT) % 10 == 0


def labels() -> torch.Tensor:
    clean = torch.arange(COUNT) % 3
    return torch.where(torch.from_numpy(WRONG), (clean + 1) % 3, clean)


def recorded(folder: Path, *, images: bool = True, **options: Any) -> Path:
    """Two epochs of a loop on images with a bright row that tells the class."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(COUNT, 1, 6, 6, generator=draw)
    inputs[torch.arange(COUNT), 0, torch.arange(COUNT) % 3] += 3
    if not images:
        inputs = inputs.flatten(1)
    recorder = Recorder((inputs, labels()), folder, classes=CLASSES, batch_size=40, **options)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(2):
        for _ in range(20):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels()).backward()
            optimizer.step()
        recorder.after_epoch(model)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("loop") / "mine")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "corrupted.csv"
    rows = np.random.default_rng(0).permutation(COUNT)
    pd.DataFrame({"id": rows, "corrupted": WRONG[rows].astype(int)}).to_csv(path, index=False)
    return path


def run(*arguments: object, status: int = 0) -> None:
    with pytest.raises(SystemExit) as end:
        main(["evaluate", *map(str, arguments)])
    assert end.value.code == status


PICTURES = {"curvature.png", "histograms.png", "highest_suspicion.png", "highest_curvature.png"}


class TestKnown:
    @pytest.fixture(scope="class")
    @staticmethod
    def evaluation(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        known = tmp_path_factory.mktemp("known") / "known.csv"
        clean = np.array(CLASSES)[np.arange(COUNT) % 3]
        pd.DataFrame({"id": range(COUNT), "clean_label": clean, "corrupted": WRONG}).to_csv(
            known, index=False
        )
        paths = {"recorded": str(folder), "wrong_csv": str(known)}
        assert run_here("memtrack evaluate recorded --corrupted", "docs/own_loop.md", **paths) == 0
        return folder / "evaluation"

    def test_auroc_is_that_of_scikit_learn(self, evaluation: Path) -> None:
        scores = pd.read_csv(evaluation / "scores.csv").set_index("id").loc[range(COUNT)]
        found = json.loads((evaluation / "metrics.json").read_text())
        assert found["corrupted"] == WRONG.sum()
        assert found["test_accuracy"] is None
        assert len(found["scores"]) > 15
        for name, judged in found["scores"].items():
            assert judged["auroc"] == pytest.approx(roc_auc_score(WRONG, scores[name]))

    def test_the_table_is_ranked(self, evaluation: Path) -> None:
        scores = pd.read_csv(evaluation / "scores.csv", keep_default_na=False)
        assert scores["suspicion_rank"].tolist() == list(range(1, COUNT + 1))
        by_id = scores.set_index("id").loc[range(COUNT)]
        assert by_id["given_label"].tolist() == [CLASSES[label] for label in labels()]
        assert by_id["clean_label"].tolist() == [CLASSES[row % 3] for row in range(COUNT)]
        assert by_id["corrupted"].tolist() == WRONG.astype(int).tolist()

    def test_files(self, evaluation: Path) -> None:
        assert {path.name for path in (evaluation / "pictures").iterdir()} == {
            *PICTURES,
            "roc.png",
            "review.png",
        }
        tables = {"scores.csv", "differences.csv", "classes.csv", "roc.csv", "review.csv"}
        assert tables <= {path.name for path in evaluation.iterdir()}
        assert "stage" not in embedded(evaluation / "index.html")["found"]


def embedded(page: Path) -> dict[str, Any]:
    """The data in the page."""
    text = page.read_text().partition('type="application/json" id="data">')[2].partition("</script>")[0]
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture that takes longest is an empty file."""
    monkeypatch.setattr(figures, "histograms", lambda *found: found[-1].touch())


@pytest.mark.usefixtures("quick")
def test_nothing_is_known(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out/pictures").mkdir(parents=True)
    more = ["--to", tmp_path / "out"]
    assert run_here("memtrack evaluate", "docs/own_loop.md", more=more, recorded=str(folder)) == 0
    assert "no label is known to be corrupted: there are scores, but no AUROC" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out/pictures").iterdir()} == PICTURES
    assert not any("stage" in line for line in embedded(tmp_path / "out/index.html")["found"])


@pytest.mark.usefixtures("quick")
def test_without_images_and_neighbours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = recorded(tmp_path / "vectors", images=False, neighbours=False)
    (vectors / "evaluation/pictures").mkdir(parents=True)
    (vectors / "evaluation/index.html").write_text("an old page")
    assert run_here("memtrack evaluate", "README.md", FOLDER=str(vectors)) == 0
    assert "there is no page: the samples are no images" in capsys.readouterr().out
    assert not (vectors / "evaluation/index.html").exists()
    assert pd.read_csv(vectors / "evaluation/scores.csv")["curvature_rank"].is_monotonic_increasing


class TestMistakes:
    def test_another_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run(tmp_path, status=2)
        assert "is not the folder of a recorder" in capsys.readouterr().err

    def test_no_epoch(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Recorder((torch.rand(4, 3), torch.arange(4)), tmp_path / "new")
        run(tmp_path / "new", status=2)
        assert "no epoch was recorded" in capsys.readouterr().err

    def test_damaged(self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        copied = shutil.copytree(folder, tmp_path / "copied")
        (copied / "samples/labels.npy").write_bytes(b"")
        run(copied, status=2)
        assert "labels.npy: is damaged or was changed" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("id,", "name,", "has no column id"),
            ("\n57,0", "", "1 samples are missing, such as '57'"),
            ("\n57,0", "\n57,0\n57,0", "the id '57' is there twice"),
            ("\n57,0", "\n570,0", "no sample has the id '570'"),
            ("\n57,0", "\n57,maybe", "corrupted is 'maybe': it should be 1 or 0"),
        ],
    )
    def test_the_table(
        self, old: str, new: str, message: str, folder: Path, table: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        table.write_text(table.read_text().replace(old, new))
        run(folder, "--corrupted", table, status=2)
        error = capsys.readouterr().err
        assert message in error
        assert "corrupted.csv" in error

    def test_clean_labels_that_do_not_agree(
        self, folder: Path, table: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pd.read_csv(table).assign(clean_label="owl").to_csv(table, index=False)
        run(folder, "--corrupted", table, status=2)
        assert (
            "corrupted and clean_label of '1' do not agree: its given label is 'dog'"
            in capsys.readouterr().err
        )


class TestThePage:
    @pytest.fixture
    @staticmethod
    def page() -> Iterator[Any]:
        api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
        program = next(
            filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
        )
        if program is None:
            pytest.skip("there is no Chromium")
        with api.sync_playwright() as started:
            browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
            yield browser.new_page()
            browser.close()

    def test_it_opens(
        self, page: Any, folder: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where it is not known what a corrupted label was, nothing is said of it."""
        monkeypatch.setattr(Evaluation, "write", lambda *_: None)
        run(folder, "--corrupted", table, "--to", tmp_path / "out")
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "out/index.html").as_uri())
        first = page.locator("[role=option]").first
        assert "corrupted" in first.inner_text()
        assert ", was" not in first.inner_text()
        assert page.locator("[name=corrupted]").is_visible()
        for name in ("duplicates", "issue", "memorized"):  # nothing is known of these
            assert not page.locator(f"[name={name}]").is_visible()
        assert not errors
