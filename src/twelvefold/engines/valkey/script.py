"""Scripts that run on the server, sent by their hash.

The source travels only when the server does not know the hash (a restart, SCRIPT FLUSH): the reply
NOSCRIPT proves that nothing ran, so sending the same call once more, with its source, cannot run it twice.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twelvefold.engines.valkey.errors import ReplyError
from twelvefold.engines.valkey.flight import Callback, resolve
from twelvefold.engines.valkey.wire import Value


class Sender(Protocol):
    """What a script needs of a client."""

    def send_with(self, callback: Callback, *args: Value) -> None:
        """See `Pipeline.send_with`."""

    def send_now_with(self, callback: Callback, *args: Value) -> None:
        """See `Pipeline.send_now_with`."""


class Script:
    """One script, bound to a client.

    Args:
        client: what sends it.
        source: Lua.
        keys: how many keys each call names; they must be in one slot.
    """

    __slots__ = ("_client", "_keys", "sha", "source")

    def __init__(self, client: Sender, source: str, *, keys: int) -> None:
        self._client = client
        self._keys = keys
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    def send_with(
        self, callback: Callback, keys: Sequence[Value], args: Sequence[Value], *, at_once: bool = False
    ) -> None:
        """Run it; `callback` gets its reply or an exception. Raises at once like the client's `send_with`.

        `at_once`: as `Pipeline.send_now_with`.
        """
        if len(keys) != self._keys:
            raise ValueError(f"this script takes {self._keys} keys, not {len(keys)}")
        rest = (len(keys), *keys, *args)
        attempt = _Attempt(self._client, callback, self.source, rest)
        send = self._client.send_now_with if at_once else self._client.send_with
        send(attempt, "EVALSHA", self.sha, *rest)

    def send(self, keys: Sequence[Value], args: Sequence[Value] = ()) -> asyncio.Future[Any]:
        """Run it; the future gets its reply or error. Raises at once like the client's `send`."""
        future = asyncio.get_running_loop().create_future()
        self.send_with(lambda reply: resolve(future, reply), keys, args)
        return future

    async def __call__(self, keys: Sequence[Value], args: Sequence[Value] = ()) -> Any:
        """Run it and wait for its reply."""
        return await self.send(keys, args)


class _Attempt:
    """The first try of one call."""

    __slots__ = ("_callback", "_client", "_rest", "_source")

    def __init__(
        self, client: Sender, callback: Callable[[Any], None], source: str, rest: tuple[Value, ...]
    ) -> None:
        self._client = client
        self._callback = callback
        self._source = source
        self._rest = rest

    def __call__(self, reply: Any) -> None:
        if isinstance(reply, ReplyError) and reply.reply_code == "NOSCRIPT":
            try:
                self._client.send_with(self._callback, "EVAL", self._source, *self._rest)
            except Exception as error:  # noqa: BLE001 refused: the caller learns it through the callback
                self._callback(error)
        else:
            self._callback(reply)
