"""The port at which Prometheus reads pages, one for each connection.

The rule: HTTP is the standard library's business, sockets and limits are ours. Its server knows no
limit for a whole request, nor for connections, so of it there is only what reads a request that is
there and writes the reply; it does so in memory.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any, Final

from counter.client.exposition import Page
from tracker.config import shown_endpoint
from tracker.daemon import complain, say, tell_manager
from tracker.errors import ClusterError
from tracker.text import printable

READERS_MAX: Final = 16
"""Connections at once; one more is closed."""
REQUEST_BYTES_MAX: Final = 8_192
REQUEST_S: Final = 3.0
"""Longest time for a request to come, and for its reply to leave."""
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Look = Callable[[], Awaitable[tuple[Page, list[ClusterError]]]]
"""Makes a page, and says what could not be asked."""


class Door:
    """Serves what `look` makes."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._readers: set[asyncio.Task[None]] = set()
        self._trouble = ""

    async def serve(self, port: socket.socket, stop: asyncio.Event, asked: str) -> None:
        """Serve until told to stop; `asked` is what a person is told of the pages."""
        where = f"http://{shown_endpoint(port.getsockname()[:2])}/metrics"
        server = await asyncio.start_server(self._meet, sock=port, limit=REQUEST_BYTES_MAX)
        say(f"counter metrics  {where}   {asked} · keeps nothing\nnext:  curl -s {where}")
        tell_manager("READY=1")
        await stop.wait()
        server.close()
        for task in self._readers:
            task.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._readers) >= READERS_MAX:
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._read(reader, writer))
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # Whoever it was may read no more, or never have spoken HTTP.
            with suppress(OSError, EOFError, asyncio.LimitOverrunError):
                await self._converse(reader, writer)
        finally:
            # Closed alone it would stay until the last of its reply is read.
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(REQUEST_S):
            request = Request(await reader.readuntil(b"\r\n\r\n"))
        if request.is_for_page:
            page, errors = await self._look()
            self._tell("; ".join(dict.fromkeys([printable(str(error)) for error in errors])))
            request.answer(page.text)
        async with asyncio.timeout(REQUEST_S):
            writer.write(request.reply)
            writer.close()
            await writer.wait_closed()

    def _tell(self, trouble: str) -> None:
        """Say once that something cannot be asked, and that it can be again."""
        if bool(trouble) != bool(self._trouble):
            complain(f"note: {trouble}; going on" if trouble else "note: all can be asked again")
        self._trouble = trouble


class Request(BaseHTTPRequestHandler):
    """One request, whole up to its empty line. What stands in it is told to nobody."""

    server_version, sys_version = "gossip-counter", ""
    error_content_type, error_message_format = CONTENT_TYPE, "%(explain)s\n"

    def __init__(self, head: bytes) -> None:
        # That of the library would read from a socket, and wait for it.
        self.rfile, self._written = BytesIO(head), BytesIO()
        self.wfile = self._written
        self.is_for_page = False
        self.handle_one_request()

    @property
    def reply(self) -> bytes:
        """What is to be sent; nothing where nothing was asked."""
        return self._written.getvalue()

    def do_GET(self) -> None:
        """Take what the library knows for a GET; any other method it refuses by itself."""
        self.is_for_page = self.path.partition("?")[0] in ("/", "/metrics")
        if not self.is_for_page:
            self.send_error(404)

    def answer(self, text: str) -> None:
        """Reply with a page."""
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse in the words of the code alone: the library's others quote what came."""
        super().send_error(code)

    def log_message(self, *parts: Any) -> None:
        """Log nothing."""
