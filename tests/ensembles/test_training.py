"""Networks that cannot be trained together are trained one by one, with a sentence, or refused."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from memtrack.config import params
from memtrack.config.errors import InputError
from memtrack.config.sections.data import Digits
from memtrack.core.memorization.subsets import subset
from memtrack.data.corruption import write_variant
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import Collected
from memtrack.data.variants import VariantData
from memtrack.ensembles import inputs, training
from memtrack.ensembles.fingerprint import ensemble_fingerprint
from memtrack.ensembles.group_trainer import GroupTrainer
from memtrack.ensembles.network_folder import NetworkFolder

CPU = torch.device("cpu")


class Here:
    """Trains in this process."""

    workers = 1

    def __init__(self, trainer: GroupTrainer, *_: object) -> None:
        self._trainer = trainer
        trainer.threads = None

    def run(self, method: str, calls: Iterable[tuple[int, ...]]) -> Iterator[tuple[tuple[int, ...], Any]]:
        for call in calls:
            yield call, getattr(self._trainer, method)(*call)


def trained(
    monkeypatch: pytest.MonkeyPatch, *, dropout: float, together: int | None, log_odds: bool = False
) -> list[int]:
    """The sizes of the groups that 12 networks are trained in."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 1, 4, 4), dtype=np.uint8)
    names, splits = [f"s{number:02}" for number in range(30)], ["train"] * 24 + ["test"] * 6
    collected = Collected(names, ["a", "b"] * 15, splits, ("a", "b"), pixels)
    write_prepared(collected, Digits(kind="digits", root="data/raw"), Path("data/prepared"))
    content = {
        "data": {"kind": "digits", "root": "data/raw"},
        "variants": {"clean": {"kind": "none", "labels": "data/prepared"}},
        "train": {
            "epochs": 6, "batch_size": 8, "model": {"kind": "mlp", "width": 4, "dropout": dropout},
            "optimizer": {"kind": "sgd"}, "schedule": {"kind": "cosine"},
        },
        "record": {"epochs": {"kind": "every"}},
        "curvature": {"perturbation_scale": 0.1, "probes": 1},
        "compute": {"together": together},
    }  # fmt: skip
    Path("params.yaml").write_text(yaml.safe_dump(content))
    chosen, data = params.load(), PreparedData()
    write_variant("clean", chosen.variants["clean"], data)
    variant = VariantData("clean", data)
    monkeypatch.setattr(training, "Processes", Here)
    members = partial(subset, 24, share=0.7, seed=0)
    fingerprint = ensemble_fingerprint(chosen, data, variant, CPU)
    groups = partial(training.chunks, range(12))
    if log_odds:
        check_log_odds(chosen, data, variant, members, groups, fingerprint)
        return []
    with NetworkFolder.claimed("clean", fingerprint, (24, 6)) as folder:
        done = list(training.train_missing(folder, chosen, data, variant, members, groups, CPU))
    assert sorted(number for group in done for number in group) == list(range(12))
    return [len(group) for group in done]


def check_log_odds(chosen: Any, data: Any, variant: Any, members: Any, groups: Any, fingerprint: Any) -> None:
    """An estimate that is stopped and gone on with has the log odds of all networks."""
    reserve = partial(NetworkFolder.claimed, "clean", fingerprint, (24, 6))
    start = partial(training.train_missing, params=chosen, data=data, variant=variant, members=members,
                    groups=groups, device=CPU)  # fmt: skip
    with reserve() as folder:
        list(start(folder))
        plain = folder.networks
        folder.publish(Path("results"), range(12))
    with reserve(Path("results"), log_odds_key="code") as folder:
        assert len(folder.networks) == 0, "networks without log odds do not count"
        assert next(start(folder)) == (0, 1, 2, 3, 4)
    with reserve(log_odds_key="code") as folder:
        assert len(folder.networks) == 5
        assert [len(group) for group in start(folder)] == [5, 2]
        odds = folder.networks.log_odds(range(12))
        for split in ("train", "test"):
            assert (folder.networks.flags(split, range(12)) == plain.flags(split, range(12))).all()
    assert ((odds > 0) == plain.flags("train", range(12))).all(), "there are two classes"
    assert odds.std(axis=1).min() > 0
    with reserve() as folder:
        assert len(folder.networks) == 12, "those without log odds stay"


def test_log_odds_of_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    trained(monkeypatch, dropout=0.0, together=5, log_odds=True)


def test_one_by_one_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained(monkeypatch, dropout=0.5, together=None) == [1] * 12
    said = (
        "clean: training them one by one, because torch.func cannot stack them: vmap: called random operation"
    )
    assert said in capsys.readouterr().out


def test_a_number_that_was_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"compute.together: this many networks cannot be trained together"):
        trained(monkeypatch, dropout=0.5, together=4)


def test_groups_of_the_size_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained(monkeypatch, dropout=0.0, together=5) == [5, 5, 2]


def test_a_disk_without_room_for_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said with the bytes, before any is written; and no image is written into a hole of the file."""
    with monkeypatch.context() as patch:
        patch.setattr(inputs.shutil, "disk_usage", lambda _: SimpleNamespace(free=479))
        with pytest.raises(OSError, match="clean need 480 bytes and 479 are free") as caught:
            trained(monkeypatch, dropout=0, together=4)
    assert caught.value.errno == errno.ENOSPC

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(inputs.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        trained(monkeypatch, dropout=0, together=4)
