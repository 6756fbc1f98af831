"""Before torch is loaded: threads that wait sleep, since several test processes share the cores."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


SLOW = [
    "test_pipeline",
    "test_memorization_stages",
    "test_tune_workers",
    "test_engines",
    "test_store_away",
    "test_tune",
    "test_noise_kinds",
    "test_interrupted",
]
"""The files that take longest, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow files first, so that no process is left alone with them at the end."""
    items.sort(key=lambda item: SLOW.index(item.path.stem) if item.path.stem in SLOW else len(SLOW))
