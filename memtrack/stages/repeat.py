"""Stage `repeat`: a variant trained and evaluated with another seed, in results/repeat/NAME-SEED.

It shows how much the scores vary from training to training. The networks are not kept.
"""

from __future__ import annotations

import argparse
import shutil

from memtrack.io.paths import repeat_results
from memtrack.io.problems import entry_point
from memtrack.stages import load_variant
from memtrack.stages.evaluate import evaluate
from memtrack.stages.train import train


@entry_point
def main() -> None:
    """Run the stage for the variant and the seed named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", help="a key of variants: in params.yaml")
    parser.add_argument("seed", type=int, help="in place of train.seed and curvature.seed")
    options = parser.parse_args()
    params = load_variant(options.variant)
    changes = {
        section: getattr(params, section).model_copy(update={"seed": options.seed})
        for section in ("train", "curvature")
    }
    params = params.model_copy(update=changes)
    folder = repeat_results(options.variant, options.seed)
    trained = folder / "training"
    train(params, options.variant, trained, run_name=f"{options.variant}, seed {options.seed}")
    evaluate(params, options.variant, trained, folder)
    shutil.rmtree(trained)


if __name__ == "__main__":
    main()
