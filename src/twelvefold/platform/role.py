"""One child of `up`: a web process (`web-0`, `web-1`, …) or the worker (`work`).

It waits for the runtime note, opens its engines, says that it is ready by writing its pid into a file,
and ends in order on SIGTERM.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import structlog
import uvloop

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.telemetry import configure_logging
from twelvefold.platform import runtime

FAILED = "platform.role.failed"
WORKER_NICENESS = 5
"""Where a core is shared, answers go before work behind them; work still gets a quarter of it."""
log = structlog.get_logger("platform")


async def run(role: str, data: Path, ready: Path) -> None:
    """Run one role until SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def say_ready() -> None:
        ready.write_text(str(os.getpid()))
        log.info("platform.role.ready", role=role, pid=os.getpid())

    if role == "work":
        os.nice(WORKER_NICENESS)
        from twelvefold.platform.work_role import work  # noqa: PLC0415 - a role pays only for what it runs

        await work(await runtime.wait(data), data, say_ready, stop)
    else:
        from twelvefold.platform.web_role import serve  # noqa: PLC0415

        await serve(await runtime.wait(data), data, role, say_ready, stop)


def main(role: str, data: Path, ready: Path) -> None:
    """Run one role to its end."""
    configure_logging("info", json=True)
    try:
        uvloop.run(run(role, data, ready))
    except TwelvefoldError as error:
        log.error(FAILED, role=role, reason=error.message)  # noqa: TRY400 - the reason is the message
        sys.exit(1)
