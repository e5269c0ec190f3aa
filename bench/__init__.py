"""Measurements of each system beside its best peer and the physical limit. `python -m bench links`."""
