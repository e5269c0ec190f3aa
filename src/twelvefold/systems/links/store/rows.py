"""Rows of `links.link`: their columns, and how they become what crosses the boundary."""

from typing import Any

import msgspec

from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.links.contracts import Link, Rule, State

STATES: dict[bytes, State] = {
    b"a": "active",
    b"o": "disabled",
    b"e": "expired",
    b"u": "used_up",
    b"d": "deleted",
}
LETTERS: dict[str, bytes] = {state: letter for letter, state in STATES.items()}

LINK_COLUMNS = """l.id, l.code, l.domain_id, coalesce(d.host, '') AS host, l.url, l.redirect, l.state, l.created_at_ms,
    l.updated_at_ms, l.version, l.expires_at_ms, l.max_clicks, l.used_clicks, l.password_hash IS NOT NULL AS has_password,
    l.tags, l.note, l.title, l.rules, coalesce(t.clicks, 0) AS clicks"""
LINK_SOURCE = """links.link l LEFT JOIN links.domain d ON d.id = l.domain_id
    LEFT JOIN links.click_total t ON t.link_id = l.id"""
RANKINGS = {
    "top": "coalesce(t.clicks, 0) DESC, l.id DESC",
    "bottom": "coalesce(t.clicks, 0), l.id",
    "rand": "random()",
    "last": "l.id DESC",
}
COPY_COLUMNS = (
    "id",
    "tenant_id",
    "domain_id",
    "folded",
    "code",
    "url",
    "redirect",
    "created_at_ms",
    "updated_at_ms",
    "expires_at_ms",
    "max_clicks",
    "password_hash",
    "dedupe_key",
    "tags",
    "note",
    "rules",
)


class NewRow(msgspec.Struct, frozen=True, kw_only=True):
    """A link that passed all rules and is ready to be stored."""

    id: int
    domain_id: int
    folded: str
    code: str
    url: str
    redirect: int
    created_at_ms: int
    expires_at_ms: int | None
    max_clicks: int | None
    password_hash: str | None
    dedupe_key: bytes | None
    tags: tuple[str, ...]
    note: str
    rules: tuple[Rule, ...]

    def values(self, tenant: TenantId) -> tuple[Any, ...]:
        """The row in the order of `COPY_COLUMNS`."""
        rules = msgspec.to_builtins(self.rules) if self.rules else None
        return (
            self.id,
            tenant,
            self.domain_id,
            self.folded,
            self.code,
            self.url,
            self.redirect,
            self.created_at_ms,
            self.created_at_ms,
            self.expires_at_ms,
            self.max_clicks,
            self.password_hash,
            self.dedupe_key,
            list(self.tags),
            self.note,
            rules,
        )


INSERT = f"""
    INSERT INTO links.link ({", ".join(COPY_COLUMNS)})
    VALUES ({", ".join(f"${place}" for place in range(1, len(COPY_COLUMNS) + 1))})
    ON CONFLICT DO NOTHING RETURNING id"""


def rules_of(value: Any) -> tuple[Rule, ...]:
    """The column `rules`."""
    return msgspec.convert(value, tuple[Rule, ...]) if value else ()


def link_of(row: Any) -> Link:
    """A row of `LINK_COLUMNS` as a link, without its short URL."""
    limit = row["max_clicks"]
    return Link(
        id=row["id"],
        code=row["code"],
        domain=row["host"],
        short_url="",
        url=row["url"],
        redirect=row["redirect"],
        state=STATES[row["state"]],
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
        version=row["version"],
        expires_at_ms=row["expires_at_ms"],
        max_clicks=limit,
        clicks_left=None if limit is None else limit - row["used_clicks"],
        has_password=row["has_password"],
        tags=tuple(row["tags"]),
        note=row["note"],
        title=row["title"],
        rules=rules_of(row["rules"]),
        clicks=row["clicks"],
    )
