"""The limiter beside `limits`, Valkey's own scripts, grpc.aio and envoyproxy/ratelimit."""
