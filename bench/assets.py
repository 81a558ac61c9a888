"""Where the benches find real clips, images and models: beside the checkout, or where SIGHTD_TEST_ASSETS says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["asset", "has_assets"]


def asset(name: str) -> Path:
    """The file or folder *name*; ends the bench with what is missing."""
    path = _folder() / name
    if not path.exists():
        sys.exit(f"{path} is missing: this bench needs real data, name its folder in SIGHTD_TEST_ASSETS")
    return path


def has_assets() -> bool:
    """Whether there are any."""
    return _folder().is_dir()


def _folder() -> Path:
    return Path(os.environ.get("SIGHTD_TEST_ASSETS", Path(__file__).parents[2] / "shared" / "assets"))
