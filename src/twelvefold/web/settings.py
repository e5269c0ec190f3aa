"""The section `[server]` of the configuration."""

import msgspec


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Section `[server]`."""

    host: str = "127.0.0.1"
    port: int = 8012
    processes: int = 0
    """Web processes; 0: one for each core."""
    public_url: str = ""
    """How clients reach this server, `https://short.example`; empty: `http://host:port`."""
    trusted_proxies: int = 0
    """How many proxies stand before this server, and may be believed about the client's address."""
    max_connections: int = 20_000
    max_concurrency: int = 2_000
    max_body_bytes: int = 10 * 1024 * 1024
    request_seconds: float = 30.0
    keep_alive_seconds: float = 75.0
    drain_seconds: float = 20.0
    io_uring: bool = True
    """Send a large fan-out by one system call, where the kernel lets us."""
