"""The HTTP and WebSocket toolkit. It knows no system."""
