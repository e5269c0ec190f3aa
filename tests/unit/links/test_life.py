"""Nothing outlives its link, and both paths send the same bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.kernel.errors import InvalidInputError
from twelvefold.systems.links.contracts import Destination, LinkGoneError
from twelvefold.systems.links.rules import life

NOW = 1_800_000_000_000
DAY_MS = 86_400_000


def destination(**fields):
    defaults = {
        "link_id": 1,
        "version": 1,
        "kind": "link",
        "state": "active",
        "url": "https://e.com/",
        "redirect": 302,
    }
    return Destination(**(defaults | fields))


def test_a_link_is_gone_at_the_very_millisecond_of_its_expiry():
    link = destination(expires_at_ms=NOW)
    life.require_alive(link, NOW - 1)
    with pytest.raises(LinkGoneError, match="expired"):
        life.require_alive(link, NOW)


@pytest.mark.parametrize("state", ["disabled", "expired", "used_up", "deleted"])
def test_an_ended_link_says_how_it_ended(state):
    with pytest.raises(LinkGoneError) as gone:
        life.require_alive(destination(state=state), NOW)
    assert gone.value.details["state"] == state
    assert gone.value.status == 410


@given(st.integers(-10 * DAY_MS, 10 * DAY_MS))
def test_an_answer_is_remembered_for_a_day_or_the_time_left_whichever_is_less(left):
    remembered = life.cache_ms(NOW + left, NOW)
    assert remembered == max(0, min(DAY_MS, left))


def test_a_link_without_end_is_remembered_for_a_day():
    assert life.cache_ms(None, NOW) == DAY_MS


def test_an_expiry_is_given_once_and_lies_ahead():
    assert life.expiry(NOW, None, 60) == NOW + 60_000
    assert life.expiry(NOW, NOW + 1, None) == NOW + 1
    assert life.expiry(NOW, None, None) is None
    for wrong in ((NOW + 1, 60), (NOW, None), (NOW - 1, None), (life.MAX_MOMENT_MS + 1, None)):
        with pytest.raises(InvalidInputError):
            life.expiry(NOW, *wrong)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_bytes_of_the_lane_are_the_headers_of_the_ordinary_path(status):
    url = "https://example.com/?a=b:%20c"
    head, *fields, empty, end = life.redirect_bytes(status, url.encode()).split(b"\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert [name + b": " + value for name, value in life.redirect_headers(status, url)] == fields
    assert (empty, end) == (b"", b"")


def test_only_a_permanent_redirect_may_be_kept_by_a_browser():
    for status, kept in ((301, True), (308, True), (302, False), (307, False)):
        caching = dict(life.redirect_headers(status, "https://e.com/"))[b"cache-control"]
        assert (caching == b"private, max-age=0") is not kept


def test_only_a_plain_living_link_is_plain():
    assert destination().plain
    assert destination(expires_at_ms=NOW).plain
    for special in ({"limited": True}, {"password_hash": "x"}, {"state": "disabled"}, {"kind": "paste"}):
        assert not destination(**special).plain
