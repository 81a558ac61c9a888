"""`sightd doctor`: looks at everything that a deployment needs and says, for each fault, how to mend it.

One file an area, each with a ``check`` that yields findings; examine.py runs them all. The package itself loads
next to nothing: its trials run as processes of their own.
"""

from __future__ import annotations

from .finding import Finding

__all__ = ["Finding"]
