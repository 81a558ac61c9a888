"""Building engine files: one module an engine kind."""
