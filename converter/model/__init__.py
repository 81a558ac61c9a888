"""The model as a graph: exported or read, finished with its head, checked, and made small."""
