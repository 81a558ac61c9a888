"""The daemon: cameras in, detections out over MQTT, for years."""

__all__ = ["OWNER"]

#: Tells this package from PyPI's python-daemon, whose import name is `daemon` too (see sightd.cli).
OWNER = "sightd"
