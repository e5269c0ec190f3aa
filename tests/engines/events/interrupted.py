"""A store as seen by a process that dies, or whose steps mix with those of others."""

import asyncio


class DiedError(Exception):
    """The process is gone."""


class Interrupted:
    """A store seen by a process that dies at its n-th write, or whose steps mix with those of others."""

    def __init__(self, blobs, *, writes=1 << 30, chance=None, after_listing=None):
        self._blobs = blobs
        self.writes = writes
        self._chance = chance
        self._after_listing = after_listing

    def __getattr__(self, name):
        return getattr(self._blobs, name)

    async def _step(self):
        if self._chance is not None:
            for _ in range(self._chance.randrange(6)):
                await asyncio.sleep(0)

    async def _write(self):
        await self._step()
        self.writes -= 1
        if self.writes < 0:
            raise DiedError

    async def put(self, key, data, *, if_absent=False):
        await self._write()
        await self._blobs.put(key, data, if_absent=if_absent)

    async def delete(self, keys):
        for key in keys:  # a real store removes them one by one, too
            await self._write()
            await self._blobs.delete([key])

    async def get(self, key):
        await self._step()
        return await self._blobs.get(key)

    async def list(self, prefix=""):
        await self._step()
        async for info in self._blobs.list(prefix):
            await self._step()
            yield info
        if self._after_listing:
            await self._after_listing()
