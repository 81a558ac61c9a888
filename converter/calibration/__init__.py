"""Frames: captured, kept, chosen to calibrate on, held out to judge by."""
