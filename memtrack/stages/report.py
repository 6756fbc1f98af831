"""Stage `report`: the page on which people look at the suspects and decide, in
results/report/NAME/index.html.
"""

from __future__ import annotations

from memtrack.config.params import Params
from memtrack.config.paths import REPORT_RESULTS, TRAIN_RESULTS
from memtrack.data.all_images import AllImages
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.report.page.content import content
from memtrack.report.page.page import write_page
from memtrack.report.page.results import read_results
from memtrack.runs.trained import TrainedRun
from memtrack.stages import load_with_variant
from memtrack.terminal.entry_point import entry_point
from memtrack.tracking.run import Run, check_store

PAGE = "index.html"


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    check_store(params.tracking)
    report(params, name)


def report(params: Params, name: str) -> None:
    """Write the page of a variant, and add it to the MLflow run of its training."""
    data = PreparedData.current(params.data)
    data.keep_decoded(params.compute.image_cache_bytes)
    variant = VariantData(name, data)
    run = TrainedRun(params, data, variant, TRAIN_RESULTS / name, f"train@{name}")
    results = read_results(params, variant, run, AllImages(data, variant))
    if results.memorization is None and name in params.memorization.variants:
        later = f"after memorization@{name} run `dvc repro -f report@{name}`"
        print(f"{name}: memorization is not on the page yet: {later}")
    found = content(results, params.report, data.info.shape)
    path = REPORT_RESULTS / name / PAGE
    write_page(found, path)
    Run.of_finished_training(params, run.reference, "report").results({f"report/{PAGE}": path}, {})
    shown, tests = found["trains"], len(found["shown"]["ids"]) - found["trains"]
    also = f" and {tests} of {found['tests']} test samples" if found["tests"] else ""
    size = path.stat().st_size / 1e6
    print(f"{name}: {path} shows {shown} of {found['samples']} samples{also} ({size:.1f} MB)")


if __name__ == "__main__":
    main()
