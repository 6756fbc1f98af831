"""Stage `code`: hash what the stages depend on and DVC cannot watch, in results/code/hashes.json."""

from __future__ import annotations

import pkgutil
from hashlib import sha256

from memtrack import stages
from memtrack.config.json_files import StrictModel, write_json
from memtrack.config.params import load
from memtrack.config.paths import CODE_RESULTS
from memtrack.runs.code import stage_hash
from memtrack.terminal.entry_point import entry_point

OPTIONAL = ("suspects", "averaged", "halves", "report")
"""Sections of params.yaml that stages depend on and that may be left out, which DVC would not accept."""


class StageHashes(StrictModel):
    """hashes.json: the hashes of the code of each stage, and of each of the `OPTIONAL` sections, by name."""

    code: dict[str, str]
    sections: dict[str, str]


@entry_point
def main() -> None:
    """Run the stage."""
    names = [found.name for found in pkgutil.iter_modules(stages.__path__)]
    params = load()
    sections = {name: getattr(params, name).model_dump_json() for name in OPTIONAL}
    hashes = StageHashes(
        code={name: stage_hash(name) for name in names},
        sections={name: sha256(text.encode()).hexdigest() for name, text in sections.items()},
    )
    CODE_RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(hashes, CODE_RESULTS / "hashes.json")


if __name__ == "__main__":
    main()
