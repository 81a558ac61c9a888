"""`python -m sightd` is the `sightd` command."""

from __future__ import annotations

from .cli import main

main()
