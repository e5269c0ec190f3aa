"""What chat decides; no I/O, no clock, no randomness."""
