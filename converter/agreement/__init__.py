"""Agreement: what the reference detects, how near an engine comes to it, and whether that is enough."""
