"""Where devices can be woken."""

import base64

from twelvefold.kernel.errors import InvalidInputError
from twelvefold.kernel.ids import SnowflakeGenerator
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import PushSubscription
from twelvefold.systems.chat.store.push import PushStore


class PushSubscriptions:
    """See the module. `vapid_public_key` is what browsers subscribe with (RFC 8292), base64url."""

    def __init__(
        self, store: PushStore, ids: SnowflakeGenerator, *, vapid_public_key: str, private_endpoints: bool
    ) -> None:
        self._store = store
        self._ids = ids
        self.vapid_public_key = vapid_public_key
        self._private_endpoints = private_endpoints

    async def put(self, tenant: TenantId, user: str, subscription: PushSubscription) -> None:
        """Remember a device's subscription."""
        if subscription.service == "webpush":
            if not subscription.address.startswith("https://") and not self._private_endpoints:
                raise InvalidInputError("a push endpoint is an https address", field="address")
            if subscription.keys is None:
                raise InvalidInputError("WebPush needs the browser's keys", field="keys")
            _check(subscription.keys.p256dh, 65, "keys.p256dh")
            _check(subscription.keys.auth, 16, "keys.auth")
        await self._store.put(tenant, user, self._ids.make(), subscription)

    async def remove(self, tenant: TenantId, user: str, device: str) -> None:
        """A device wants no more."""
        await self._store.remove(tenant, user, device)


def _check(text: str, size: int, field: str) -> None:
    try:
        if len(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))) == size:
            return
    except ValueError:
        pass
    raise InvalidInputError(f"{size} bytes in base64url are expected", field=field)
