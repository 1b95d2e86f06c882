"""A projection along its source: the log is one track, a topic has several, which come and go."""

from __future__ import annotations

from typing import Any

from .batches import AsyncProjection


class AsyncTracks:
    """The tracks of a source that a projection goes along here, each with a checkpoint of its own.

    An aggregate's events are all on one track.

    Args:
        source: `tracks(projection)` returns those that there are now; a new object begins at its checkpoint.
    """

    def __init__(self, source: Any, projection: AsyncProjection) -> None:
        self.name = projection.name
        self._source = source
        self._projection = projection
        self._along: dict[Any, AsyncProjection] = {}

    async def step(self, limit: int) -> bool:
        """Take one step along each; False if none has anything new.

        Raises:
            Exception: What stopped one of them; the others went on.
        """
        tracks = await self._source.tracks(self.name)
        self._along = {one: self._along.get(one) or self._projection.along(one) for one in tracks}
        is_moving, errors = False, []
        for projection in self._along.values():
            try:
                is_moving = await projection.step(limit) or is_moving
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return is_moving
