"""Leased, fenced Snowflake worker ids."""
