"""Stage `prepare`: a data source to its canonical form in data/prepared."""

from __future__ import annotations

from memtrack.config import params
from memtrack.config.paths import PREPARED_FOLDER
from memtrack.data.preparation import write_prepared
from memtrack.data.sources import collect
from memtrack.terminal.entry_point import entry_point


@entry_point
def main() -> None:
    """Run the stage."""
    data = params.load().data
    record = write_prepared(collect(data), data, PREPARED_FOLDER)
    print(
        f"{record.source}: {record.train} training and {record.test} test samples, "
        f"{len(record.classes)} classes, images {'x'.join(map(str, record.shape))}"
    )


if __name__ == "__main__":
    main()
