"""How fast one may speak: a token bucket a user in this process, and slow mode across all of them."""

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import TooManyMessagesError
from twelvefold.systems.chat.store.presence import PresenceStore

BURST_SECONDS = 10.0
MAX_USERS = 100_000


class Pace:
    """See the module. `per_second` 0: no limit."""

    def __init__(self, per_second: float, once: PresenceStore, clock: Clock) -> None:
        self._per_second = per_second
        self._capacity = max(1.0, per_second * BURST_SECONDS)
        self._once = once
        self._clock = clock
        self._buckets: dict[tuple[int, str], tuple[float, float]] = {}

    def keep(self, tenant: TenantId, user: str) -> None:
        """Count one more message. Raises `TooManyMessagesError` if it is more than a user may send now."""
        if not self._per_second or not user:
            return
        now = self._clock.monotonic()
        tokens, at = self._buckets.get((tenant, user), (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - at) * self._per_second)
        if tokens < 1:
            raise TooManyMessagesError(retry_after_seconds=1)
        if len(self._buckets) >= MAX_USERS:
            # Who has been quiet has a full bucket, which is what an unknown user has.
            self._buckets = {
                key: value for key, value in self._buckets.items() if now - value[1] < BURST_SECONDS
            }
        self._buckets[tenant, user] = (tokens - 1, now)

    async def slow(self, conversation_id: int, user: str, seconds: int, said: str) -> float:
        """How many seconds `user` has to wait before slow mode lets them speak; 0: not at all.

        To say again what was let through is not to speak again; what was refused has not been said. With
        Valkey away nobody is slowed down: messages matter more.
        """
        key, life_ms = f"{conversation_id}:{user}", seconds * 1000
        try:
            if await self._once.left_ms(f"said:{key}:{said}"):
                return 0
            if not await self._once.first_in(f"slow:{key}", life_ms):
                return max(1, await self._once.left_ms(f"slow:{key}")) / 1000
            await self._once.first_in(f"said:{key}:{said}", life_ms)
        except (EngineUnavailableError, OverloadedError):
            pass
        return 0
