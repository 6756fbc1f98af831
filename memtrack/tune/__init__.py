"""`python -m memtrack.tune`: search for the best h and n without training again."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as in memtrack.stages; set before torch is loaded
