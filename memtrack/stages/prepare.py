"""Stage `prepare`: convert a data source to its canonical form, in data/prepared."""

from __future__ import annotations

from memtrack.config.paths import PREPARED_FOLDER
from memtrack.data.preparation import write_prepared
from memtrack.data.sources import collect
from memtrack.stages import load_params
from memtrack.terminal.entry_point import entry_point


@entry_point
def main() -> None:
    """Run the stage."""
    data = load_params().data
    info = write_prepared(collect(data), data, PREPARED_FOLDER)
    print(
        f"{info.source}: {info.train} training and {info.test} test samples, "
        f"{len(info.classes)} classes, images {'x'.join(map(str, info.shape))}"
    )


if __name__ == "__main__":
    main()
