"""`memtrack export`: write the most suspect samples of a variant for Label Studio or FiftyOne."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from memtrack.config.paths import EXPORT_RESULTS
from memtrack.core.files import whole_file
from memtrack.report.exported import Suspects
from memtrack.stages import load_variant
from memtrack.terminal.entry_point import entry_point


@entry_point
def main(argv: list[str] | None = None) -> None:
    """Write the files, and say what to do with them."""
    parser = argparse.ArgumentParser(prog="memtrack export", description=__doc__)
    parser.add_argument("program", choices=("label-studio", "fiftyone"))
    parser.add_argument("variant", help="a key under variants: in params.yaml; stage evaluate has run for it")
    parser.add_argument(
        "--samples", type=number_of_samples, default=1000, help="how many, the most suspect ones (1000)"
    )
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="default: results/export/VARIANT/PROGRAM")
    parser.add_argument(
        "--url",
        help="for Label Studio: what goes before the path of an image below data.root, such as "
        "'/data/local-files/?d=photos/'; without it the images are in the tasks",
    )
    chosen = parser.parse_args(argv)
    params = load_variant(chosen.variant)
    folder = chosen.to or EXPORT_RESULTS / chosen.variant / chosen.program
    suspects = Suspects(params, chosen.variant, chosen.samples)
    if chosen.program == "label-studio":
        _label_studio(suspects, folder, chosen.url)
    else:
        _fiftyone(suspects, folder)


def _label_studio(suspects: Suspects, folder: Path, url: str | None) -> None:
    from memtrack.report.label_studio import config, tasks

    interface = config(suspects.variant.summary.classes)
    with whole_file(folder / "tasks.json") as file:
        for number, task in enumerate(tasks(suspects, url)):
            file.write(b",\n" if number else b"[\n")
            file.write(json.dumps(task, ensure_ascii=False).encode())
        file.write(b"\n]\n")
    with whole_file(folder / "config.xml") as file:
        file.write(interface.encode())
    print(f"{folder}: {len(suspects)} tasks; config.xml is for Settings > Labeling Interface > Code")


def _fiftyone(suspects: Suspects, folder: Path) -> None:
    from memtrack.report.fiftyone import write_dataset

    write_dataset(suspects, folder)
    where = "" if suspects.files is None else ", data_path='data.json'"
    print(
        f"{folder}: {len(suspects)} samples; fiftyone.Dataset.from_dir(dataset_dir={str(folder)!r}{where}, "
        "dataset_type=fiftyone.types.FiftyOneImageClassificationDataset)"
    )


def number_of_samples(text: str) -> int:
    """The number; an error of the command line if it is none."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: should be a number of samples, 1 or more")
    return int(text)


if __name__ == "__main__":
    main()
