"""How many optimisation profiles an engine needs, so that its slots compute at the same time; the builder asks, too."""

from __future__ import annotations

from typing import Tuple

__all__ = ["SLOTS", "profiles_wanted"]

#: Batches that may be under way at once: one computes, one is copied, one is filled.
SLOTS = 3


def profiles_wanted(version: Tuple[int, ...]) -> int:
    """Identical profiles to add to a build with TensorRT *version*.

    Before TensorRT 10 a profile serves one execution context at a time (8.6 shares them only as a preview feature).
    """
    return 1 if version >= (10,) else SLOTS
