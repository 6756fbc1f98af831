"""Pictures: what users named, and many samples."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes

from memtrack.report import figures

IMAGES = np.zeros((2, 1, 4, 4), dtype=np.uint8)


@pytest.mark.parametrize(
    "name", ["$", "$100_$20", r"$\frac{", r"\$a$", "a_b^c", "%s {0}", "\u732b\u2603", "<b>&amp;"]
)
def test_captions_are_shown_as_they_are(name: str, tmp_path: Path) -> None:
    """Two dollar signs are a formula to matplotlib, and a character that its font lacks is a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.contact_sheet(IMAGES, [name, "x"], [True, False], tmp_path / "drawn.png")
    assert plt.imread(tmp_path / "drawn.png").min() < 1


def test_a_dollar_sign_is_drawn(tmp_path: Path) -> None:
    def drawn(caption: str) -> bytes:
        figures.contact_sheet(IMAGES, [caption, ""], [False, False], tmp_path / "drawn.png")
        return (tmp_path / "drawn.png").read_bytes()

    assert drawn("$a$") != drawn("a")
    assert drawn("$a$") == drawn("$a$")


@pytest.mark.parametrize(("most", "drawn", "label"), [(50, 50, "memorization (50 of 200)"),
                                                      (200, 200, "memorization")])  # fmt: skip
def test_a_scatter_plot_of_many_samples_shows_some_and_says_so(
    most: int, drawn: int, label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each point keeps its score and its colour."""
    memorization = np.arange(200.0)
    points, labels = [], []

    def scatter(axes: Axes, x: Any, y: Any, *, c: Any, **_: Any) -> None:
        points.append((x, y, c))

    monkeypatch.setattr(figures, "POINTS", most)
    monkeypatch.setattr(figures, "_save", lambda figure, *_, **__: plt.close(figure))  # takes a second
    monkeypatch.setattr(Axes, "scatter", scatter)
    monkeypatch.setattr(Axes, "set_xlabel", lambda axes, text: labels.append(text))
    figures.scatters({"score": 2 * memorization}, memorization, memorization > 100, tmp_path / "scatter.png")
    [(x, y, colours)] = points
    assert len(set(x)) == drawn
    assert (y == 2 * x).all()
    assert ((colours == figures.CORRUPTED) == (x > 100)).all()
    assert labels == [label]
