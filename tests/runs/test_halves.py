"""Trainings on one half and then on the other, measured by hand; interrupted and gone on with."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from numpy.typing import NDArray
from prepared_noise import prepare_noise
from torch.nn.functional import cross_entropy

from memtrack.config import params
from memtrack.core.training.turn_over import halves as hidden_halves
from memtrack.data.corruption import write_variant
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.report.sample_tables import read_turn_over
from memtrack.runs.checkpoints import States
from memtrack.runs.fitting import Fitting
from memtrack.runs.halves import SplitTraining, halves_of
from memtrack.runs.networks import untrained_network
from memtrack.runs.turn_over import TurnOverTraining
from memtrack.stages import halves as stage

EPOCHS = 3
CPU = torch.device("cpu")
CONTENT: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "variants": {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25}},
    "train": {
        "epochs": EPOCHS, "batch_size": 8, "model": {"kind": "mlp", "width": 16, "depth": 1},
        "optimizer": {"kind": "sgd", "lr": 0.5}, "schedule": {"kind": "cosine"},
    },
    "record": {"epochs": {"kind": "every"}},
    "curvature": {"perturbation_scale": 0.1, "probes": 1},
    "halves": {"variants": ["noisy"], "seed": 2},
}  # fmt: skip


def prepared(**train: Any) -> tuple[params.Params, PreparedData, VariantData]:
    content = {**CONTENT, "train": CONTENT["train"] | train}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    chosen, data = params.load(), prepare_noise(50, side=4)
    write_variant("noisy", chosen.variants["noisy"], data)
    return chosen, data, VariantData("noisy", data)


def logits(model: torch.nn.Module, data: PreparedData, variant: VariantData) -> torch.Tensor:
    """Of all samples, from the pixels."""
    pixels = variant.read(range(len(variant.ids))).astype(np.float32) / 255
    inputs = (pixels - np.float32(data.info.mean[0])) / np.float32(data.info.std[0])
    with torch.no_grad():
        found: torch.Tensor = model.eval()(torch.from_numpy(inputs))
    return found


def test_both_parts_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which samples each part is trained on, where it begins, and what is measured."""
    chosen, data, variant = prepared(average=0.5)
    own, other = halves_of(variant, 2)
    assert sorted([*own, *other]) == list(range(40))
    began: list[tuple[list[str], dict[str, torch.Tensor]]] = []
    run_epoch: Callable[..., Any] = Fitting.run_epoch

    def watched(self: Fitting, epoch: int) -> Any:
        weights = {name: part.clone() for name, part in self._trainer.trained.state_dict().items()}
        began.append(([variant.ids[row] for row in rows_of(self, variant)], weights))
        return run_epoch(self, epoch)

    monkeypatch.setattr(Fitting, "run_epoch", watched)
    training = SplitTraining(chosen, data, variant, own, other, CPU)
    labels, losses, odds, right = torch.from_numpy(variant.given), [], [], []
    for epoch in range(1, training.epochs + 1):
        training.run_epoch(epoch)
        ended = training._fitting._trainer.trained.state_dict()
        found = logits(training._fitting.model, data, variant)
        odds.append(found.softmax(1)[torch.from_numpy(other)].numpy())
        losses.append(cross_entropy(found, labels, reduction="none")[torch.from_numpy(other)].numpy())
        right.append((found.argmax(1) == labels).numpy()[own])
        if epoch == EPOCHS:
            first = {name: part.clone() for name, part in ended.items()}
    assert len(began) == 2 * EPOCHS
    for number, (ids, _) in enumerate(began):
        assert set(ids) == {variant.ids[row] for row in (own if number < EPOCHS else other)}
    assert all(torch.equal(part, began[EPOCHS][1][name]) for name, part in first.items())
    best = int(np.argmin([values.mean() for values in losses[:EPOCHS]]))
    np.testing.assert_allclose(training.holdout_loss, losses[best], rtol=1e-4)
    np.testing.assert_allclose(training.probabilities(), odds[best], rtol=1e-4)
    forgotten = []
    for sample in range(len(own)):
        stays = [
            epoch for epoch in range(EPOCHS) if not any(part[sample] for part in right[EPOCHS + epoch :])
        ]
        forgotten.append(1 + min(stays, default=EPOCHS))
    assert training.forgotten.tolist() == forgotten
    assert len(set(forgotten)) > 1


def rows_of(fitting: Fitting, variant: VariantData) -> NDArray[np.int64]:
    """The rows of the variant whose images a `Fitting` is trained on, found by their pixels."""
    every = {image.tobytes(): row for row, image in enumerate(variant.read(range(len(variant.ids))))}
    [seen] = fitting._fit._store.batches([np.arange(len(fitting._fit.labels))])
    return np.array([every[image.numpy().tobytes()] for image in seen])


@pytest.mark.parametrize("stop", [2, 4])
def test_a_training_that_is_gone_on_with_ends_alike(stop: int) -> None:
    chosen, data, variant = prepared(loss={"kind": "early_learning"}, average=0.5)
    halves = halves_of(variant, 0)
    whole, begun, rest = (SplitTraining(chosen, data, variant, *halves, CPU) for _ in range(3))
    for epoch in range(1, 2 * EPOCHS + 1):
        whole.run_epoch(epoch)
        if epoch <= stop:
            begun.run_epoch(epoch)
    kept = io.BytesIO()
    torch.save(begun.state(), kept)
    kept.seek(0)
    rest.load_state(torch.load(kept, weights_only=True))
    for epoch in range(stop + 1, 2 * EPOCHS + 1):
        rest.run_epoch(epoch)
    assert rest.holdout_loss.tolist() == whole.holdout_loss.tolist()
    assert rest.forgotten.tolist() == whole.forgotten.tolist()
    assert rest.probabilities().tolist() == whole.probabilities().tolist()


@pytest.mark.parametrize("kind", ["pixels", "conflicting_duplicates"])
def test_changed_pixels_and_copies_are_those_of_the_variant(kind: str) -> None:
    chosen, data, _ = prepared()
    entry = {"pixels": {"how": "random"}, "conflicting_duplicates": {"rate": 0.2}}[kind]
    made = params.Params.model_validate(
        {**CONTENT, "variants": {"noisy": {"kind": kind, "labels": "data/prepared", **entry}}}
    )
    write_variant("noisy", made.variants["noisy"], data)
    variant = VariantData("noisy", data)
    own, other = halves_of(variant, 0)
    training = SplitTraining(chosen, data, variant, own, other, CPU)
    for rows, part in ((own, training._own), (other, training._other)):
        assert part.given.tolist() == variant.given[rows].tolist()
        assert (part.read(range(len(rows))) == variant.read(rows)).all()


def test_turn_over_dropout_by_hand() -> None:
    """Both halves of the network, their hidden units masked by hand; and a training that is gone on with."""
    chosen, data, variant = prepared(mixup=1.0, average=0.5)
    whole, begun, rest = (TurnOverTraining(chosen, data, variant, CPU, 7) for _ in range(3))
    for epoch in range(1, EPOCHS + 1):
        whole.run_epoch(epoch)
    begun.run_epoch(1)
    rest.load_state(begun.state())
    for epoch in range(2, EPOCHS + 1):
        rest.run_epoch(epoch)
    assert rest.self_influence().tolist() == whole.self_influence().tolist()
    _, last = (layer for layer in whole.model.modules() if isinstance(layer, torch.nn.Linear))
    seen: list[torch.Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]), prepend=True)
    logits(whole.model, data, variant)
    hook.remove()
    kept = hidden_halves(7, 0, torch.arange(40), 16)
    losses = [
        cross_entropy(last(2 * seen[0] * half), torch.from_numpy(variant.given), reduction="none")
        for half in (~kept, kept)
    ]
    expected = (losses[0] - losses[1]).detach().numpy()
    np.testing.assert_allclose(whole.self_influence(), expected, rtol=1e-3, atol=1e-5)
    assert expected.mean() > 0.1, "what a sample trains, fits it better"


def test_the_stage_goes_on_and_does_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen, _, variant = prepared()
    folder, write = Path("results/halves/noisy"), States.write
    folder.mkdir(parents=True)
    stage._train(chosen, "noisy", folder)
    expected = (folder / "halves.csv").read_text()
    table = pd.read_csv(folder / "halves.csv")
    own, other = halves_of(variant, 2)
    data = PreparedData()
    for half, (rows, others) in enumerate(((own, other), (other, own)), start=1):
        training = SplitTraining(chosen, data, variant, rows, others, CPU)
        for epoch in range(1, 2 * EPOCHS + 1):
            training.run_epoch(epoch)
        assert table["forgotten"][rows].tolist() == training.forgotten.tolist()
        assert table["holdout_loss"][others].to_numpy() == pytest.approx(training.holdout_loss)
        assert (table["half"][rows] == half).all()
        saved = np.load(folder / "probabilities.npy")
        assert saved[others].tolist() == training.probabilities().tolist()
    assert table["id"].tolist() == variant.ids

    done: list[int] = []
    run_epoch: Callable[..., Any] = SplitTraining.run_epoch

    def counted(self: SplitTraining, epoch: int) -> None:
        done.append(epoch)
        run_epoch(self, epoch)

    def killed(self: States, epoch: int, state: dict[str, Any]) -> None:
        write(self, epoch, state)
        if epoch == 4 and self.folder.name == "half_2":
            raise KeyboardInterrupt

    monkeypatch.setattr(SplitTraining, "run_epoch", counted)
    (folder / "halves.csv").write_text("id\n")  # damaged
    with monkeypatch.context() as patch:
        patch.setattr(States, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            stage._train(chosen, "noisy", folder)
    assert "halves.csv: is damaged" in capsys.readouterr().out
    [last, _] = sorted(Path(".memtrack/halves").glob("*/half_2/*.pt"), reverse=True)
    last.write_bytes(last.read_bytes()[:-1])  # the state before is used
    stage._train(chosen, "noisy", folder)
    assert done == [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 4, 5, 6]
    assert (folder / "halves.csv").read_text() == expected
    assert not list(Path(".memtrack/halves").iterdir())
    stage._train(chosen, "noisy", folder)
    assert "was trained before with these settings" in capsys.readouterr().out
    assert len(done) == 13
    more = chosen.model_copy(update={"halves": chosen.halves.model_copy(update={"turn_over": True})})
    stage._train(more, "noisy", folder)
    masked = TurnOverTraining(chosen, data, variant, CPU, 2)
    for epoch in range(1, EPOCHS + 1):
        masked.run_epoch(epoch)
    assert read_turn_over(folder, variant) == pytest.approx(masked.self_influence(), rel=1e-6)
    assert (folder / "halves.csv").read_text() == expected
    stage._train(more, "noisy", folder)
    stage._train(chosen, "noisy", folder)
    assert len(done) == 13
    assert capsys.readouterr().out.count("was trained before with these settings") == 2


@pytest.mark.parametrize("co_training", [None, {"kind": "jocor"}])
def test_layers_are_rewound_to_what_the_training_begins_with(co_training: dict[str, str] | None) -> None:
    chosen, data, variant = prepared(seed=7, **({} if co_training is None else {"co_training": co_training}))
    begun = Fitting(chosen, data, variant, CPU).model.state_dict()
    torch.manual_seed(0)
    found = untrained_network(chosen.train, data.info).state_dict()
    assert found.keys() == begun.keys()
    assert all(torch.equal(found[name], weights) for name, weights in begun.items())
