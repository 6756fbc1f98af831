"""Stage `code`: hash the code of each stage, in results/code/hashes.json, on which the stages depend."""

from __future__ import annotations

import pkgutil

from memtrack import stages
from memtrack.config.json_files import StrictModel, write_json
from memtrack.config.paths import CODE_RESULTS
from memtrack.runs.code import stage_hash
from memtrack.terminal.entry_point import entry_point


class StageHashes(StrictModel):
    """hashes.json: the hash of the code of each stage by its name."""

    code: dict[str, str]


@entry_point
def main() -> None:
    """Run the stage."""
    names = [found.name for found in pkgutil.iter_modules(stages.__path__)]
    hashes = StageHashes(code={name: stage_hash(name) for name in names})
    CODE_RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(hashes, CODE_RESULTS / "hashes.json")


if __name__ == "__main__":
    main()
