"""What the tests of blobs put into a store, and how they look at it."""

import asyncio


async def listed(store, prefix=""):
    return sorted([info.key async for info in store.list(prefix)])


async def in_chunks(*chunks):
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


async def failing(*chunks):
    for chunk in chunks:
        yield chunk
    raise FileNotFoundError("the source broke")
