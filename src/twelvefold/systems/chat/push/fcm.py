"""Firebase Cloud Messaging, HTTP v1: an OAuth token from the service account, then one POST a message."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import ConfigurationError
from twelvefold.systems.chat.contracts import PushKeys
from twelvefold.systems.chat.push.contract import Gone, Notification, Refused, Retry, Wake
from twelvefold.systems.chat.push.http import AddressRefusedError, HttpClient
from twelvefold.systems.chat.push.signing import rs256
from twelvefold.systems.chat.push.webpush import judged

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
TOKEN_SECONDS = 3600
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class ServiceAccount(msgspec.Struct, frozen=True):
    """The parts of Google's service account file that are needed."""

    project_id: str
    private_key_id: str
    private_key: str
    client_email: str
    token_uri: str

    @classmethod
    def read(cls, path: str) -> "ServiceAccount":
        """From its file. Raises `ConfigurationError`."""
        try:
            return msgspec.json.decode(Path(path).read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigurationError(f"chat.fcm_service_account: {path}: {error}") from error


class Fcm:
    """See `PushService`. The address is the app's registration token."""

    def __init__(self, http: HttpClient, account: ServiceAccount, clock: Clock, *, url: str) -> None:
        key = load_pem_private_key(account.private_key.encode(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ConfigurationError("chat.fcm_service_account: its key is no RSA key")
        self._key = key
        self._http = http
        self._account = account
        self._clock = clock
        self._url = f"{url}/v1/projects/{account.project_id}/messages:send"
        self._token = ""
        self._expires = 0.0
        self._fetching = asyncio.Lock()

    async def send(self, address: str, keys: PushKeys | None, notification: Notification) -> Wake:
        """See `PushService.send`."""
        del keys
        try:
            token = await self._access_token()
            answer = await self._http.post(
                self._url,
                {"authorization": f"Bearer {token}", "content-type": "application/json"},
                msgspec.json.encode(_message(address, notification)),
            )
        except (AddressRefusedError, ValueError) as error:
            return Refused(str(error))
        except OSError as error:
            return Retry(5, f"{type(error).__name__}: {error}")
        if answer.status == 401:
            self._expires = 0.0
            return Retry(1, "the access token was not taken")
        if b"UNREGISTERED" in answer.body:
            return Gone()
        return (
            judged(answer.status, answer.headers) if answer.status != 404 else Refused("404 for the project")
        )

    async def close(self) -> None:
        """See `PushService.close`."""

    async def _access_token(self) -> str:
        async with self._fetching:
            now = self._clock.now_ms() / 1000
            if now < self._expires - 60:
                return self._token
            claims = {
                "iss": self._account.client_email, "scope": SCOPE, "aud": self._account.token_uri,
                "iat": int(now), "exp": int(now) + TOKEN_SECONDS,
            }  # fmt: skip
            form = {
                "grant_type": GRANT,
                "assertion": rs256(self._key, claims, kid=self._account.private_key_id),
            }
            answer = await self._http.post(
                self._account.token_uri,
                {"content-type": "application/x-www-form-urlencoded"},
                urlencode(form).encode(),
            )
            if answer.status != 200:
                raise ConnectionError(f"no access token: status {answer.status}")
            given: dict[str, Any] = msgspec.json.decode(answer.body)
            self._token = str(given["access_token"])
            self._expires = now + float(given.get("expires_in", TOKEN_SECONDS))
            return self._token


def _message(address: str, n: Notification) -> dict[str, Any]:
    data = {"conversation": n.conversation_id, "seq": str(n.seq), "message_id": n.message_id}
    return {
        "message": {
            "token": address,
            "notification": {"title": n.title, "body": n.body},
            "data": data,
            # The tag makes Android replace a notification that it has already, the collapse id iOS.
            "android": {"priority": "high", "notification": {"tag": n.collapse}},
            "apns": {"headers": {"apns-collapse-id": n.collapse}},
            "webpush": {"headers": {"Topic": n.collapse}},
        }
    }
