"""Where the limiter's state is: scripts in Valkey, rules in PostgreSQL."""
