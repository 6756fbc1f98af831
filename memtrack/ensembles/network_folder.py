"""The folder of an estimate's networks until all are trained: .memtrack/networks/NAME-KEY in the project.

It is like the work folder of a training (`memtrack.runs.work_folder`), but a network is a row of bits, and
nothing is deleted when the estimate is complete: more networks may be requested later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from memtrack.config.paths import project_root
from memtrack.core.memorization.correct_predictions import CorrectPredictions, DamagedNetworks, OtherNetworks
from memtrack.runs.fingerprint import Fingerprint

FOLDER = Path(".memtrack/networks")
NETWORKS = "networks.npz"


class NetworkFolder:
    """The networks of one estimate, reserved for this process.

    Attributes:
        networks: the networks that exist.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: Fingerprint,
        samples: tuple[int, int],
        log_odds_key: str | None = None,
    ) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.networks = CorrectPredictions(fingerprint.key, samples, log_odds_key)
        for path in sorted(folder.glob("*.npz")):
            try:
                self.networks.read(path)
            except DamagedNetworks:
                _print_damaged(path)
                path.unlink()

    @classmethod
    @contextmanager
    def claimed(
        cls,
        name: str,
        fingerprint: Fingerprint,
        samples: tuple[int, int],
        published: Path | None = None,
        log_odds_key: str | None = None,
    ) -> Iterator[NetworkFolder]:
        """The folder of an estimate, including its networks in `published`. If another process works on the
        same estimate, wait for it: the networks that it trains need not be trained again.

        `log_odds_key`: see `CorrectPredictions`. Networks with log odds have a folder of their own."""
        slot = fingerprint.key if log_odds_key is None else f"{fingerprint.key}-{log_odds_key}"
        folder = project_root() / FOLDER / f"{name}-{slot}"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"{name}: another process is training these networks: waiting for it", flush=True)
            lock.acquire()
        try:
            found = cls(folder, fingerprint, samples, log_odds_key)
            if published is not None and (published / NETWORKS).exists():
                try:
                    found.keep(found.networks.read(published / NETWORKS))
                except OtherNetworks:  # trained with other parameters
                    pass
                except DamagedNetworks:
                    _print_damaged(published / NETWORKS)
            yield found
        finally:
            lock.release()

    def publish(self, results: Path, numbers: Sequence[int]) -> None:
        """Write the networks with these numbers to one file in `results`."""
        results.mkdir(parents=True, exist_ok=True)
        self.networks.write(results / NETWORKS, numbers)

    def keep(self, numbers: Sequence[int]) -> None:
        """Store networks that were added, so that they outlive this process."""
        if numbers:
            self.networks.write(self.folder / f"{numbers[0]:08d}_{len(numbers)}.npz", numbers)


def _print_damaged(path: Path) -> None:
    print(f"{path}: is damaged: networks that are stored nowhere else are trained again")
