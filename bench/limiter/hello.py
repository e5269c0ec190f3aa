"""`grpc.aio` saying hello: the least that a Python gRPC server does. Usage: python -m bench.limiter.hello PORT."""

import sys

import grpc  # type: ignore[import-untyped] # ships no types
import uvloop


async def main(port: int) -> None:
    async def hello(data: bytes, _: object) -> bytes:
        return data

    handler = grpc.unary_unary_rpc_method_handler(hello)
    handlers = grpc.method_handlers_generic_handler(
        "envoy.service.ratelimit.v3.RateLimitService", {"ShouldRateLimit": handler}
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handlers,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
