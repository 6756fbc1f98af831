"""Stage `layers`: take layers and small weights away from the trained network, and see which samples it
forgets, and what a last layer alone memorizes, in results/layers/NAME.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.config.paths import EVALUATE_RESULTS, LAYERS_RESULTS, TRAIN_RESULTS
from memtrack.core.memorization.layers import layers, measure_statistics, pruned, rewound
from memtrack.core.memorization.linear import linear_memorization
from memtrack.core.recording.logits import record_logits
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.report.layers import TOP, LayersReport, LinearLayers
from memtrack.report.sample_tables import read_scores
from memtrack.runs.causes import evaluation_causes
from memtrack.runs.networks import chosen_device, untrained_network
from memtrack.runs.trained_networks import TrainedNetworks
from memtrack.runs.unseen import unseen_features
from memtrack.stages import load_with_variant
from memtrack.terminal.entry_point import entry_point
from memtrack.terminal.progress import Progress
from memtrack.tracking.reference import read_reference
from memtrack.tracking.run import Run, check_store

if TYPE_CHECKING:
    from torch import nn


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    options, folder, remedy = params.layers.of(name), LAYERS_RESULTS / name, f"run `dvc repro train@{name}`"
    check_store(params.tracking)
    reference = read_reference(TRAIN_RESULTS / name, remedy)
    data = PreparedData.current(params.data)
    variant = VariantData(name, data)
    scores = read_scores(EVALUATE_RESULTS / name, variant, evaluation_causes(params, variant))
    if options.score not in scores:
        text = f"is not among the scores of {name}: add it to evaluate.scores, and run `dvc repro`"
        raise options.mistake("score", message=text)
    memorized = scores[f"{options.score}_rank"].to_numpy() <= max(1, round(TOP * len(scores)))

    networks = TrainedNetworks(params, data, variant, TRAIN_RESULTS / name / "checkpoints", (), remedy)
    model = networks.model(params.train.epochs)
    untrained = untrained_network(params.train, data.info).to(chosen_device(params.train))
    batches = networks.batches()

    def right(changed: nn.Module) -> NDArray[np.bool_]:
        return record_logits(changed, batches)["correct"].astype(bool)

    try:
        fitted = (
            right(model),
            {
                f"{layer} ({type(model.get_submodule(layer)).__name__})": right(
                    measure_statistics(rewound(model, untrained, layer), batches)
                )
                for layer in Progress(layers(model), "layers")
            },
            {
                share: right(measure_statistics(pruned(model, share), batches))
                for share in Progress(sorted(options.pruned), "shares of pruned weights")
            },
        )
    except ValueError as error:
        raise params.train.model.mistake(
            message=f"the network {error}: remove {name} from layers.variants"
        ) from None
    linear = _linear(params, data, variant, networks, options.linear)
    report = LayersReport(variant, memorized, *fitted, linear)
    report.write(folder)
    write_json(report.metrics, folder / "metrics.json")
    files = {f"layers/{path.name}": path for path in (*folder.glob("*.csv"), *folder.glob("pictures/*.png"))}
    shares = report.metrics.model_dump(include={"memorized", "others", "pruning_auroc"}, exclude_none=True)
    if report.metrics.linear is not None:
        shares |= {f"linear_{key}": value for key, value in report.metrics.linear.model_dump().items()}
    numbers = {f"layers/{key}": float(value) for key, value in shares.items()}
    Run.of_finished_training(params, reference, "layers").results(files, numbers)
    print(f"{name}: {report.metrics.in_words()}")


def _linear(
    params: Params, data: PreparedData, variant: VariantData, networks: TrainedNetworks, models: int | None
) -> LinearLayers | None:
    """What so many linear classifiers memorize, on the features of the network and of others."""
    if models is None:
        return None
    unseen = np.empty(len(variant.ids))

    def memorization(features: NDArray[np.float32]) -> NDArray[np.float64]:
        numbers = Progress(range(models), "linear classifiers")
        return linear_memorization(features, variant.given, numbers, seed=params.train.seed).memorization

    seen = memorization(networks.features(params.train.epochs))
    for rows, features in unseen_features(params, data, variant, chosen_device(params.train)):
        unseen[rows] = memorization(features)[rows]
    return LinearLayers(models, seen, unseen)


if __name__ == "__main__":
    main()
