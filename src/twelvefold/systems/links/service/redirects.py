"""Following a link: the ordinary path, which decides all that the fast lane leaves to it.

Invariant: a click is recorded when, and only when, a redirect was decided for a GET; HEAD redirects
and is not counted. A limited link gives out exactly its clicks.
"""

import random
from collections.abc import Callable
from urllib.parse import parse_qsl

import msgspec

from twelvefold.kernel.clock import Clock
from twelvefold.systems.links.contracts import (
    Destination,
    Domain,
    LinkGoneError,
    LinkNotFoundError,
    PasswordNeededError,
    PasswordWrongError,
    TooManyAttemptsError,
)
from twelvefold.systems.links.rules import life
from twelvefold.systems.links.rules.routing import Visitor, choose
from twelvefold.systems.links.rules.targets import with_query
from twelvefold.systems.links.service.budgets import ClickBudgets
from twelvefold.systems.links.service.passwords import Passwords
from twelvefold.systems.links.service.resolver import Resolver
from twelvefold.systems.links.store.attempts import AttemptStore

Click = tuple[float, int, object]
"""`(seconds since 1970, link id, context)`; the context has the client's address and the request's head."""


class Followed(msgspec.Struct, frozen=True):
    """Where to send a visitor."""

    status: int
    url: str


class Redirects:
    """Decides redirects and records clicks.

    Args:
        record: takes a click; must be cheap and must not fail.
        draw: a number in [0, 1) for weighted targets.
    """

    def __init__(
        self,
        *,
        resolver: Resolver,
        budgets: ClickBudgets,
        passwords: Passwords,
        attempts: AttemptStore,
        clock: Clock,
        record: Callable[[Click], None],
        tries_a_minute: int,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.resolver = resolver
        self._budgets = budgets
        self._passwords = passwords
        self._attempts = attempts
        self._clock = clock
        self.record = record
        self._tries_a_minute = tries_a_minute
        self._draw = draw
        self.counted = 0
        """Clicks that this path has recorded since the start."""

    async def destination(self, domain: Domain, code: str) -> Destination:
        """What a code leads to if it is alive. Raises `LinkNotFoundError` or `LinkGoneError`."""
        destination = await self.resolver.resolve(domain, code)
        if destination is None:
            raise LinkNotFoundError
        life.require_alive(destination, self._clock.now_ms())
        return destination

    async def follow(
        self,
        destination: Destination,
        *,
        query: str,
        visitor: Callable[[], Visitor],
        context: object,
        password: str | None = None,
        counted: bool = True,
    ) -> Followed:
        """Decide where a visitor of a link goes, and record the click.

        Raises `PasswordNeededError`, `PasswordWrongError`, `TooManyAttemptsError` or `LinkGoneError`.
        """
        if destination.password_hash is not None:
            await self._check_password(destination, password)
        if destination.limited and counted and not await self._budgets.take(destination.link_id):
            raise LinkGoneError(
                "This link was good for a number of clicks, and they are used up", state="used_up"
            )
        url = destination.url
        if destination.rules:
            url = choose(url, destination.rules, visitor(), self._draw())
        if counted:
            self.counted += 1
            self.record((self._clock.now_ms() / 1000, destination.link_id, context))
        return Followed(destination.redirect, with_query(url, query))

    async def _check_password(self, destination: Destination, password: str | None) -> None:
        if password is None:
            raise PasswordNeededError(field="password")
        assert destination.password_hash is not None
        if await self._attempts.count(destination.link_id) > self._tries_a_minute:
            raise TooManyAttemptsError(retry_after_seconds=60)
        if not await self._passwords.matches(password, destination.password_hash):
            raise PasswordWrongError(field="password")


def query_of(text: str) -> dict[str, str]:
    """A query string as the rules see it: the first value of each name."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        return {}
    return dict(reversed(pairs))
