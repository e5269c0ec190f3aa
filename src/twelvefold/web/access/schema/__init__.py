"""Migrations of the schema `access`."""
