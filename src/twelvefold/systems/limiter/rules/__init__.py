"""What the limiter decides: pure integer arithmetic, without clock, I/O or chance."""
