"""Twelve folders of one shape. No system imports another."""
