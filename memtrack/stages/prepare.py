"""Stage `prepare`: convert a data source to its canonical form, in data/prepared, and report what it took and
what it left out in results/prepare."""

from __future__ import annotations

from memtrack.config.json_files import write_json
from memtrack.config.paths import PREPARE_RESULTS, PREPARED_FOLDER
from memtrack.core.images.pixels import is_vector
from memtrack.data.preparation import write_prepared
from memtrack.data.sources import collect
from memtrack.stages import load_params
from memtrack.terminal.entry_point import entry_point


@entry_point
def main() -> None:
    """Run the stage."""
    params = load_params()
    limit = params.compute.image_cache_bytes
    info, report = write_prepared(collect(params.data), params.data, PREPARED_FOLDER, image_cache=limit)
    write_json(report, PREPARE_RESULTS / "report.json")
    size = (
        f"{info.shape[0]} features" if is_vector(info.shape) else f"images {'x'.join(map(str, info.shape))}"
    )
    print(
        f"{info.source}: {info.train} training and {info.test} test samples, "
        f"{len(info.classes)} classes, {size}",
        *report.in_words(),
        sep="\n",
    )


if __name__ == "__main__":
    main()
