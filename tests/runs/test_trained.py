"""What stages read back, damaged or taken from elsewhere: refused in a sentence, or read as it was."""

from __future__ import annotations

import filecmp
import hashlib
import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared_noise import prepare_noise, project_in

from memtrack.config.errors import InputError
from memtrack.config.params import Params
from memtrack.core.recording.quantities import QUANTITIES
from memtrack.data.corruption import write_variant
from memtrack.data.manifest import MANIFEST, KeptFolder, write_manifest
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.checkpoints import trained_checkpoints, trained_network
from memtrack.runs.trained import TrainedRun, recorded_trajectory
from memtrack.runs.training import train

EPOCHS = 2
CONTENT: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "variants": {
        "noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25},
        "other": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25, "seed": 1},
    },
    "train": {
        "epochs": EPOCHS, "batch_size": 8, "model": {"kind": "mlp", "width": 4},
        "optimizer": {"kind": "sgd"}, "schedule": {"kind": "cosine"},
    },
    "record": {"epochs": {"kind": "every", "interval": 1}, "batch_size": 16},
    "curvature": {"perturbation_scale": 0.1, "probes": 1},
}  # fmt: skip
CHANGES = 60


def parameters(section: str = "train", **changes: Any) -> Params:
    return Params.model_validate({**CONTENT, section: CONTENT[section] | changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """Two variants, each trained; `repeat` is `noisy` with another seed."""
    folder = tmp_path_factory.mktemp("finished")
    with project_in(folder, empty_store):
        data = prepare_noise(20, side=2)
        for name in ("noisy", "other"):
            write_variant(name, parameters().variants[name], data)
            train(parameters(), name, Path("results/train", name))
        train(parameters(seed=1), "noisy", Path("results/train/repeat"))
    return folder


@pytest.fixture(autouse=True)
def here(finished: Path, project: Path) -> None:
    for name in ("data", "results"):
        shutil.copytree(finished / name, project / name)


def read(params: Params | None = None, results: Path = Path("results/train/noisy")) -> str:
    """A hash of all that stages read of the variant `noisy`."""
    params, remedy = params or parameters(), "run `dvc repro train@noisy`"
    data = PreparedData()
    variant = VariantData("noisy", data)
    run = TrainedRun(params, data, variant, results, "train@noisy")
    checkpoints = trained_checkpoints(params, variant, results / "checkpoints", remedy=remedy)
    found: list[Any] = [variant.ids, variant.clean.tolist(), variant.given.tolist(), variant.copy_of]
    found += [data.samples.to_csv(), data.info.model_dump(), run.metrics, run.trajectory.epochs]
    found.append(data.images(data.samples["image"].tolist()).tolist())
    for epoch in range(1, EPOCHS + 1):
        found += [run.trajectory.load(name, epoch).tolist() for name in QUANTITIES]
        model = trained_network(params.train, data.info, checkpoints, epoch, remedy=remedy)
        found += [tensor.tolist() for tensor in model.state_dict().values()]
        found.append(checkpoints.metrics(epoch))
    return hashlib.sha256(repr(found).encode()).hexdigest()


def test_what_a_finished_training_left() -> None:
    assert read() == read()


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        ("results/train/{}", "different: labels"),
        ("results/train/{}/trajectory", "different: labels"),
        ("results/train/{}/checkpoints", "different: labels"),
        ("results/train/{}/metrics.json", "metrics.json: is damaged or was changed"),
        ("results/train/{}/trajectory/curvature", "curvature/epoch_0001.npy: is damaged"),
        ("data/variants/{}", "different: variant"),
        ("data/variants/{}/labels.csv", "labels.csv: is damaged or was changed"),
    ],
)
def test_of_another_variant(taken: str, said: str) -> None:
    theirs, ours = Path(taken.format("other")), Path(taken.format("noisy"))
    if ours.is_dir():
        shutil.rmtree(ours)
        shutil.copytree(theirs, ours)
    else:
        shutil.copy(theirs, ours)
    with pytest.raises(InputError, match=f"{said}.*: run `dvc repro (train|corrupt)@noisy`"):
        read()


def test_a_trajectory_recorded_with_other_parameters() -> None:
    """`tune` reads it after it has written another h; one of another training is refused."""
    variant = VariantData("noisy", PreparedData())
    kept = KeptFolder(Path("results/train/noisy/trajectory"), "run it")
    changed = parameters("curvature", perturbation_scale=0.5)
    assert recorded_trajectory(changed, variant, kept).epochs == (1, 2)
    with pytest.raises(InputError, match=r"different: train\): run it"):
        recorded_trajectory(parameters(epochs=3), variant, kept)
    (kept.folder / "epochs/epoch_0003.json").write_text("{}")
    with pytest.raises(InputError, match=r"epoch_0003.json: is damaged or was changed: run it"):
        recorded_trajectory(changed, variant, kept)


def test_of_another_seed() -> None:
    with pytest.raises(InputError, match=r"different: train\): run `dvc repro train@noisy`"):
        read(results=Path("results/train/repeat"))
    assert read(parameters(seed=1), Path("results/train/repeat")) != read()


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ("train", {"epochs": 3}, "different: train"),
        ("train", {"optimizer": {"kind": "adamw"}}, "different: train"),
        ("curvature", {"probes": 2}, "different: curvature"),
        ("record", {"precision": "bfloat16"}, "different: record"),
        ("record", {"epochs": {"kind": "every", "interval": 2}}, "are others than record.epochs"),
    ],
)
def test_with_other_parameters_than_those_in_force(section: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"{said}.*: run `dvc repro train@noisy`"):
        read(parameters(section, **changes))


def test_with_parameters_that_change_no_number() -> None:
    assert read(parameters(workers=2)) == read(parameters("record", batch_size=4)) == read()


def test_labels_of_a_data_set_that_was_prepared_anew() -> None:
    samples = Path("data/prepared/samples.csv")
    samples.write_text(samples.read_text().replace("s0,a", "s0,b"))
    write_manifest(samples.parent, {})
    with pytest.raises(InputError, match=r"different: data\): run `dvc repro corrupt@noisy`"):
        read()


def test_an_epoch_whose_record_is_gone_is_not_left_out() -> None:
    Path("results/train/noisy/trajectory/epochs/epoch_0002.json").unlink()
    with pytest.raises(
        InputError, match=r"epochs/epoch_0002.json: is not there: run `dvc repro train@noisy`"
    ):
        read()


# --- changes at random --------------------------------------------------------------------------

Change = Callable[[Path, Sequence[Path], np.random.Generator], object]


def flip(path: Path, _: Sequence[Path], draw: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    content[draw.integers(len(content))] ^= 1 << draw.integers(8)
    path.write_bytes(content)


def exchange(path: Path, others: Sequence[Path], draw: np.random.Generator) -> None:
    other = others[draw.integers(len(others))]
    content, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(content)


def array(path: Path, _: Sequence[Path], draw: np.random.Generator) -> None:
    choices = [np.zeros((4, 4)), np.full(16, np.nan), np.arange(20), np.array(["x"] * 16), np.zeros(0)]
    np.save(path, choices[draw.integers(len(choices))])
    if path.suffix != ".npy":
        path.with_name(f"{path.name}.npy").replace(path)


def cells(path: Path, _: Sequence[Path], draw: np.random.Generator) -> None:
    """Other text in a table or a record."""
    words = path.read_bytes().split(b",")
    words[draw.integers(len(words))] = [b"", b"9", b"-1", b"nan", b"b\n", b'"', b"\xff"][draw.integers(7)]
    path.write_bytes(b",".join(words))


class Opened:
    """Says so when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


CHANGES_OF_A_FILE: list[Change] = [
    flip,
    exchange,
    array,
    cells,
    lambda path, *_: path.unlink(),
    lambda path, *_: path.write_bytes(b""),
    lambda path, _, draw: path.write_bytes(path.read_bytes()[: draw.integers(1, path.stat().st_size)]),
    lambda path, *_: path.write_bytes(pickle.dumps(Opened())),
    lambda path, *_: np.save(path.open("wb"), np.array([Opened()], dtype=object)),
    lambda path, *_: (path.unlink(), path.mkdir()),
]


def fit(path: Path) -> None:
    """Make every hash of a file fit what is in it now."""
    for record in Path("results").rglob("epoch_*.json"):
        parent, epoch = record.parents[1], record.stem
        try:
            content = json.loads(record.read_text())
            if path == record.with_suffix(".safetensors"):
                content["weights"] = hashlib.sha256(path.read_bytes()).hexdigest()
            elif path == parent / path.parent.name / f"{epoch}.npy" and path.parent.name in content["arrays"]:
                content["arrays"][path.parent.name] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                continue
        except (ValueError, TypeError, LookupError, OSError):
            continue
        record.write_text(json.dumps(content))
    for manifest in [*Path("results").rglob(MANIFEST), *Path("data").rglob(MANIFEST)]:
        try:
            kept = KeptFolder(manifest.parent, "")
        except InputError:
            continue
        files = {name: kept.folder / name for name in kept.files if (kept.folder / name).is_file()}
        write_manifest(kept.folder, kept.made_from, files)


def restore(finished: Path, project: Path) -> None:
    """Copy the files again that are not as they were; a change makes no others."""
    for folder in ("data", "results"):
        for source in (finished / folder).rglob("*"):
            path = project / source.relative_to(finished)
            if source.is_file() and not (path.is_file() and filecmp.cmp(source, path, shallow=False)):
                if path.is_dir():
                    path.rmdir()
                shutil.copy(source, path)


@pytest.mark.parametrize("fitting", [False, True], ids=["hashes as they were", "hashes made to fit"])
def test_any_change_is_refused_in_a_sentence_or_changes_nothing(
    project: Path, finished: Path, fitting: bool
) -> None:
    draw = np.random.default_rng(int(fitting))
    before = read()
    read_back = [Path("data/prepared"), Path("data/variants/noisy"), Path("results/train/noisy")]
    refused = 0
    for number in range(CHANGES):
        files = sorted(path for folder in read_back for path in folder.rglob("*") if path.is_file())
        path = files[draw.integers(len(files))]
        like = sorted([*path.parent.glob(f"*{path.suffix}"), *path.parents[1].rglob(path.name)])
        CHANGES_OF_A_FILE[number % len(CHANGES_OF_A_FILE)](path, like, draw)
        if fitting:
            fit(path)
        try:
            after = read()
        except InputError as error:
            refused += 1
            assert error.problems  # noqa: PT017
        else:
            assert fitting or after == before, (number, path)
        assert not Path("executed").exists()
        restore(finished, project)
    assert refused > CHANGES / 3
    assert read() == before
