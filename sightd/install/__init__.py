"""Puts sightd on a machine as a service, and takes it off again: `sightd install`, `sightd uninstall`.

A plan is made first: the changes by which this machine differs from what it should be. So a second run finds
nothing to change, and --dry-run prints exactly what would be done.
"""

from __future__ import annotations
