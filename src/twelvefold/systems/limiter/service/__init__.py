"""The public async API of the limiter; `Limiter` is what a library user calls."""
