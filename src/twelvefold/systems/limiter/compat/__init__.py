"""Other people's protocols over the limiter."""
