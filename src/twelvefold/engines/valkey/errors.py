"""What the server says no with.

An error reply is either about the command (`ReplyError`: a wrong type, a script that failed) or about
the server's own state (`ServerStateError`: loading, out of memory, read-only). The second kind is
engine trouble like a lost connection, so it is an `EngineUnavailableError` and callers need one handler.
"""

from collections.abc import Callable

from twelvefold.kernel.errors import EngineUnavailableError, InvalidInputError, TwelvefoldError

STATE_CODES = frozenset({
    "BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN",
})  # fmt: skip
"""Replies that are about the server, not about the command: trying again later can help."""


class ReplyError(TwelvefoldError):
    """Valkey refused a command.

    `reply_code` is the first word of the reply (`WRONGTYPE`, `NOSCRIPT`, `ERR`), `message` the rest.
    """

    code = "valkey_reply"

    def __init__(self, reply_code: str, message: str) -> None:
        self.reply_code = reply_code
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.reply_code} {self.message}"


class ServerStateError(EngineUnavailableError):
    """Valkey answers, but cannot serve now: it is loading, out of memory or read-only."""

    def __init__(self, engine: str, reply_code: str, message: str) -> None:
        self.reply_code = reply_code
        self.reply = message
        super().__init__(engine, f"{reply_code} {message}")


class CrossSlotError(InvalidInputError):
    """The keys of one command live in different slots of the cluster; give them one {hash tag}."""

    code = "valkey_cross_slot"


def reply_error_factory(engine: str) -> Callable[[str], Exception]:
    """A function that turns the text of an error reply into its exception, for a `hiredis.Reader`."""

    def make(text: str) -> Exception:
        reply_code, _, message = text.partition(" ")
        if reply_code in STATE_CODES:
            return ServerStateError(engine, reply_code, message)
        return ReplyError(reply_code, message)

    return make
