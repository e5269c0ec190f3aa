"""Lua for Valkey. `algorithms.lua` is put before each of the others."""
