"""A network to break: a TCP proxy in front of a server, in a thread and an event loop of its own.

Its controls may be used from any thread, also from within an event loop: each returns once it holds. What
the client sends goes UP, what the server sends comes DOWN.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Literal, Self

from pgdual.embedded.process import LOOPBACK, free_port

__all__ = ["DOWN", "UP", "Direction", "Proxy"]

Direction = Literal["up", "down"]
UP: Final[Direction] = "up"
DOWN: Final[Direction] = "down"
# What lies in wait in one direction; None for a RST, b"" for the end.
_Queue = asyncio.Queue[tuple[float, bytes | None]]
_RST: Final = struct.pack("ii", 1, 0)  # SO_LINGER of 0 seconds: to close says RST
_CHUNK: Final = 65536
_AHEAD: Final = 64  # chunks taken and not yet delivered; past that the sender's own buffers fill up


class _CutError(Exception):
    """A connection ends where it was asked to."""


class Link:
    """A client's connection, and the one to the server that stands behind it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.is_mute = False  # nothing comes down any more

    def reset(self) -> None:
        """End both connections with a RST, whatever was on its way."""
        for writer in (self.client, self.server):
            if not writer.transport.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
            writer.transport.abort()

    def hang_up(self) -> None:
        """Close the client's end; the server has what came up, and what it answers goes nowhere."""
        self.is_mute = True
        self.client.transport.abort()
        self.server.write_eof()


class Proxy:
    """A TCP proxy on 127.0.0.1, to be used as a context.

    Args:
        target: The server's port.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.target = target
        self._links: dict[asyncio.Task[None], Link | None] = {}
        self._latency = 0.0
        self._cut: tuple[int, Direction] | None = None
        self._pattern: bytes | None = None
        self._signal: bytes | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="proxy", daemon=True)

    def dsn(self, dsn: str) -> str:
        """Return *dsn*, which names the server's port, as it leads through here."""
        return dsn.replace(f":{self.target}/", f":{self.port}/")

    # -- controls --------------------------------------------------------------------------------

    def latency(self, seconds: float) -> None:
        """Deliver everything *seconds* later from now on, in each direction."""
        self._control(lambda: setattr(self, "_latency", seconds))

    def freeze(self) -> None:
        """Accept connections, take what is sent, and deliver nothing in either direction."""
        self._control(self._flowing.clear)

    def freeze_on(self, pattern: bytes) -> None:
        """Freeze as soon as a client sends *pattern*, which is held back too."""
        self._control(lambda: setattr(self, "_signal", pattern))

    def is_frozen(self) -> bool:
        """Return whether nothing is delivered now."""
        return not self._flowing.is_set()

    def thaw(self) -> None:
        """Deliver what was held back, and go on."""
        self._control(self._flowing.set)

    def reset(self) -> None:
        """End all connections with a RST; what was held back is gone."""
        self._control(self._reset)

    def cut(self, after_bytes: int, direction: Direction = DOWN) -> None:
        """Close the connection on which byte number *after_bytes* from now goes in *direction*, behind it."""
        self._control(lambda: setattr(self, "_cut", (after_bytes, direction)))

    def cut_on(self, pattern: bytes) -> None:
        """Forward what a client sends next with *pattern* in it, and hang up before it is answered."""
        self._control(lambda: setattr(self, "_pattern", pattern))

    def is_cut(self) -> bool:
        """Return whether what `cut` and `cut_on` were asked for has happened."""
        return self._cut is None and self._pattern is None

    def refuse(self) -> None:
        """Stop listening; the connections there are go on."""
        self._control(self._server.close)

    def accept(self) -> None:
        """Listen again, on the same port."""
        self._run(self._listen())

    def heal(self) -> None:
        """Be a good network again, whatever was asked for; the connections there are go on."""
        self._control(self._heal)
        self.accept()

    def connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._links)

    def _control(self, change: Callable[[], object]) -> None:
        async def run() -> None:
            change()

        self._run(run())

    def _run(self, change: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(change, self._loop).result(10.0)

    # -- in its own loop -------------------------------------------------------------------------

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped, self._flowing = asyncio.Event(), asyncio.Event()
        self._flowing.set()
        self._server = await asyncio.start_server(self._accepted, LOOPBACK, self.port)
        self._ready.set()
        await self._stopped.wait()
        self._server.close()
        self._reset()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _listen(self) -> None:
        if not self._server.is_serving():
            self._server = await asyncio.start_server(self._accepted, LOOPBACK, self.port)

    def _heal(self) -> None:
        self._latency, self._cut, self._pattern, self._signal = 0.0, None, None, None
        self._flowing.set()

    def _reset(self) -> None:
        for task, link in list(self._links.items()):
            if link is not None:
                link.reset()
            task.cancel()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._links[task] = None
        task.add_done_callback(self._links.pop)
        # A task that is cancelled before it begins never comes to its `finally`.
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = None
        try:
            back, onward = await asyncio.open_connection(LOOPBACK, self.target)
            link = self._links[asyncio.current_task()] = Link(writer, onward)  # type: ignore[index]
            async with asyncio.TaskGroup() as group:
                for direction, source, drain in ((UP, reader, onward), (DOWN, back, writer)):
                    queue: _Queue = asyncio.Queue(_AHEAD)
                    group.create_task(self._take(source, queue))
                    group.create_task(self._deliver(link, direction, queue, drain))
        except* OSError:
            if link is not None:
                link.reset()
        except* _CutError:
            pass  # the end that was asked for; before Python 3.12 `suppress` knows no groups
        finally:
            writer.transport.abort()
            if link is not None:
                link.server.transport.abort()

    async def _take(self, source: asyncio.StreamReader, queue: _Queue) -> None:
        data: bytes | None = b"."
        while data:
            try:
                data = await source.read(_CHUNK)
            except OSError:
                data = None  # behind what came before it: where the network is frozen a RST is, too
            await queue.put((self._loop.time() + self._latency, data))

    async def _deliver(
        self, link: Link, direction: Direction, queue: _Queue, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(due - self._loop.time())
            if direction == UP and data and self._signal is not None and self._signal in data:
                self._signal = None
                self._flowing.clear()
            await self._flowing.wait()
            if data is None:
                raise ConnectionResetError
            if direction == DOWN and link.is_mute:
                if data:
                    continue
                return
            if not data:
                if not link.is_mute:
                    writer.write_eof()
                return
            part = self._part(data, direction)
            writer.write(part)
            if direction == UP and self._pattern is not None and self._pattern in part:
                self._pattern = None
                link.hang_up()
                return
            await writer.drain()
            if self._cut == (0, direction):
                self._cut = None
                raise _CutError

    def _part(self, data: bytes, direction: Direction) -> bytes:
        """Return what of *data* is let through."""
        if self._cut is None or self._cut[1] != direction:
            return data
        rest = self._cut[0]
        self._cut = max(rest - len(data), 0), direction
        return data[:rest]

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10.0):
            raise TimeoutError("the proxy did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._control(self._stopped.set)
        self._thread.join(10.0)
