"""The limiter: one state behind a library, HTTP, Envoy and Redis doors, and the guard of our own API."""
