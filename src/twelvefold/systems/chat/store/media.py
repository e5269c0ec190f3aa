"""Files: their rows in PostgreSQL, their bytes in the blobs engine."""

from collections.abc import AsyncIterator

from twelvefold.engines.blobs import Blobs
from twelvefold.engines.database import Database
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import Medium

_COLUMNS = "id, conversation_id, owner, name, content_type, size_bytes, width, height, has_thumbnail"


class MediaStore:
    """See the module."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    async def put(self, tenant: TenantId, medium: Medium, data: bytes, thumbnail: bytes) -> None:
        """Store a file; the row comes last, so that it never names bytes that are not there."""
        await self._blobs.put(_key(tenant, medium.conversation_id, medium.id), data)
        if thumbnail:
            await self._blobs.put(_key(tenant, medium.conversation_id, medium.id, thumbnail=True), thumbnail)
        m = medium
        await self._database.execute(
            f"INSERT INTO chat.medium (tenant_id, {_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            tenant, m.id, m.conversation_id, m.owner, m.name, m.content_type, m.size_bytes, m.width, m.height,
            m.has_thumbnail,
        )  # fmt: skip

    async def get(self, tenant: TenantId, media_id: int) -> Medium | None:
        """A file that was not deleted."""
        row = await self._database.fetch_row(
            f"SELECT {_COLUMNS} FROM chat.medium WHERE id = $1 AND tenant_id = $2 AND NOT deleted",
            media_id,
            tenant,
        )
        return None if row is None else Medium(**dict(row.items()))

    async def size(self, tenant: TenantId, medium: Medium, *, thumbnail: bool) -> int:
        """How many bytes there are."""
        if not thumbnail:
            return medium.size_bytes
        return (
            await self._blobs.head(_key(tenant, medium.conversation_id, medium.id, thumbnail=True))
        ).size_bytes

    async def read(self, tenant: TenantId, medium: Medium, start: int, end: int, *, thumbnail: bool) -> bytes:
        """Bytes from `start` to before `end`."""
        return await self._blobs.get_range(
            _key(tenant, medium.conversation_id, medium.id, thumbnail=thumbnail), start, end
        )

    def stream(self, tenant: TenantId, medium: Medium, *, thumbnail: bool) -> AsyncIterator[bytes]:
        """All bytes."""
        return self._blobs.stream(_key(tenant, medium.conversation_id, medium.id, thumbnail=thumbnail))

    async def sweep(self, limit: int = 100) -> int:
        """Remove the bytes of deleted files, then their rows; returns how many."""
        rows = await self._database.fetch(
            "SELECT id, tenant_id, conversation_id FROM chat.medium WHERE deleted ORDER BY id LIMIT $1", limit
        )
        for row in rows:
            place = (row["tenant_id"], row["conversation_id"], row["id"])
            await self._blobs.delete([_key(*place), _key(*place, thumbnail=True)])
            await self._database.execute("DELETE FROM chat.medium WHERE id = $1", row["id"])
        return len(rows)

    async def expire(self, before_id: int) -> None:
        """What retention ends: files older than an id."""
        await self._database.execute(
            "UPDATE chat.medium SET deleted = true WHERE id < $1 AND NOT deleted", before_id
        )


def _key(tenant: int, conversation_id: int, media_id: int, *, thumbnail: bool = False) -> str:
    return f"chat/{tenant}/{conversation_id}/{media_id}{'.small' if thumbnail else ''}"
