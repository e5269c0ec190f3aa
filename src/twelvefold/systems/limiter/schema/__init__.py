"""Migrations of the limiter."""
