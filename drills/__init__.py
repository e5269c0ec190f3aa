"""Drills: kill something under load, then count what is left."""
