"""How small may h be? Compares the difference in float32 and bfloat16 with the same one in float64.

Run in a project whose stage train@NAME has run with record.checkpoints: all,

    python benchmarks/precision.py NAME EPOCH
"""

from __future__ import annotations

import argparse
import copy

import numpy as np
from cost_and_quality import Trained
from scipy.stats import spearmanr
from torch import Tensor, nn

from memtrack.core.recording.curvature import rademacher_probe
from memtrack.core.recording.eval_mode import folded, frozen_eval, loss_gradient
from memtrack.core.recording.precision import Precision

SAMPLES = 512


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="the variant")
    parser.add_argument("epoch", type=int)
    options = parser.parse_args()
    project = Trained(options.name)
    inputs, labels = next(iter(project.batches(SAMPLES)))
    model = project.model(options.epoch)
    probe = rademacher_probe(inputs.shape[1:], seed=0, epoch=options.epoch, probe=0)

    def lengths(network: nn.Module, inputs: Tensor, h: float, precision: Precision = "float32") -> np.ndarray:
        at, moved = (loss_gradient(network, x, labels, precision)[1] for x in (inputs, inputs + h * probe))
        return ((moved - at).double().flatten(1).norm(dim=1) / h).numpy()

    print("      h   float64    float32           float32, folded   bfloat16, folded")
    print("          median     error    rank     error    rank     error    rank")
    with frozen_eval(model):
        exact, fast = copy.deepcopy(model).double(), folded(model, inputs)
        assert fast is not None
        for h in (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.03, 0.1, 1.0):
            truth = lengths(exact, inputs.double(), h)
            cells = []
            for found in (
                lengths(model, inputs, h),
                lengths(fast, inputs, h),
                lengths(fast, inputs, h, "bfloat16"),
            ):
                error = np.median(np.abs(found - truth)[truth > 0] / truth[truth > 0])
                cells.append(f"{error:.1e}  {spearmanr(found, truth).statistic:.4f}")
            print(f"{h:7g}   {np.median(truth):.2e}   {'   '.join(cells)}")


if __name__ == "__main__":
    main()
