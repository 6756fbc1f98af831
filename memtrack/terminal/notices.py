"""Notices that a command prints once."""

from __future__ import annotations

import sys
from functools import lru_cache


@lru_cache
def say_once(text: str) -> None:
    """Print a line to standard error, unless this process has printed it before."""
    print(text, file=sys.stderr)
