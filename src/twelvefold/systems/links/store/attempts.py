"""Password attempts a link and minute, counted in Valkey; with Valkey away each process counts its own."""

from collections.abc import Callable

from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.errors import TwelvefoldError


class AttemptStore:
    """Counts attempts."""

    def __init__(self, valkey: Valkey, monotonic: Callable[[], float]) -> None:
        self._valkey = valkey
        self._monotonic = monotonic
        self._own: dict[tuple[int, int], int] = {}

    async def count(self, link_id: int) -> int:
        """This attempt's number within its minute, from 1."""
        minute = int(self._monotonic() // 60)
        key = f"links:tries:{link_id}"
        try:
            number = int(await self._valkey.call("INCR", key))
            if number == 1:
                await self._valkey.call("EXPIRE", key, 60)
        except TwelvefoldError:
            if len(self._own) > 10_000:
                self._own.clear()
            number = self._own[link_id, minute] = self._own.get((link_id, minute), 0) + 1
        return number
