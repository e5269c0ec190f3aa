"""Valkey scripts of the links system."""
