"""A way to the server that can be shut for one page only, or let no WebSocket through, as some proxies do."""

import contextlib
import socket
import threading


class Doorway:
    """A TCP forwarder in front of the server. Shut, it makes the server be away for one page only."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._sockets: list[socket.socket] = []
        self.port = 0
        self.refuses_sockets = False
        self.holds_sockets = False
        self.open()

    def refuse_sockets(self) -> None:
        """From now on, and end those that are open."""
        self.refuses_sockets = True
        for connection in self._sockets:
            _cut(connection)
        self._sockets.clear()

    def let_sockets_through(self) -> None:
        """Those that waited until now have to ask again."""
        self.holds_sockets = False
        for connection in self._sockets:
            _cut(connection)
        self._sockets.clear()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """Cut everything, also what a browser has opened and said nothing on yet: it may do so at any moment."""
        with self._lock:
            listener, self._listener = self._listener, None
            cut, self._open = self._open, set()
        if listener is not None:
            _cut(listener)
        for connection in cut:
            _cut(connection)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                inner, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                shut = self._listener is not listener
                if not shut:
                    self._open.add(inner)
            if shut:
                _cut(inner)
                return
            threading.Thread(target=self._serve, args=(inner,), daemon=True).start()

    def _serve(self, inner: socket.socket) -> None:
        # A browser opens a connection of its own for a WebSocket: its first bytes say so.
        with contextlib.suppress(OSError):
            first = inner.recv(65536)
            upgrade = b"upgrade: websocket" in first.lower()
            if upgrade and self.refuses_sockets:
                inner.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            elif upgrade and self.holds_sockets:
                self._sockets.append(inner)
                return
            elif first:
                outer = socket.create_connection(("127.0.0.1", self._server_port))
                self._join(inner, outer, first, upgrade=upgrade)
        _cut(inner)

    def _join(self, inner: socket.socket, outer: socket.socket, first: bytes, *, upgrade: bool) -> None:
        with self._lock:
            shut = inner not in self._open
            if not shut:
                self._open.add(outer)
        if shut:
            _cut(outer)
            return
        if upgrade:
            self._sockets += [inner, outer]
        outer.sendall(first)
        threading.Thread(target=_pump, args=(inner, outer), daemon=True).start()
        _pump(outer, inner)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    _cut(source)
    _cut(target)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
