"""Header blocks of one HTTP/2 connection: put together from their frames, decoded, remembered.

A gRPC client repeats its header block byte for byte, so a decoded block is remembered for as long as the
HPACK table stands still: that is most of the difference to a general server. What a peer can make us keep is
bounded (CVE-2024-27316, the flood of continuations).
"""

from typing import Final

from hpack import Decoder, HPACKError, InvalidTableIndex

from twelvefold.systems.limiter.compat.grpc.frames import (
    CALM_DOWN,
    COMPRESSION_ERROR,
    MAX_BLOCK,
    MAX_CONTINUATIONS,
    PROTOCOL_ERROR,
    ConnectionFaultError,
    Request,
)

MAX_HEADER_LIST: Final = 16_384
_MAX_MEMO: Final = 256


class HeaderBlocks:
    """What a peer's HEADERS and CONTINUATION frames say.

    Attributes:
        open_stream: whose block is not complete yet; 0: nobody's.
        open_flags: of the HEADERS frame that began it.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=MAX_HEADER_LIST)
        self._memo: dict[bytes, Request] = {}
        self._pieces: list[bytes] = []
        self._size = 0
        self.open_stream = 0
        self.open_flags = 0

    def begin(self, stream: int, flags: int, piece: bytes) -> None:
        """The first piece of a block that goes on."""
        self.open_stream, self.open_flags = stream, flags
        self._pieces, self._size = [piece], len(piece)

    def go_on(self, piece: bytes) -> None:
        """The next piece. Raises `ConnectionFaultError` when there is no block, or it grows too large."""
        if not self.open_stream:
            raise ConnectionFaultError(PROTOCOL_ERROR, "a continuation of nothing")
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > MAX_BLOCK or len(self._pieces) > MAX_CONTINUATIONS:
            raise ConnectionFaultError(CALM_DOWN, "a header block is larger than this server takes")

    def end(self) -> bytes:
        """The whole block."""
        block = b"".join(self._pieces)
        self._pieces, self.open_stream = [], 0
        return block

    def request(self, block: bytes) -> Request:
        """What a whole block says; every block has to pass here, in order, as it may change the table."""
        known = self._memo.get(block)
        if known is not None:
            return known
        table = self._decoder.header_table
        before = (tuple(table.dynamic_entries), table.maxsize)
        try:
            headers = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except (HPACKError, InvalidTableIndex, UnicodeDecodeError) as error:
            raise ConnectionFaultError(COMPRESSION_ERROR, "a header block cannot be read") from error
        request = Request(headers)
        if (tuple(table.dynamic_entries), table.maxsize) != before:
            self._memo.clear()  # what the old blocks meant may have changed
        elif len(self._memo) < _MAX_MEMO:
            self._memo[block] = request
        return request
