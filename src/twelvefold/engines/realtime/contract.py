"""What channels across processes promise: speed, and word of what they may have missed.

A message reaches each subscriber at most once, the publisher's own process included. The messages of
one publisher to one channel arrive in the order they were published. Nothing is kept: whoever must not
miss anything keeps the truth elsewhere (the log, the database), treats a message as a doorbell that
carries the payload, and reads the truth again when `on_gap` is called.
"""

from collections.abc import Callable
from typing import Protocol

OnMessage = Callable[[bytes], None]
OnGap = Callable[[], None]


class Subscriber(Protocol):
    """One subscription to one channel."""

    def close(self) -> None:
        """No message is delivered after this. Closing twice does no harm."""


class Realtime(Protocol):
    """Channels."""

    def publish(self, channel: bytes, payload: bytes) -> None:
        """Send to all who are subscribed now; returns before it is sent.

        All that is published in one turn of the event loop leaves in one write. Raises at once, having
        sent nothing: `EngineUnavailableError`, `OverloadedError`.
        """

    async def subscribe(self, channel: bytes, on_message: OnMessage, *, on_gap: OnGap) -> Subscriber:
        """Receive what is published to `channel` from the moment this returns.

        Args:
            channel: any bytes. Many subscribers of one process share one subscription.
            on_message: called with each payload in the event loop; what it raises is logged.
            on_gap: called when messages may have been missed, after the channel works again.

        Raises:
            EngineUnavailableError: not subscribed; there is nothing to close.
        """

    @property
    def connected(self) -> bool:
        """Whether messages go out and come in now."""
