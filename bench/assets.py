"""Where the benches find real clips, images and models: beside the checkout, or where SIGHTD_TEST_ASSETS says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["asset"]


def asset(name: str) -> Path:
    """The file or folder *name*; ends the bench with what is missing."""
    default = Path(__file__).parents[2] / "shared" / "assets"
    path = Path(os.environ.get("SIGHTD_TEST_ASSETS", default)) / name
    if not path.exists():
        sys.exit(f"{path} is missing: this bench needs real data, name its folder in SIGHTD_TEST_ASSETS")
    return path
