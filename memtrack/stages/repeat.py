"""Stage `repeat`: train a variant with another seed, in results/repeat/NAME-SEED/training.

It shows how much the scores vary between trainings; `memtrack.stages.evaluate --seed` computes them.
"""

from __future__ import annotations

from memtrack.config.paths import repeat_training
from memtrack.core.training.distributed import World
from memtrack.runs.processes import in_processes
from memtrack.runs.training import train
from memtrack.stages import load_variant, variant_parser
from memtrack.terminal.entry_point import entry_point


@entry_point
def main() -> None:
    """Run the stage for the variant and the seed named on the command line."""
    parser = variant_parser(__doc__)
    parser.add_argument("seed", type=int, help="replaces train.seed and curvature.seed")
    options = parser.parse_args()
    params = load_variant(options.variant).with_seed(options.seed)
    folder = repeat_training(options.variant, options.seed)
    run_name = f"{options.variant}, seed {options.seed}"

    def work(world: World) -> None:
        train(params, options.variant, folder, run_name=run_name, world=world)

    in_processes(params, work, "memtrack.stages.repeat", options.variant, str(options.seed))


if __name__ == "__main__":
    main()
