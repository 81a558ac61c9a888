"""The converter: a trained model and the user's own frames in, a checked bundle out."""

__all__ = ["OWNER"]

OWNER = "sightd"
