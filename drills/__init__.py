"""Drills: kill a process of a running platform, wait until it is whole again, count what is left."""
