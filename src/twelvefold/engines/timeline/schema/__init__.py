"""Numbered SQL of the PostgreSQL form; `{space}` is the schema of one space."""
