"""The only part of links that touches engines: SQL, Valkey keys and scripts, the click log and the facts."""
