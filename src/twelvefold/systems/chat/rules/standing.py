"""Who may do what in a conversation, and which part of it they may see.

Invariant: a removed member sees nothing after the sequence of the removal, a joiner nothing before what the
conversation's history rule allows; both are intervals over the sequence, so no clock is asked.
"""

from collections.abc import Sequence

import msgspec

from twelvefold.systems.chat.contracts import (
    Access,
    BannedError,
    Change,
    Kind,
    NotAllowedError,
    NotAMemberError,
    Role,
)

RANK: dict[Role, int] = {"member": 1, "moderator": 2, "owner": 3}
FOR_EVER = 1 << 62


class Interval(msgspec.Struct, frozen=True):
    """Sequences from `first` to `last`, both included."""

    first: int
    last: int = FOR_EVER


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's place in a conversation. `role` is None for one who is not (any more) in it."""

    role: Role | None
    banned: bool = False
    intervals: tuple[Interval, ...] = ()

    def sees(self, seq: int) -> bool:
        """Whether an entry may be shown to them."""
        return any(one.first <= seq <= one.last for one in self.intervals)

    def forward(self, after: int) -> int:
        """From where to read on, so that the next entry is one they see; past the end if there is none."""
        return min(
            (max(after, one.first - 1) for one in self.intervals if one.last > after), default=FOR_EVER
        )

    def back(self, before: int) -> int:
        """The same towards the beginning; 0 if there is none."""
        return max((min(before, one.last + 1) for one in self.intervals if one.first < before), default=0)


EVERYTHING = (Interval(1),)
ANYBODY = Standing(role="member", intervals=EVERYTHING)
"""In an open conversation: one for all of them."""


def standing_of(
    *, role: Role | None, banned: bool, access: Access, intervals: Sequence[tuple[int, int | None]]
) -> Standing:
    """What the stored facts come to. In an open conversation everybody has a place, unless banned."""
    spans = tuple(Interval(first, FOR_EVER if last is None else last) for first, last in intervals)
    if banned:
        return Standing(role=None, banned=True, intervals=spans)
    if role is None and access == "open":
        return ANYBODY
    return Standing(role=role, intervals=EVERYTHING if role and access == "open" else spans)


def may_read(standing: Standing) -> None:
    """Raises `NotAMemberError` for one who never was in, `BannedError` for one who is kept out."""
    if standing.banned:
        raise BannedError
    if standing.role is None and not standing.intervals:
        raise NotAMemberError


def may_follow(standing: Standing) -> None:
    """How things stand now (news, members, receipts) is for those who are in now."""
    if standing.banned:
        raise BannedError
    if standing.role is None:
        raise NotAMemberError


may_send = may_follow
"""So is saying something."""


def may_moderate(standing: Standing) -> None:
    """Raises unless a moderator or an owner."""
    may_follow(standing)
    if RANK[standing.role or "member"] < RANK["moderator"]:
        raise NotAllowedError("this needs a moderator", needs="moderator")


def may_give(actor: Standing, role: Role) -> None:
    """Moderators give what is below them, owners everything."""
    rank = RANK[actor.role or "member"]
    if RANK[role] >= rank and rank < RANK["owner"]:
        raise NotAllowedError("you cannot give a role that is not below your own")


def may_change_member(
    actor: Standing, kind: Kind, change: Change, target: Role | None, role: Role | None
) -> None:
    """Whether `actor` may do `change` to somebody who has the role `target` (and shall get `role`)."""
    may_moderate(actor)
    if kind == "direct":
        raise NotAllowedError("a direct conversation has its two members")
    rank = RANK[actor.role or "member"]
    if target is not None and RANK[target] >= rank and rank < RANK["owner"]:
        raise NotAllowedError("they have the same role as you, or a higher one")
    if change == "role" and role is not None:
        may_give(actor, role)


def may_edit(standing: Standing, user: str, author: str) -> None:
    """Only authors change what they said."""
    may_send(standing)
    if user != author:
        raise NotAllowedError("only its author can change a message")


def may_delete(standing: Standing, user: str, author: str) -> None:
    """Authors and moderators."""
    may_send(standing)
    if user != author:
        may_moderate(standing)
