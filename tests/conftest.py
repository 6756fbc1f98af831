"""Before torch is loaded: threads that wait sleep, since several test processes share the cores."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow files first, so that no process is left alone with them at the end."""
    items.sort(key=lambda item: "pipeline" not in item.path.parts)
