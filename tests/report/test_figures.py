"""Pictures that are drawn of what users named."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from memtrack.report.figures import contact_sheet

IMAGES = np.zeros((2, 1, 4, 4), dtype=np.uint8)


@pytest.mark.parametrize(
    "name", ["$", "$100_$20", r"$\frac{", r"\$a$", "a_b^c", "%s {0}", "\u732b\u2603", "<b>&amp;"]
)
def test_captions_are_shown_as_they_are(name: str, tmp_path: Path) -> None:
    """Two dollar signs are a formula to matplotlib, and a character that its font lacks is a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        contact_sheet(IMAGES, [name, "x"], [True, False], tmp_path / "drawn.png")
    assert plt.imread(tmp_path / "drawn.png").min() < 1


def test_a_dollar_sign_is_drawn(tmp_path: Path) -> None:
    def drawn(caption: str) -> bytes:
        contact_sheet(IMAGES, [caption, ""], [False, False], tmp_path / "drawn.png")
        return (tmp_path / "drawn.png").read_bytes()

    assert drawn("$a$") != drawn("a")
    assert drawn("$a$") == drawn("$a$")
