"""Files of conversations: taken in clean, given out by links that expire and belong to one conversation.

Images are decoded and written anew, so nothing but pixels survives (no EXIF, no script behind the image's
end). Everything else is kept as it is and only ever handed out as a download.
"""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import TooLargeError
from twelvefold.kernel.ids import SnowflakeGenerator
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import (
    Attachment,
    MediaLinkError,
    MediaLinkExpiredError,
    MediaRefusedError,
    Medium,
    MessageNotFoundError,
)
from twelvefold.systems.chat.rules.files import clean_name, declared_type
from twelvefold.systems.chat.rules.standing import may_read, may_send
from twelvefold.systems.chat.service.images import Picture, is_image, rewrite
from twelvefold.systems.chat.service.rooms import Rooms
from twelvefold.systems.chat.settings import ChatSettings
from twelvefold.systems.chat.store.media import MediaStore

IMAGE_SLOTS = 2
"""Images decoded at once in a process; each may need a few hundred megabytes."""


class MediaLibrary:
    """See the module."""

    def __init__(
        self, *, store: MediaStore, rooms: Rooms, ids: SnowflakeGenerator, clock: Clock, settings: ChatSettings,
        secret: bytes,
    ) -> None:  # fmt: skip
        self._store = store
        self._rooms = rooms
        self._ids = ids
        self._clock = clock
        self._settings = settings
        self._secret = hmac.new(secret, b"chat media", hashlib.sha256).digest()
        self._slots = asyncio.Semaphore(IMAGE_SLOTS)

    async def upload(
        self, tenant: TenantId, user: str, conversation_id: int, *, name: str, content_type: str, data: bytes
    ) -> Medium:
        """Take a file in. Raises `MediaRefusedError` for an image that is broken or a bomb."""
        _, standing = await self._rooms.place(tenant, conversation_id, user)
        may_send(standing)
        if not data:
            raise MediaRefusedError("the file is empty")
        if len(data) > self._settings.media_max_bytes:
            raise TooLargeError(f"a file has at most {self._settings.media_max_bytes} bytes")
        picture = Picture(data, declared_type(content_type), 0, 0, b"")
        if is_image(data):
            async with self._slots:
                picture = await asyncio.to_thread(rewrite, data, self._settings.media_max_pixels)
        medium = Medium(
            id=self._ids.make(),
            conversation_id=conversation_id,
            owner=user,
            name=clean_name(name),
            content_type=picture.content_type,
            size_bytes=len(picture.data),
            width=picture.width,
            height=picture.height,
            has_thumbnail=bool(picture.thumbnail),
        )
        await self._store.put(tenant, medium, picture.data, picture.thumbnail)
        return medium

    async def attach(
        self, tenant: TenantId, conversation_id: int, user: str, media_ids: Sequence[str]
    ) -> tuple[Attachment, ...]:
        """Files of this conversation that `user` uploaded, as a message carries them."""
        made = []
        for text in media_ids:
            medium = (
                await self._store.get(tenant, int(text))
                if text.isascii() and text.isdigit() and len(text) < 20
                else None
            )
            if medium is None or medium.conversation_id != conversation_id or medium.owner != user:
                raise MediaRefusedError(
                    "you have uploaded no such file to this conversation", field="attachments"
                )
            made.append(
                Attachment(
                    media_id=text, name=medium.name, content_type=medium.content_type, size_bytes=medium.size_bytes,
                    width=medium.width, height=medium.height,
                )
            )  # fmt: skip
        return tuple(made)

    async def link(
        self, tenant: TenantId, user: str, conversation_id: int, media_id: int, *, thumbnail: bool = False
    ) -> str:
        """The query of an address that gives the file for a while. Raises unless `user` may see it."""
        _, standing = await self._rooms.fresh_place(tenant, conversation_id, user)
        may_read(standing)
        medium = await self._store.get(tenant, media_id)
        if medium is None or medium.conversation_id != conversation_id:
            raise MessageNotFoundError("there is no such file in this conversation")
        expires = self._clock.now_ms() // 1000 + self._settings.media_link_seconds
        size = "thumbnail" if thumbnail and medium.has_thumbnail else "full"
        signature = self._sign(tenant, conversation_id, media_id, expires, size)
        return f"conversation={conversation_id}&tenant={tenant}&expires={expires}&size={size}&signature={signature}"

    async def open(
        self,
        tenant: TenantId,
        conversation_id: int,
        media_id: int,
        *,
        expires: int,
        size: str,
        signature: str,
    ) -> Medium:
        """The file of a link. Raises `MediaLinkError`, `MediaLinkExpiredError`, `MessageNotFoundError`."""
        expected = self._sign(tenant, conversation_id, media_id, expires, size)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise MediaLinkError
        if self._clock.now_ms() >= expires * 1000:
            raise MediaLinkExpiredError
        medium = await self._store.get(tenant, media_id)
        if medium is None or medium.conversation_id != conversation_id:
            raise MessageNotFoundError("this file was deleted")
        return medium

    async def size(self, tenant: TenantId, medium: Medium, size: str) -> int:
        """How many bytes there are."""
        return await self._store.size(tenant, medium, thumbnail=size == "thumbnail")

    async def read(self, tenant: TenantId, medium: Medium, size: str, start: int, end: int) -> bytes:
        """Bytes from `start` to before `end`."""
        return await self._store.read(tenant, medium, start, end, thumbnail=size == "thumbnail")

    def stream(self, tenant: TenantId, medium: Medium, size: str) -> AsyncIterator[bytes]:
        """All bytes."""
        return self._store.stream(tenant, medium, thumbnail=size == "thumbnail")

    def _sign(self, tenant: int, conversation_id: int, media_id: int, expires: int, size: str) -> str:
        said = f"{tenant} {conversation_id} {media_id} {expires} {size}".encode()
        return hmac.new(self._secret, said, hashlib.sha256).hexdigest()
