"""User tokens: JSON Web Tokens signed with HMAC-SHA256 (RFC 7519), as Centrifugo clients carry them.

Invariant: the algorithm is ours to choose, never the token's; a token without a signature, with another
algorithm or with a claim of the wrong type is refused before anything in it is believed.
"""

import base64
import binascii
import hashlib
import hmac

import msgspec

from twelvefold.systems.chat.contracts import TokenExpiredError, TokenRefusedError, UserToken

MAX_TOKEN_BYTES = 4096
LEEWAY_SECONDS = 0


class _Header(msgspec.Struct):
    alg: str
    kid: str | None = None


class _Claims(msgspec.Struct):
    sub: str = ""
    exp: int | float | None = None
    iat: int | float | None = None
    nbf: int | float | None = None
    channel: str | None = None
    info: msgspec.Raw = msgspec.Raw()


_decode_header = msgspec.json.Decoder(_Header).decode
_decode_claims = msgspec.json.Decoder(_Claims).decode


def tenant_secret(secret: bytes, tenant_id: int) -> str:
    """A tenant's signing secret, as text that other programs can be given."""
    return hmac.new(secret, b"chat token %d" % tenant_id, hashlib.sha256).hexdigest()


def sign(claims: dict[str, object], secret: bytes, tenant_id: int) -> str:
    """A token. The header's `kid` says whose it is."""
    header = {"alg": "HS256", "typ": "JWT", "kid": str(tenant_id)}
    signed = _b64(msgspec.json.encode(header)) + b"." + _b64(msgspec.json.encode(claims))
    return (signed + b"." + _b64(_mac(signed, secret, tenant_id))).decode()


def verify(token: str, secret: bytes, *, now_s: float, default_tenant: int) -> UserToken:
    """Who a token is of. Raises `TokenRefusedError`, `TokenExpiredError`."""
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenRefusedError("the token is too long", field="token")
    parts = token.encode().split(b".")
    if len(parts) != 3:
        raise TokenRefusedError("a token has three parts", field="token")
    try:
        header = _decode_header(_unb64(parts[0]))
        if header.alg != "HS256":
            raise TokenRefusedError("tokens are signed with HS256 here", field="token", alg=header.alg[:20])
        tenant_id = int(header.kid) if header.kid else default_tenant
        if not hmac.compare_digest(_unb64(parts[2]), _mac(parts[0] + b"." + parts[1], secret, tenant_id)):
            raise TokenRefusedError("the token's signature is not right", field="token")
        claims = _decode_claims(_unb64(parts[1]))
    except (binascii.Error, ValueError) as error:
        raise TokenRefusedError("the token cannot be read", field="token") from error
    if claims.exp is not None and now_s >= claims.exp + LEEWAY_SECONDS:
        raise TokenExpiredError(field="token")
    if claims.nbf is not None and now_s < claims.nbf:
        raise TokenRefusedError("the token is not valid yet", field="token")
    if len(claims.sub) > 128 or any(character < " " for character in claims.sub):
        raise TokenRefusedError("the token's subject is no user id", field="token")
    return UserToken(
        tenant_id=tenant_id,
        user=claims.sub,
        expires_at_s=None if claims.exp is None else int(claims.exp),
        issued_at_s=None if claims.iat is None else int(claims.iat),
        channel=claims.channel,
        info=claims.info,
    )


def _mac(signed: bytes, secret: bytes, tenant_id: int) -> bytes:
    return hmac.new(tenant_secret(secret, tenant_id).encode(), signed, hashlib.sha256).digest()


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _unb64(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
