"""Where the networks of an estimate live until all are there: .memtrack/networks/NAME-KEY in the project.

It is like the work folder of a training (`memtrack.runs.work_folder`), but a network is a row of bits, and
nothing is thrown away when the estimate is whole: more networks may be asked for later.
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
NETWORKS, FINGERPRINT = "networks.npz", "networks.json"


class NetworkFolder:
    """The networks of one estimate, for this process alone.

    Attributes:
        networks: those that are there.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint, samples: tuple[int, int]) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.networks = CorrectPredictions(fingerprint.key, samples)
        for path in sorted(folder.glob("*.npz")):
            try:
                self.networks.read(path)
            except DamagedNetworks:
                print(f"{path}: is damaged: what is not elsewhere is trained again")
                path.unlink()

    @classmethod
    @contextmanager
    def claimed(
        cls, name: str, fingerprint: Fingerprint, samples: tuple[int, int], published: Path | None = None
    ) -> Iterator[NetworkFolder]:
        """The folder of an estimate, with what `published` has of it. Another process that is at the same
        estimate is waited for: what it trains need not be trained again."""
        folder = project_root() / FOLDER / f"{name}-{fingerprint.key}"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"{name}: another process trains these networks: waiting for it", flush=True)
            lock.acquire()
        try:
            found = cls(folder, fingerprint, samples)
            if published is not None and (published / NETWORKS).exists():
                try:
                    found.keep(found.networks.read(published / NETWORKS))
                except OtherNetworks:  # of other parameters
                    pass
                except DamagedNetworks:
                    print(f"{published / NETWORKS}: is damaged: what is not elsewhere is trained again")
            yield found
        finally:
            lock.release()

    def publish(self, results: Path, numbers: Sequence[int]) -> None:
        """Write networks to one file in `results`."""
        results.mkdir(parents=True, exist_ok=True)
        self.networks.write(results / NETWORKS, numbers)
        self.fingerprint.write(results / FINGERPRINT)

    def keep(self, numbers: Sequence[int]) -> None:
        """Networks that were added stay when this process ends."""
        if numbers:
            self.networks.write(self.folder / f"{numbers[0]:08d}_{len(numbers)}.npz", numbers)
