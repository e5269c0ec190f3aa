"""Signed tokens that push services ask for: ES256 (VAPID, APNs) and RS256 (Google), RFC 7515."""

import base64
import hashlib
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """And back. Raises `ValueError`."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def key_from_secret(secret: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-256 key that a secret of ours stands for: the same at every start, and nowhere written down."""
    number = int.from_bytes(hashlib.sha512(b"twelvefold vapid" + secret).digest()) % (_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())


def public_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The uncompressed public key, 65 bytes."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def es256(key: ec.EllipticCurvePrivateKey, claims: dict[str, Any], **header: str) -> str:
    """A JWT signed with ES256."""
    signed = _unsigned({"typ": "JWT", "alg": "ES256", **header}, claims)
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{b64(r.to_bytes(32) + s.to_bytes(32))}"


def rs256(key: rsa.RSAPrivateKey, claims: dict[str, Any], **header: str) -> str:
    """A JWT signed with RS256."""
    signed = _unsigned({"typ": "JWT", "alg": "RS256", **header}, claims)
    return f"{signed}.{b64(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return f"{b64(msgspec.json.encode(header))}.{b64(msgspec.json.encode(claims))}"
