"""Before torch is loaded: threads that wait sleep, since several test processes share the cores."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
