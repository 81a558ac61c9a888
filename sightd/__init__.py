"""The core that the converter and the daemon share; it imports neither of them."""

__all__ = ["__version__"]

__version__ = "0.1.0"
