"""WebPush (RFC 8030), encrypted to the browser (RFC 8291, aes128gcm of RFC 8188), signed with VAPID (RFC 8292)."""

import os
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from twelvefold.kernel.clock import Clock
from twelvefold.systems.chat.contracts import PushKeys
from twelvefold.systems.chat.push.contract import Gone, Notification, Refused, Retry, Wake, WokenUp
from twelvefold.systems.chat.push.http import AddressRefusedError, HttpClient
from twelvefold.systems.chat.push.signing import b64, es256, public_point, unb64

TTL_SECONDS = 86_400
TOKEN_SECONDS = 12 * 3600
RECORD_BYTES = 4096
MAX_PLAIN_BYTES = 3993
"""What push services take at least (RFC 8030 §7.2), less the encryption's own bytes."""


class WebPush:
    """See `PushService`. `contact` is a mailto: or https: URI."""

    def __init__(
        self, http: HttpClient, key: ec.EllipticCurvePrivateKey, clock: Clock, *, contact: str,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:  # fmt: skip
        self._http = http
        self._key = key
        self._clock = clock
        self._contact = contact
        self._random_bytes = random_bytes

    async def send(self, address: str, keys: PushKeys | None, notification: Notification) -> Wake:
        """See `PushService.send`."""
        if keys is None:
            return Refused("a WebPush subscription without keys")
        plain = msgspec.json.encode(notification)
        if len(plain) > MAX_PLAIN_BYTES:
            short = notification.body.encode()[: MAX_PLAIN_BYTES - 600].decode("utf-8", "ignore")
            plain = msgspec.json.encode(msgspec.structs.replace(notification, body=short))
        try:
            body = encrypt(plain, keys, ec.generate_private_key(ec.SECP256R1()), self._random_bytes(16))
        except ValueError as error:
            return Refused(f"the browser's keys cannot be used: {error}")
        try:
            answer = await self._http.post(address, self._headers(address, notification), body)
        except (AddressRefusedError, ValueError) as error:
            return Refused(f"the address cannot be used: {error}")
        except OSError as error:
            return Retry(5, f"{type(error).__name__}: {error}")
        return judged(answer.status, answer.headers)

    async def close(self) -> None:
        """See `PushService.close`."""

    def _headers(self, address: str, notification: Notification) -> dict[str, str]:
        origin = urlsplit(address)
        claims = {
            "aud": f"{origin.scheme}://{origin.netloc}",
            "exp": self._clock.now_ms() // 1000 + TOKEN_SECONDS,
            "sub": self._contact,
        }
        return {
            "ttl": str(TTL_SECONDS),
            "content-type": "application/octet-stream",
            "content-encoding": "aes128gcm",
            "urgency": "high",
            "topic": notification.collapse,
            "authorization": f"vapid t={es256(self._key, claims)}, k={b64(public_point(self._key))}",
        }


def judged(status: int, headers: dict[str, str]) -> Wake:
    """What a push service's status means."""
    if status in (200, 201, 202, 204):
        return WokenUp()
    if status in (404, 410):
        return Gone()
    if status == 429 or status >= 500:
        after = headers.get("retry-after", "")
        return Retry(float(after) if after.isdigit() else 30.0, f"status {status}")
    return Refused(f"status {status}")


def encrypt(plain: bytes, keys: PushKeys, ephemeral: ec.EllipticCurvePrivateKey, salt: bytes) -> bytes:
    """One record to the browser. Raises `ValueError` for keys that are no keys."""
    receiver_raw, auth = unb64(keys.p256dh), unb64(keys.auth)
    receiver = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), receiver_raw)
    sender_raw = public_point(ephemeral)
    shared = ephemeral.exchange(ec.ECDH(), receiver)
    info = b"WebPush: info\x00" + receiver_raw + sender_raw
    input_key = _hkdf(shared, auth, info, 32)
    content_key = _hkdf(input_key, salt, b"Content-Encoding: aes128gcm\x00", 16)
    nonce = _hkdf(input_key, salt, b"Content-Encoding: nonce\x00", 12)
    sealed = AESGCM(content_key).encrypt(nonce, plain + b"\x02", None)
    return salt + RECORD_BYTES.to_bytes(4) + bytes([len(sender_raw)]) + sender_raw + sealed


def _hkdf(key: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=size, salt=salt, info=info).derive(key)
