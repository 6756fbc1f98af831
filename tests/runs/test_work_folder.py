"""Workplaces: one process each, found again after a kill; results are used and never harmed."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from memtrack.core.recording.quantities import QUANTITIES, SampleArrays
from memtrack.core.recording.trajectory import Trajectory
from memtrack.runs.checkpoints import Checkpoints, EpochMetrics
from memtrack.runs.fingerprint import Fingerprint
from memtrack.runs.work_folder import WorkFolder

IDS = ["a", "b", "c"]
TRAINING = Fingerprint(causes={"lr": 0.1, "milestones": [1, 2]})
RECORDING = Fingerprint(causes={"h": 0.01})
RESULTS = Path("results/train/noisy")
FOLDERS = ("checkpoints", "trajectory")
FORK = multiprocessing.get_context("fork")


@contextmanager
def claimed(
    name: str = "noisy", training: Fingerprint = TRAINING, recording: Fingerprint = RECORDING
) -> Iterator[WorkFolder]:
    with WorkFolder.claimed(name, training, recording, IDS) as place:
        place.run_file.write_text("{}")
        yield place


def record(seed: int) -> list[SampleArrays]:
    draw = np.random.default_rng(seed)
    return [{name: draw.integers(0, 9, len(IDS)).astype(kind) for name, kind in QUANTITIES.items()}]


def fill(place: WorkFolder, epochs: int = 3, seed: int = 0) -> None:
    """Do a training's work: epochs that differ by epoch and seed; the second has no weights."""
    for epoch in range(1, epochs + 1):
        torch.manual_seed(100 * seed + epoch)
        metrics = EpochMetrics(
            train_loss=seed + 1 / epoch, train_accuracy=0.5, test_accuracy=0.5, learning_rate=0.1
        )
        place.checkpoints.write(epoch, metrics, None if epoch == 2 else nn.Linear(2, 3))
        place.record(epoch, record(100 * seed + epoch), "float32")
        place.states.write(epoch, {"epoch": epoch})


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def epochs(place: WorkFolder) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return place.checkpoints.epochs, place.trajectory.epochs


@pytest.fixture
def published(project: Path) -> dict[str, bytes]:
    """The content of results that a finished training has left; nothing half done is there."""
    RESULTS.mkdir(parents=True)
    with claimed() as place:
        fill(place)
        place.publish(RESULTS)
        place.remove()
    assert not any((project / ".memtrack/train").iterdir())
    return content(RESULTS)


# --- claims -------------------------------------------------------------------------------------


def hold(pipe: Connection) -> None:
    """Claim the workplace, finish an epoch, and wait to be killed."""
    with claimed() as place:
        fill(place, epochs=1)
        pipe.send(place.folder)
        pipe.recv()


def test_two_processes_get_two_folders_and_the_one_of_the_dead_is_claimed_again() -> None:
    here, there = FORK.Pipe()
    process = FORK.Process(target=hold, args=(there,), daemon=True)
    process.start()
    try:
        assert here.poll(60)
        first = here.recv()
        with claimed() as place:
            assert place.folder != first
            assert epochs(place) == ((), ())
            assert place.folder.parent == first.parent
    finally:
        process.kill()
        process.join(60)
    with claimed() as place:
        assert place.folder == first
        assert epochs(place) == ((1,), (1,))
        assert place.states.read(1, torch.device("cpu")) == {"epoch": 1}
        place.repair()
        assert epochs(place) == ((1,), (1,))


def test_a_claim_within_a_claim_gets_another_folder() -> None:
    with claimed() as first, claimed() as second, claimed() as third:
        assert len({first.folder, second.folder, third.folder}) == 3
    with claimed() as place:
        assert place.folder == first.folder


def test_an_error_inside_frees_the_folder_and_keeps_its_content() -> None:
    def work() -> None:
        with claimed() as place:
            fill(place)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    with claimed() as place:
        assert epochs(place) == ((1, 2, 3), (1, 2, 3))
        assert place.folder.name.endswith("-1")


def test_each_fingerprint_has_its_own_place() -> None:
    other = Fingerprint(causes={"lr": 0.2})
    with claimed() as first, claimed(training=other) as second, claimed("clean") as third:
        assert len({first.folder, second.folder, third.folder}) == 3
        fill(first)
        assert epochs(second) == epochs(third) == ((), ())
    with claimed(recording=other) as place:
        assert place.folder == first.folder
        assert epochs(place) == ((1, 2, 3), ())  # trained, and not recorded
        assert place.batch_size_file != first.batch_size_file
    with claimed() as place:
        assert epochs(place) == ((1, 2, 3), (1, 2, 3))


def test_the_place_is_in_the_project_when_the_stage_runs_in_a_copy(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "copy").mkdir()
    monkeypatch.chdir(project / "copy")
    monkeypatch.setenv("DVC_ROOT", str(project))
    with claimed() as place:
        assert place.folder.is_relative_to(project / ".memtrack")
    assert not any((project / "copy").iterdir())


def test_the_second_of_two_is_found_again_when_the_first_has_finished() -> None:
    with claimed() as first:
        with claimed() as second:
            fill(second)  # and then it is killed
        first.remove()
    with claimed() as place:
        assert epochs(place) == ((1, 2, 3), (1, 2, 3))


def test_others_are_unfinished_trainings_of_the_same_variant() -> None:
    other = Fingerprint(causes={"lr": 0.2})
    third = Fingerprint(causes={"lr": 0.3})
    folders = {}
    for name in ("a", "a-b", "a-b-c", "b", "a_b"):
        for training in (TRAINING, other, third):
            with claimed(name, training) as place:
                fill(place, epochs=1)
                folders[name, training.key] = place.folder
    with claimed("a", Fingerprint(causes={"lr": 0.4})):
        pass  # stopped in its first epoch: there is nothing to go on from
    for (name, key), folder in folders.items():
        training = next(one for one in (TRAINING, other, third) if one.key == key)
        expected = [path for (owner, _), path in folders.items() if owner == name and path != folder]
        with claimed(name, training) as place:
            assert place.folder == folder
            assert place.others() == sorted(expected)


# --- adopting what is published -----------------------------------------------------------------

OTHER = Fingerprint(causes={"lr": 0.1, "milestones": [1, 3]})


@pytest.mark.parametrize(
    ("training", "recording", "trained", "recorded"),
    [
        (TRAINING, RECORDING, (1, 2, 3), (1, 2, 3)),
        (TRAINING, OTHER, (1, 2, 3), ()),
        (OTHER, RECORDING, (), ()),
        (OTHER, OTHER, (), ()),
    ],
)
def test_results_are_used_where_the_fingerprints_agree(
    training: Fingerprint,
    recording: Fingerprint,
    trained: tuple[int, ...],
    recorded: tuple[int, ...],
    published: dict[str, bytes],
) -> None:
    with claimed(training=training, recording=recording) as place:
        place.adopt(RESULTS)
        assert epochs(place) == (trained, recorded)
        place.repair()
        assert epochs(place) == (trained, recorded)
        for part, name in ((place.checkpoints, "checkpoints"), (place.trajectory, "trajectory")):
            for epoch in part.epochs:
                for path in part.files(epoch):
                    there = f"{name}/{path.relative_to(part.folder)}"
                    assert published.get(there) == (path.read_bytes() if path.exists() else None)
    assert content(RESULTS) == published


@pytest.mark.parametrize(
    "text", [None, "", "{}", "[]", '"made_from"', '{"made_from": {}, "files": {}}', "\ud800"]
)
@pytest.mark.parametrize("name", ["checkpoints/manifest.json", "trajectory/manifest.json"])
def test_results_without_a_fingerprint_are_not_used(
    name: str, text: str | None, published: dict[str, bytes]
) -> None:
    path = RESULTS / name
    path.unlink()
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with claimed() as place:
        place.adopt(RESULTS)
        assert epochs(place) == (() if "checkpoints" in name else (1, 2, 3), ())


def test_no_results_are_nothing_to_adopt() -> None:
    with claimed() as place:
        place.adopt(RESULTS)
        assert epochs(place) == ((), ())


def test_nothing_done_to_a_workplace_changes_the_results_it_adopted(published: dict[str, bytes]) -> None:
    def inodes() -> dict[str, int]:
        return {name: (RESULTS / name).stat().st_ino for name in published}

    def untouched() -> bool:
        return content(RESULTS) == published and inodes() == before

    before = inodes()
    changes: list[Callable[[WorkFolder], object]] = [
        lambda place: fill(place, seed=1),
        lambda place: place.checkpoints.drop_weights(1),
        lambda place: place.keep_only([2], [3]),
        lambda place: place.keep_only([], []),
        lambda place: [place.checkpoints.discard(epoch) for epoch in (1, 2, 3)],
        lambda place: [place.trajectory.discard(epoch) for epoch in (1, 2, 3)],
        lambda place: Trajectory.create(place.trajectory.folder, ["x"]),
        lambda place: place.repair(),
        lambda place: place.remove(),
    ]
    for change in changes:
        with claimed() as place:
            place.adopt(RESULTS)
            assert epochs(place) == ((1, 2, 3), (1, 2, 3))
            change(place)
            assert untouched()
            if place.folder.exists():
                place.remove()
    with claimed() as place:  # and an epoch that fails halfway
        place.adopt(RESULTS)
        with pytest.raises(ValueError, match="were recorded instead of"):
            place.trajectory.write(1, [])
        assert untouched()
        place.publish(Path("elsewhere"))
        assert untouched()


def test_adopted_files_are_not_copied(published: dict[str, bytes]) -> None:
    with claimed() as place:
        place.adopt(RESULTS)
        theirs = Checkpoints(RESULTS / "checkpoints").files(1) + Trajectory(RESULTS / "trajectory").files(1)
        ours = place.checkpoints.files(1) + place.trajectory.files(1)
        assert all(here.samefile(there) for here, there in zip(ours, theirs, strict=True))


def test_files_are_copied_where_links_cannot_be(
    published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    with claimed() as place:
        place.adopt(RESULTS)
        place.repair()
        assert epochs(place) == ((1, 2, 3), (1, 2, 3))
        path = place.checkpoints.weights(1)
        assert not path.samefile(RESULTS / "checkpoints" / path.name)
        place.publish(Path("elsewhere"))
    assert content(Path("elsewhere")) == content(RESULTS) == published


def test_a_link_that_dvc_made_is_followed(project: Path, published: dict[str, bytes]) -> None:
    """DVC may replace results by read-only symbolic links into its cache."""
    cache = project / "cache"
    cache.mkdir()
    for number, name in enumerate(published):
        kept = cache / str(number)
        shutil.move(RESULTS / name, kept)
        kept.chmod(0o444)
        (RESULTS / name).symlink_to(kept)
    with claimed() as place:
        place.adopt(RESULTS)
        assert epochs(place) == ((1, 2, 3), (1, 2, 3))
        assert not any(path.is_symlink() for path in place.folder.rglob("*"))
        fill(place, seed=1)
        place.publish(RESULTS)
    assert [(cache / str(number)).read_bytes() for number in range(len(published))] == [*published.values()]


def test_what_is_there_already_is_not_replaced(published: dict[str, bytes]) -> None:
    with claimed() as place:
        fill(place, epochs=2, seed=1)
        own = content(place.folder)
        place.adopt(RESULTS)
        assert epochs(place) == ((1, 2, 3), (1, 2, 3))
        after = content(place.folder)
        assert {name: after[name] for name in own} == own


def test_a_file_without_its_epoch_is_replaced(published: dict[str, bytes]) -> None:
    """Adopting was interrupted, or the training itself."""
    with claimed() as place:
        for part, quantity in ((place.checkpoints, 1), (place.trajectory, 3)):
            path = part.files(quantity)[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"the first half")
        place.adopt(RESULTS)
        place.repair()
        assert epochs(place) == ((1, 2, 3), (1, 2, 3))
    assert content(RESULTS) == published


def test_weights_in_results_are_used_where_the_workplace_dropped_its_own(
    published: dict[str, bytes],
) -> None:
    """Recorded checkpoints alone were asked for, the training was killed, and now all are asked for."""
    with claimed() as place:
        place.adopt(RESULTS)
        place.keep_only([1, 2, 3], [3])
    with claimed() as place:
        place.adopt(RESULTS)
        place.repair()
        assert not place.checkpoints.missing(1, weights=True)


def test_a_trajectory_of_another_training_is_not_used_with_its_checkpoints(
    published: dict[str, bytes],
) -> None:
    """`dvc checkout` ended early: the checkpoints are those of this training, the trajectory is not."""
    shutil.move(RESULTS / "trajectory", "theirs")
    shutil.rmtree(RESULTS)
    with claimed(training=OTHER) as place:
        fill(place, seed=1)
        place.publish(RESULTS)
        place.remove()
    shutil.rmtree(RESULTS / "trajectory")
    shutil.move("theirs", RESULTS / "trajectory")
    with claimed(training=OTHER) as place:
        place.adopt(RESULTS)
        assert place.trajectory.epochs == (
            1,
            2,
            3,
        )  # the recording fingerprints of this file name no training
        assert not any(place.recorded(epoch, "float32") for epoch in (1, 2, 3))


def test_an_epoch_that_was_recorded_from_other_weights_is_not_recorded(published: dict[str, bytes]) -> None:
    with claimed() as place:
        place.adopt(RESULTS)
        assert all(place.recorded(epoch, "float32") for epoch in (1, 2, 3))
        place.checkpoints.write(3, place.checkpoints.metrics(3), nn.Linear(2, 3))
        assert [place.recorded(epoch, "float32") for epoch in (1, 2, 3)] == [True, True, False]


def test_an_epoch_that_was_recorded_in_another_precision_is_not_recorded() -> None:
    with claimed() as place:
        fill(place)
        place.record(2, record(7), "tf32")
        for precision, found in (("float32", [True, False, True]), ("tf32", [False, True, False])):
            assert [place.recorded(epoch, precision) for epoch in (1, 2, 3)] == found


def test_how_the_precision_was_chosen_is_published_and_adopted() -> None:
    with claimed() as place:
        fill(place)
        place.precision_file.write_text("measured")
        place.keep_only([1, 2, 3], [1, 3])
        place.publish(RESULTS)
        place.remove()
    assert "precision.json" in json.loads((RESULTS / "trajectory/manifest.json").read_text())["files"]
    with claimed() as place:
        place.adopt(RESULTS)
        assert place.precision_file.read_text() == "measured"


def test_checkpoints_and_states_of_another_training_or_epoch_are_damage() -> None:
    with claimed() as place, claimed(training=OTHER) as other:
        fill(place)
        fill(other, seed=1)
        for here, there in ((1, 1), (1, 3)):
            source = other if here == there else place
            for path, copy in zip(
                source.checkpoints.files(there), place.checkpoints.files(here), strict=True
            ):
                shutil.copy(path, copy)
            assert place.checkpoints.damaged(here) == place.checkpoints.files(here)[-1]
        shutil.copy(other.states.file(2), place.states.file(2))
        assert place.states.read(2, torch.device("cpu")) is None
        shutil.copy(place.states.file(3), place.states.file(2))
        assert place.states.read(2, torch.device("cpu")) is None
        assert place.states.read(3, torch.device("cpu")) == {"epoch": 3}


# --- repairing and keeping ----------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, flip, empty, Path.unlink])
@pytest.mark.parametrize("part", ["checkpoints", "trajectory"])
def test_exactly_the_damaged_epochs_are_removed(
    part: str, damage: Callable[[Path], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with claimed() as place:
        fill(place, epochs=4)
        broken: Any = getattr(place, part)
        for epoch in (1, 4):
            path = broken.files(epoch)[0]
            damage(path)
            before = content(place.folder)
            place.repair()
            assert f"{path}: is damaged" in capsys.readouterr().out
            assert epoch not in broken.epochs
            gone = before.keys() - content(place.folder).keys()
            own = {str(path.relative_to(place.folder)) for path in broken.files(epoch)}
            assert gone == own & before.keys()
        assert broken.epochs == (2, 3)
        other = place.trajectory if part == "checkpoints" else place.checkpoints
        assert other.epochs == (1, 2, 3, 4)
        before = content(place.folder)
        place.repair()
        assert content(place.folder) == before
        assert capsys.readouterr().out == ""


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_damage_of_any_quantity_is_found(quantity: str) -> None:
    with claimed() as place:
        fill(place)
        flip(place.trajectory.file(quantity, 2))
        place.repair()
        assert epochs(place) == ((1, 2, 3), (1, 3))


def test_other_choices_of_epochs_are_removed() -> None:
    with claimed() as place:
        fill(place, epochs=5)
        before = content(place.folder)
        place.keep_only([2, 4, 7], [1, 2, 4])
        assert epochs(place) == ((1, 2, 3, 4, 5), (2, 4))
        there = [epoch for epoch in range(1, 6) if not place.checkpoints.missing(epoch, weights=True)]
        assert there == [1, 4]  # the second never had any
        assert [place.checkpoints.damaged(epoch) for epoch in range(1, 6)] == [None] * 5
        after = content(place.folder)
        changed = {name for name in after if after[name] != before[name]}
        assert changed == {"checkpoints/epoch_0003.json", "checkpoints/epoch_0005.json"}


# --- publishing ---------------------------------------------------------------------------------


def test_epochs_recorded_with_other_settings_outlive_publishing() -> None:
    other = Fingerprint(causes={"h": 0.2})
    with claimed(recording=other) as place:
        fill(place, epochs=2)
        recorded = content(place.trajectory.folder)
    with claimed() as place:
        fill(place)
        place.batch_size_file.write_text("64")
        place.publish(RESULTS)
        place.remove()
    with claimed(recording=other) as place:
        assert epochs(place) == ((), (1, 2))
        assert content(place.trajectory.folder) == recorded
        place.adopt(RESULTS)
        assert epochs(place) == ((1, 2, 3), (1, 2))
        place.publish(RESULTS)
        place.remove()
        assert not place.folder.exists()


def test_publishing_replaces_what_was_there(published: dict[str, bytes]) -> None:
    (RESULTS / "checkpoints/old").write_text("old")
    (RESULTS / "metrics.json").write_text("kept")
    with claimed(training=OTHER) as place:
        fill(place, epochs=2, seed=1)
        own = content(place.folder)
        place.publish(RESULTS)
        place.remove()
        assert not place.folder.exists()
    expected = {name: text for name, text in own.items() if name.startswith("checkpoints/")}
    prefix = f"trajectory-{RECORDING.key}/"
    expected |= {
        f"trajectory/{name.removeprefix(prefix)}": text
        for name, text in own.items()
        if name.startswith(prefix)
    }
    now = content(RESULTS)
    manifests = {f"{name}/manifest.json": json.loads(now.pop(f"{name}/manifest.json")) for name in FOLDERS}
    assert now == expected | {"metrics.json": b"kept", "run.json": b"{}"}
    assert [found["made_from"] for found in manifests.values()] == [OTHER.causes, RECORDING.causes]
    for name, found in manifests.items():
        for file, digest in found["files"].items():
            path = RESULTS / name.replace("manifest.json", file)
            assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(manifests["trajectory/manifest.json"]["files"]) == {
        "../metrics.json", "ids.npy", "epochs/epoch_0001.json", "epochs/epoch_0002.json"}  # fmt: skip
    assert expected.keys() < published.keys()  # of two epochs instead of three


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("step", range(4))
def test_publishing_goes_on_after_an_interruption(
    step: int, before: bool, published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before or after each of its steps; some epochs in results/ are those of the last run."""
    with claimed() as place:
        place.adopt(RESULTS)
        place.checkpoints.discard(3)
        place.trajectory.discard(1)
        fill(place)
        done: list[object] = []

        def once(function: Callable[..., object]) -> Callable[..., object]:
            def run(*arguments: Any) -> None:
                if before and len(done) == step:
                    raise KeyboardInterrupt
                done.append(function(*arguments))
                if not before and len(done) > step:
                    raise KeyboardInterrupt

            return run

        with monkeypatch.context() as patched:
            for name in ("rmtree", "move"):
                patched.setattr(shutil, name, once(getattr(shutil, name)))
            with pytest.raises(KeyboardInterrupt):
                place.publish(RESULTS)
    with claimed() as place:
        place.adopt(RESULTS)
        place.repair()
        assert epochs(place) == ((1, 2, 3), (1, 2, 3))
        place.publish(RESULTS)
        place.remove()
    assert content(RESULTS) == published


def halve(folder: Path) -> None:
    """Remove every second file."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file())[::2]:
        path.unlink()


@pytest.mark.parametrize("part", ["checkpoints", "trajectory"])
@pytest.mark.parametrize("step", ["removing", "copying", "moving"])
def test_publishing_goes_on_after_a_kill_within_a_step(
    step: str, part: str, published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the old results removed; half copied to another file system; half removed after that."""
    usual = {name: getattr(shutil, name) for name in ("rmtree", "copytree")}

    def rmtree(folder: Path, *_: object) -> None:
        if Path(folder).name.startswith(part) and (step == "removing") == Path(folder).is_relative_to(
            RESULTS
        ):
            halve(Path(folder))
            raise KeyboardInterrupt
        usual["rmtree"](folder)

    def copytree(source: Path, target: Path, *rest: Any, **more: Any) -> None:
        usual["copytree"](source, target, *rest, **more)
        if Path(target).name == part and step == "copying":
            halve(Path(target))
            raise KeyboardInterrupt

    def rename(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    with claimed() as place:
        fill(place)
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "rmtree", rmtree)
            patched.setattr(shutil, "copytree", copytree)
            patched.setattr(os, "rename", rename)
            with pytest.raises(KeyboardInterrupt):
                place.publish(RESULTS)
    with claimed() as place:
        place.adopt(RESULTS)
        place.repair()
        fill(place)  # what is not there any more is trained again
        place.publish(RESULTS)
        place.remove()
    assert content(RESULTS) == published


def test_halves_that_a_kill_left_are_not_published(published: dict[str, bytes]) -> None:
    with claimed() as place:
        fill(place)
        fill(place, epochs=5)
        for part in (place.checkpoints, place.trajectory):
            part.files(5)[-1].unlink()  # killed before the file that makes the epoch count
            part.files(4)[-1].unlink()
            path = part.files(4)[0]
            path.rename(path.with_name(f"{path.name}.part"))
        place.keep_only([1, 2, 3], [1, 2, 3])  # and then other epochs are asked for
        place.publish(RESULTS)
    assert content(RESULTS) == published
