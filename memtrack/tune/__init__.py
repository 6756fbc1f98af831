"""`python -m memtrack.tune`: which h and n find the corrupted labels best, without training again."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as in memtrack.stages; before torch is loaded
