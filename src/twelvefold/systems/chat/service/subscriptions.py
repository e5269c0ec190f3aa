"""Where devices can be woken."""

import base64
from collections.abc import Collection
from urllib.parse import urlsplit

from twelvefold.kernel.errors import InvalidInputError
from twelvefold.kernel.ids import SnowflakeGenerator
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import PushSubscription
from twelvefold.systems.chat.store.push import PushStore


class PushSubscriptions:
    """See the module. `vapid_public_key` is what browsers subscribe with (RFC 8292), base64url."""

    def __init__(
        self, store: PushStore, ids: SnowflakeGenerator, *, vapid_public_key: str, private_endpoints: bool,
        services: Collection[str],
    ) -> None:  # fmt: skip
        self._store = store
        self._ids = ids
        self.vapid_public_key = vapid_public_key
        self._private_endpoints = private_endpoints
        self._services = services

    async def put(self, tenant: TenantId, user: str, subscription: PushSubscription) -> None:
        """Remember a device's subscription."""
        if subscription.service not in self._services:
            raise InvalidInputError(
                f"this server has no keys for {subscription.service}", field="service",
                hint="the operator sets chat.fcm_service_account, or chat.apns_key and what belongs to it",
            )  # fmt: skip
        if subscription.service == "webpush":
            self._check_address(subscription.address)
            if subscription.keys is None:
                raise InvalidInputError("WebPush needs the browser's keys", field="keys")
            _check(subscription.keys.p256dh, 65, "keys.p256dh", begins=b"\x04")
            _check(subscription.keys.auth, 16, "keys.auth")
        await self._store.put(tenant, user, self._ids.make(), subscription)

    def _check_address(self, address: str) -> None:
        schemes = ("https", "http") if self._private_endpoints else ("https",)
        try:
            parts = urlsplit(address)
            if parts.scheme in schemes and parts.hostname and parts.port != 0 and address.isascii():
                return
        except ValueError:
            pass
        raise InvalidInputError("a push endpoint is an https address", field="address")

    async def remove(self, tenant: TenantId, user: str, device: str) -> None:
        """A device wants no more."""
        await self._store.remove(tenant, user, device)


def _check(text: str, size: int, field: str, *, begins: bytes = b"") -> None:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if len(data) == size and data.startswith(begins):  # an uncompressed point, as browsers give it
            return
    except ValueError:
        pass
    raise InvalidInputError(f"{size} bytes in base64url are expected", field=field)
