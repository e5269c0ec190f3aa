"""Chat's rules, without any engine."""

import base64
import contextlib
import hashlib
import hmac
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.kernel.errors import InvalidInputError, MalformedRequestError
from twelvefold.systems.chat.blueprint import ESTIMATE
from twelvefold.systems.chat.compat.centrifugo.protobuf_codec import (
    COMMAND,
    REPLY,
    ProtobufCodec,
    read,
    write,
)
from twelvefold.systems.chat.compat.centrifugo.words import Command
from twelvefold.systems.chat.contracts import (
    BannedError,
    NewMessage,
    NotAllowedError,
    NotAMemberError,
    TokenExpiredError,
    TokenRefusedError,
)
from twelvefold.systems.chat.rules import standing as rules
from twelvefold.systems.chat.rules import tokens
from twelvefold.systems.chat.rules.bodies import Body, body_of, fingerprint, key_of, pack, unpack
from twelvefold.systems.chat.rules.files import byte_range, clean_name, declared_type, disposition

SECRET = b"s" * 32


def standing(**given):
    plain = {"role": None, "banned": False, "access": "private", "intervals": ()}
    return rules.standing_of(**{**plain, **given})


def test_a_token_is_believed_only_with_our_algorithm_its_signature_and_in_its_time():
    token = tokens.sign({"sub": "ann", "iat": 100, "exp": 200}, SECRET, 7)
    found = tokens.verify(token, SECRET, now_s=199, default_tenant=1)
    assert (found.tenant_id, found.user, found.expires_at_s) == (7, "ann", 200)
    with pytest.raises(TokenExpiredError):
        tokens.verify(token, SECRET, now_s=200, default_tenant=1)
    header, claims, signature = token.split(".")
    other = tokens.sign({"sub": "eve", "exp": 200}, SECRET, 7).split(".")[1]
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    moved = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"8"}').rstrip(b"=").decode()
    for forged in (
        f"{header}.{other}.{signature}", f"{none}.{claims}.", f"{moved}.{claims}.{signature}", f"{header}.{claims}",
        f"{header}.{claims}.{signature}x", "", "a.b.c", "ü.ü.ü", "x" * 5000,
    ):  # fmt: skip
        with pytest.raises(TokenRefusedError):
            tokens.verify(forged, SECRET, now_s=150, default_tenant=1)


def test_a_token_that_another_program_made_with_the_tenants_secret_is_believed():
    b64 = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")  # noqa: E731
    signed = b64({"alg": "HS256", "typ": "JWT"}) + b"." + b64({"sub": "42", "channel": "news"})
    mac = hmac.new(tokens.tenant_secret(SECRET, 1).encode(), signed, hashlib.sha256).digest()
    token = (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()
    found = tokens.verify(token, SECRET, now_s=0, default_tenant=1)
    assert (found.user, found.channel, found.expires_at_s) == ("42", "news", None)


def test_what_one_sees_are_the_intervals_of_ones_memberships():
    bob = standing(role="member", intervals=((3, 5), (9, None)))
    assert [seq for seq in range(1, 12) if bob.sees(seq)] == [3, 4, 5, 9, 10, 11]
    gone = standing(intervals=((3, 5),))
    rules.may_read(gone)
    with pytest.raises(NotAMemberError):
        rules.may_follow(gone)
    with pytest.raises(NotAMemberError):
        rules.may_read(standing())
    with pytest.raises(BannedError):
        rules.may_read(standing(role="member", banned=True, intervals=((1, None),)))
    rules.may_send(standing(access="open"))
    with pytest.raises(BannedError):
        rules.may_send(standing(access="open", banned=True))


@pytest.mark.parametrize("actor", ["member", "moderator", "owner"])
@pytest.mark.parametrize("target", ["member", "moderator", "owner"])
def test_one_puts_out_only_who_is_below_oneself_except_for_owners(actor, target):
    allowed = actor == "owner" or (actor == "moderator" and target == "member")
    me = standing(role=actor, intervals=((1, None),))
    if allowed:
        rules.may_change_member(me, "group", "removed", target, None)
    else:
        with pytest.raises(NotAllowedError):
            rules.may_change_member(me, "group", "removed", target, None)


@given(st.text(min_size=1, max_size=50), st.binary(min_size=16, max_size=16))
def test_a_body_comes_back_as_it_was_and_its_fingerprint_knows_it(text, salt):
    try:
        body = body_of(NewMessage(text=text))
    except InvalidInputError:
        return
    assert unpack(pack(body, salt)) == body
    assert fingerprint(body) == fingerprint(unpack(pack(body, bytes(16))))
    assert fingerprint(body) != fingerprint(msgspec.structs.replace(body, text=text + "x"))


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"text": "a\0"}, "text"),
        ({"text": "a", "client_msg_id": "\0"}, "client_msg_id"),
        ({"data": msgspec.Raw(b'"\\u0000"')}, "data"),
        ({"data": msgspec.Raw(b"[" * 65 + b"]" * 65)}, "data"),
        ({"data": msgspec.Raw(b'{"a":' * 65 + b"1" + b"}" * 65)}, "data"),
    ],
)
def test_what_not_every_reader_could_take_is_refused_by_its_field(given, field):
    with pytest.raises(InvalidInputError) as refused:
        body_of(NewMessage(**given))
    assert refused.value.field == field


@pytest.mark.parametrize(
    "data",
    [
        b'"\\\\u0000"', b"[" * 64 + b"]" * 64, b"[" + b"[]," * 200 + b"[]]", b'"' + b"[" * 500 + b'"',
        b'["\\"["' + b',"["' * 99 + b"]",
    ],
)  # fmt: skip
def test_data_that_only_looks_deep_or_like_a_nul_is_kept(data):
    assert body_of(NewMessage(data=msgspec.Raw(data))).data == data


def test_an_erased_body_is_a_deleted_one_and_senders_ids_are_their_own():
    assert unpack(b"") == Body(deleted=True)
    assert key_of("ann", "1") != key_of("bob", "1")
    assert key_of("a", "b1") != key_of("ab", "1")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("../../etc/passwd", "passwd"), ("C:\\x\\evil.exe", "evil.exe"), ("a\x00b\n.txt", "a_b_.txt"), ("..", "file"),
        ("", "file"), ('x".html', "x_.html"), ("ü" * 300, "ü" * 150),
    ],
)  # fmt: skip
def test_a_files_name_is_only_a_name(given, expected):
    assert clean_name(given) == expected


def test_only_what_we_wrote_ourselves_is_shown_inline():
    assert declared_type("text/html; charset=utf-8") == "application/octet-stream"
    assert declared_type("image/svg+xml") == "application/octet-stream"
    assert declared_type("application/pdf") == "application/pdf"
    assert declared_type("bad\r\nheader: x") == "application/octet-stream"
    assert disposition("ä.png", "image/png") == "inline; filename=\"_.png\"; filename*=UTF-8''%C3%A4.png"
    assert disposition("a.pdf", "application/pdf").startswith("attachment")


@pytest.mark.parametrize(
    ("header", "expected"),
    [("bytes=0-0", (0, 1)), ("bytes=5-", (5, 10)), ("bytes=-3", (7, 10)), ("bytes=2-99", (2, 10)), ("items=1-2", None),
     ("bytes=0-1,3-4", None), ("bytes=-", None), ("bytes=-99", (0, 10))],
)  # fmt: skip
def test_a_range_is_read_as_rfc_9110_has_it(header, expected):
    assert byte_range(header, 10) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=5-3", "bytes=-0"])
def test_a_range_that_is_not_there_is_refused(header):
    with pytest.raises(ValueError, match="bytes"):
        byte_range(header, 10)


def test_our_protobuf_is_what_the_clients_schema_makes():
    from centrifuge.protocol import client_pb2

    theirs = client_pb2.Command(id=7)
    theirs.subscribe.channel = "news"
    theirs.subscribe.recover = True
    theirs.subscribe.offset = 1 << 40
    theirs.subscribe.epoch = "e"
    data = theirs.SerializeToString()
    assert msgspec.convert(read(COMMAND, data, 0), Command).subscribe.offset == 1 << 40
    reply = {
        "id": 7,
        "subscribe": {
            "recoverable": True, "epoch": "e", "offset": 300, "recovered": True,
            "publications": [{"data": msgspec.Raw(b'{"n":1}'), "offset": 299, "info": {"user": "ann", "client": "c"}}],
        },
    }  # fmt: skip
    made = client_pb2.Reply()
    made.ParseFromString(write(REPLY, reply))
    assert (made.subscribe.offset, made.subscribe.publications[0].data) == (300, b'{"n":1}')
    assert made.subscribe.publications[0].info.user == "ann"
    presence = client_pb2.Reply()
    presence.ParseFromString(
        write(REPLY, {"id": 1, "presence": {"presence": {"c1": {"user": "ann", "client": "c1"}}}})
    )
    assert presence.presence.presence["c1"].user == "ann"


@given(st.binary(max_size=200))
def test_any_bytes_are_commands_or_refused(data):
    with contextlib.suppress(MalformedRequestError):
        ProtobufCodec().decode(data)


def test_the_card_adds_up():
    found = ESTIMATE.values()
    assert round(found["messages_per_second"] / 1e6, 2) == 1.16
    assert found["storage_per_day"] == 100e12
