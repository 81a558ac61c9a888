"""From activation ranges to INT8: which numbers, which layers, for which target."""
