"""The limiter's HTTP API, and the guard of everybody else's."""
