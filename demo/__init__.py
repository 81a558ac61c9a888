"""From nothing to detections over MQTT with one command: ``make demo``. Run from the checkout, not packaged."""
