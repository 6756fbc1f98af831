"""Runs the examples of recorded training loops, and compares recorders of the same networks."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from memtrack import Recorder
from memtrack.core.recording.quantities import QUANTITIES

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(
    name: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    epochs: int = 4,
    samples: int = 400,
) -> dict[str, float]:
    """Run an example with few samples; the AUROCs that it prints, by score."""
    arguments = ["--epochs", str(epochs), "--samples", str(samples), "--folder", str(folder / "recorded")]
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    monkeypatch.syspath_prepend(EXAMPLES)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert f"memtrack evaluate {folder}/recorded --corrupted {folder}/recorded_wrong.csv" in printed
    return {name: float(value) for name, value in re.findall(r"(\w+): AUROC ([\d.]+)", printed)}


def same_as_plainly_recorded(
    found: Recorder, plain: Recorder, network: nn.Module, kept: list[dict[str, Tensor]], logits: nn.Module
) -> None:
    """What was recorded is what a recorder without a callback finds for the weights that the training had.

    Args:
        plain: a new recorder. network: is given the weights `kept` of each epoch. logits: the network, or a
            module around it that gives its logits.
    """
    for weights in kept:
        network.load_state_dict(weights)
        plain.after_epoch(logits)
    recorded, expected = found.recorded.trajectory, plain.recorded.trajectory
    assert recorded.epochs == expected.epochs == tuple(range(1, len(kept) + 1))
    for epoch in recorded.epochs:
        for name in QUANTITIES:
            np.testing.assert_allclose(
                recorded.load(name, epoch), expected.load(name, epoch), rtol=1e-5, err_msg=name
            )
    scores, wanted = found.scores(), plain.scores()
    assert {"suspicion", "curvature", "csl"} < set(wanted)
    assert list(scores) == list(wanted)
    for name in wanted:
        if wanted[name].dtype.kind == "f":
            np.testing.assert_allclose(scores[name], wanted[name], rtol=1e-5, err_msg=name)
        else:
            assert scores[name].tolist() == wanted[name].tolist()
