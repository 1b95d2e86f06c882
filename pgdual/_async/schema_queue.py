"""Where the workers that wait for a schema stand in line: a key in Redis (P3).

It only spares the database their tries. Who runs the schema is decided by the database's own lock, so
whatever Redis does (it is away, slow, emptied, restarted, or still has the key of a worker that was killed)
costs a moment at most.
"""

from __future__ import annotations

import logging
from secrets import token_hex
from types import TracebackType
from typing import Any, Final, Self

from pgdual.settings import Settings

from .runtime import Keeper, redis, soon, within

# How long Redis may take to answer. Source: a look every 500 ms (the guide's retry_delay_ms).
LIMIT: Final = 0.5  # seconds
# Every so many looks the database is asked, whoever is next in Redis: a worker that was killed leaves its key
# there for the whole ttl, but its lock is gone at once. Four looks are 2 s.
EVERY: Final = 4
# Only the owner renews or gives up the key.
_IF_MINE: Final = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call"
_RENEW: Final = f"{_IF_MINE}('pexpire', KEYS[1], ARGV[2]) end"
_LEAVE: Final = f"{_IF_MINE}('del', KEYS[1]) end"
_logger = logging.getLogger("pgdual.schema")


class AsyncQueue:
    """A place in the line for the schema *key*; as a context it is given up at the end."""

    def __init__(self, settings: Settings, key: str) -> None:
        self._url = None if settings.redis_url is None else settings.redis_url.get_secret_value()
        self._ttl = settings.schema_lock_ttl
        self._key = key
        self._token = token_hex(16)
        self._is_mine = False
        self._looks = 0
        self._keeper: Keeper | None = None

    async def is_my_turn(self) -> bool:
        """Return whether the database is to be asked now; without Redis always."""
        self._looks += 1
        if self._url is None or self._is_mine:
            return True
        answer = await self._ask("SET", self._key, self._token, "NX", "PX", self._milliseconds)
        if answer is not None:
            self._is_mine = True
            self._keeper = self._keeper or Keeper(self._ttl / 3, self._renew_soon)
        return self._is_mine or self._url is None or self._looks % EVERY == 1

    @property
    def _milliseconds(self) -> int:
        return max(1, round(self._ttl * 1000))

    def _renew_soon(self) -> None:
        if self._is_mine:
            soon(self._renew)

    async def _renew(self) -> None:
        # It is gone after a restart, or somebody else's after a pause longer than the ttl.
        answer = await self._ask("EVAL", _RENEW, 1, self._key, self._token, self._milliseconds)
        self._is_mine = bool(answer)

    async def _ask(self, *command: str | int) -> Any:
        """Return the answer, or None; Redis is not asked again where it has failed once."""
        if self._url is None:
            return None
        try:
            return await redis(self._url, LIMIT, *command)
        except Exception as error:
            self._url = None
            _logger.warning(  # its message may quote the URL
                "[SCHEMA QUEUE] Redis failed (%s); the database's own lock decides about %s",
                type(error).__name__,
                self._key,
            )
            return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeper is not None:
            self._keeper.stop()
        if self._is_mine:
            self._is_mine = False
            await within(2 * LIMIT, self._ask, "EVAL", _LEAVE, 1, self._key, self._token)
