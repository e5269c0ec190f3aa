"""Numbered migrations of the schema `links`."""
