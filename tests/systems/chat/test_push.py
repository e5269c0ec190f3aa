"""Push: local endpoints that speak the real protocols. A 410 removes, a retry is no second notification."""

import asyncio
import json
from collections.abc import AsyncIterator

import h2.config
import h2.connection
import h2.events
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from tests.systems.chat.test_media_and_search import workers_of
from tests.systems.chat.test_sending import T, room_of

from twelvefold.kernel.clock import ManualClock, SystemClock
from twelvefold.systems.chat.contracts import NewMessage, PushKeys, PushSubscription
from twelvefold.systems.chat.push.apns import Apns
from twelvefold.systems.chat.push.contract import Gone, Notification, Refused, Retry, WokenUp
from twelvefold.systems.chat.push.fcm import Fcm, ServiceAccount
from twelvefold.systems.chat.push.http import HttpClient
from twelvefold.systems.chat.push.signing import b64, public_point, unb64
from twelvefold.systems.chat.push.webpush import WebPush, encrypt


class PushEndpoint:
    """An HTTP/1.1 endpoint that notes what it was sent and answers what it is told to."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader, writer) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.requests.append((first.split(" ")[1], headers, body))
        status, extra, answer = self.answers.pop(0) if self.answers else (201, {}, b"")
        more = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{more}content-length: {len(answer)}\r\n\r\n".encode() + answer)
        await writer.drain()
        writer.close()


@pytest.fixture
async def endpoint() -> AsyncIterator[PushEndpoint]:
    made = PushEndpoint()
    await made.start()
    yield made
    made.server.close()
    await made.server.wait_closed()


class Browser:
    """The receiving side of RFC 8291."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.auth = b"0123456789abcdef"
        self.keys = PushKeys(p256dh=b64(public_point(self.key)), auth=b64(self.auth))

    def decrypt(self, body: bytes) -> bytes:
        salt, size = body[:16], body[20]
        sender = body[21 : 21 + size]
        peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        hkdf = lambda key, salt, info, n: HKDF(hashes.SHA256(), n, salt, info).derive(key)  # noqa: E731
        secret = hkdf(
            self.key.exchange(ec.ECDH(), peer),
            self.auth,
            b"WebPush: info\0" + public_point(self.key) + sender,
            32,
        )
        key, nonce = (
            hkdf(secret, salt, b"Content-Encoding: aes128gcm\0", 16),
            hkdf(secret, salt, b"Content-Encoding: nonce\0", 12),
        )
        plain = AESGCM(key).decrypt(nonce, body[21 + size :], None)
        assert plain[-1] == 2
        return plain[:-1]


def test_the_example_of_rfc_8291_comes_out_byte_by_byte():
    # RFC 8291, section 5.
    sender = int.from_bytes(unb64("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"))
    keys = PushKeys(
        p256dh="BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        auth="BTBZMqHH6r4Tts7J_aSIgg",
    )
    body = encrypt(
        b"When I grow up, I want to be a watermelon",
        keys,
        ec.derive_private_key(sender, ec.SECP256R1()),
        unb64("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert b64(body) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tlz"
        "AC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


async def test_an_offline_member_is_woken_and_what_was_changed_meanwhile_is_never_told(
    node, api, endpoint, tmp_path
):
    room = await room_of(node, "ann", "bob")
    browser = Browser()
    subscription = PushSubscription(
        device="phone", service="webpush", address=f"{endpoint.url}/p/1", keys=browser.keys
    )
    await node.chat.subscriptions.put(T, "bob", subscription)
    first = await node.chat.send(T, room, "ann", NewMessage(text="first, with a mistkae"))
    second = await node.chat.send(T, room, "ann", NewMessage(text="regretted"))
    settings = node.chat._settings
    workers = workers_of(node, tmp_path, settings)
    while await workers["news"].turn():
        pass
    await node.chat.edit(T, "ann", room, first.seq, "first, corrected")
    await node.chat.delete(T, "ann", room, second.seq)
    await workers["push"].turn()
    (request,) = endpoint.requests
    path, headers, body = request
    told = json.loads(browser.decrypt(body))
    assert (path, told["body"], told["title"], told["seq"]) == ("/p/1", "first, corrected", "ann", first.seq)
    assert headers["content-encoding"] == "aes128gcm"
    assert len(headers["topic"]) == 32
    assert int(headers["ttl"]) > 0
    token, key = (part.strip()[2:] for part in headers["authorization"].removeprefix("vapid ").split(","))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unb64(key))
    assert b64(public_point_of(key)) == (await api.get("/v1/chat/push")).json()["vapid_public_key"]
    signed, _, signature = token.rpartition(".")
    raw = unb64(signature)
    key.verify(
        encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:])),
        signed.encode(),
        ec.ECDSA(hashes.SHA256()),
    )
    claims = json.loads(unb64(signed.split(".")[1]))
    assert claims["aud"] == endpoint.url


def public_point_of(key) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


async def test_an_online_member_is_not_woken(node, connect, endpoint, tmp_path, eventually):
    room = await room_of(node, "ann", "bob")
    subscription = PushSubscription(
        device="phone", service="webpush", address=f"{endpoint.url}/p/1", keys=Browser().keys
    )
    await node.chat.subscriptions.put(T, "bob", subscription)
    await connect("bob")

    async def online() -> bool:
        return (await node.chat.presence.of(T, ["bob"]))[0].online

    await eventually(online)
    await node.chat.send(T, room, "ann", NewMessage(text="you see it"))
    workers = workers_of(node, tmp_path, node.chat._settings)
    while await workers["news"].turn():
        pass
    assert await workers["push"].turn() == 0
    assert endpoint.requests == []


async def test_a_retry_names_the_same_notification_and_a_410_removes_the_subscription(
    node, endpoint, tmp_path
):
    room = await room_of(node, "ann", "bob")
    subscription = PushSubscription(
        device="phone", service="webpush", address=f"{endpoint.url}/p/1", keys=Browser().keys
    )
    await node.chat.subscriptions.put(T, "bob", subscription)
    clock = ManualClock(SystemClock().now_ms())
    workers = workers_of(node, tmp_path, node.chat._settings, clock)
    await node.chat.send(T, room, "ann", NewMessage(text="hello"))
    while await workers["news"].turn():
        pass
    endpoint.answers = [(503, {"retry-after": "7"}, b""), (429, {}, b""), (201, {}, b"")]
    assert await workers["push"].turn() == 1
    clock.advance(ms=6_900)
    assert await workers["push"].turn() == 0
    clock.advance(ms=200)
    assert await workers["push"].turn() == 1
    clock.advance(ms=60_000)
    assert await workers["push"].turn() == 1
    assert len({headers["topic"] for _, headers, _ in endpoint.requests}) == 1
    clock.advance(ms=600_000)
    assert await workers["push"].turn() == 0
    endpoint.answers = [(410, {}, b"")]
    await node.chat.send(T, room, "ann", NewMessage(text="gone?"))
    while await workers["news"].turn():
        pass
    await workers["push"].turn()
    assert await node.database.fetch_value("SELECT count(*) FROM chat.push_subscription") == 0
    assert await node.database.fetch_value("SELECT count(*) FROM chat.push_job") == 0


async def test_a_worker_that_dies_after_sending_sends_the_same_name_again(node, endpoint, tmp_path):
    room = await room_of(node, "ann", "bob")
    subscription = PushSubscription(
        device="phone", service="webpush", address=f"{endpoint.url}/p/1", keys=Browser().keys
    )
    await node.chat.subscriptions.put(T, "bob", subscription)
    clock = ManualClock(SystemClock().now_ms())
    workers = workers_of(node, tmp_path, node.chat._settings, clock)
    await node.chat.send(T, room, "ann", NewMessage(text="hello"))
    while await workers["news"].turn():
        pass
    done = workers["push"]._push.done

    async def die(_) -> None:
        raise RuntimeError("killed here")

    workers["push"]._push.done = die
    with pytest.raises(ExceptionGroup):
        await workers["push"].turn()
    workers["push"]._push.done = done
    clock.advance(ms=61_000)
    assert await workers["push"].turn() == 1
    assert len(endpoint.requests) == 2
    assert len({headers["topic"] for _, headers, _ in endpoint.requests}) == 1


async def test_a_push_address_in_a_private_network_is_refused():
    push = WebPush(
        HttpClient(), ec.generate_private_key(ec.SECP256R1()), SystemClock(), contact="mailto:x@example.com"
    )
    for address in (
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://10.0.0.1/x",
        "http://example.com/x",
        "file:///etc",
    ):
        assert isinstance(await push.send(address, Browser().keys, NOTIFICATION), Refused)


NOTIFICATION = Notification(
    conversation_id="1", seq=2, message_id="3", title="ann", body="hello", collapse="c" * 32
)


async def test_fcm_gets_an_access_token_once_and_names_the_notification(endpoint):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = ServiceAccount("proj", "kid", pem, "robot@example.com", f"{endpoint.url}/token")
    fcm = Fcm(HttpClient(private=True), account, SystemClock(), url=endpoint.url)
    granted = b'{"access_token":"ya29","expires_in":3600}'
    endpoint.answers = [
        (200, {}, granted),
        (200, {}, b'{"name":"m/1"}'),
        (404, {}, b'{"error":{"details":[{"errorCode":"UNREGISTERED"}]}}'),
        (503, {"retry-after": "3"}, b""),
        (401, {}, b""),
    ]
    outcomes = [await fcm.send("device", None, NOTIFICATION) for _ in range(4)]
    assert outcomes[0] == WokenUp()
    assert outcomes[1] == Gone()
    assert isinstance(outcomes[2], Retry)
    assert isinstance(outcomes[3], Retry)
    assert [path for path, _, _ in endpoint.requests].count("/token") == 1
    form = endpoint.requests[0][2].decode()
    assertion = form.partition("assertion=")[2]
    signed, _, signature = assertion.rpartition(".")
    key.public_key().verify(unb64(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    message = json.loads(endpoint.requests[1][2])["message"]
    assert endpoint.requests[1][0] == "/v1/projects/proj/messages:send"
    assert endpoint.requests[1][1]["authorization"] == "Bearer ya29"
    assert message["android"]["notification"]["tag"] == "c" * 32


class AppleServer:
    """HTTP/2, as Apple speaks it, without TLS."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[tuple[int, bytes]] = []
        self.ended = asyncio.Event()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader, writer) -> None:
        connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        connection.initiate_connection()
        streams: dict[int, tuple[dict, bytearray]] = {}
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    streams[event.stream_id] = (dict(event.headers), bytearray())
                elif isinstance(event, h2.events.DataReceived):
                    streams[event.stream_id][1].extend(event.data)
                elif isinstance(event, h2.events.StreamEnded):
                    headers, body = streams.pop(event.stream_id)
                    self.requests.append((headers, bytes(body)))
                    status, answer = self.answers.pop(0) if self.answers else (200, b"")
                    connection.send_headers(
                        event.stream_id, [(":status", str(status))], end_stream=not answer
                    )
                    if answer:
                        connection.send_data(event.stream_id, answer, end_stream=True)
            writer.write(connection.data_to_send())
        writer.close()
        await writer.wait_closed()
        self.ended.set()


async def test_apns_speaks_http2_with_a_signed_token_and_one_id_a_message():
    apple = AppleServer()
    await apple.start()
    key = ec.generate_private_key(ec.SECP256R1())
    apns = Apns(key, SystemClock(), url=apple.url, key_id="KEY", team_id="TEAM", topic="com.example.chat")
    apple.answers = [
        (200, b""),
        (200, b""),
        (410, b'{"reason":"Unregistered"}'),
        (400, b'{"reason":"BadDeviceToken"}'),
        (429, b'{"reason":"TooManyRequests"}'),
        (403, b'{"reason":"ExpiredProviderToken"}'),
        (400, b'{"reason":"PayloadEmpty"}'),
    ]
    outcomes = [await apns.send("ab" * 32, None, NOTIFICATION) for _ in range(7)]
    await apns.close()
    await apple.ended.wait()
    apple.server.close()
    await apple.server.wait_closed()
    assert [type(one) for one in outcomes] == [WokenUp, WokenUp, Gone, Gone, Retry, Retry, Refused]
    headers, body = apple.requests[0]
    assert headers[":path"] == f"/3/device/{'ab' * 32}"
    assert (headers["apns-topic"], headers["apns-collapse-id"]) == ("com.example.chat", "c" * 32)
    assert apple.requests[1][0]["apns-id"] == headers["apns-id"]
    assert json.loads(body)["aps"]["alert"] == {"title": "ann", "body": "hello"}
    signed, _, signature = headers["authorization"].removeprefix("bearer ").rpartition(".")
    raw = unb64(signature)
    key.public_key().verify(
        encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:])),
        signed.encode(),
        ec.ECDSA(hashes.SHA256()),
    )
