"""Tracking: which detections of a camera's frames are the same object."""

from __future__ import annotations

from .tracker import Track, Tracker

__all__ = ["Track", "Tracker"]
