"""Drills of the limiter: its state is taken away, and its nodes die with leases in their hands."""
