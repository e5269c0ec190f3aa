"""Envoy's rate-limit service over a small HTTP/2 server of our own."""
