"""Tracking: which detections of a camera's frames are the same object."""

from __future__ import annotations

from .stillness import stationary
from .tracker import TRACK, Tracker

__all__ = ["TRACK", "Tracker", "stationary"]
