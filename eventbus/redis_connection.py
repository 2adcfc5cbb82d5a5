"""A connection to Redis on which a cancellation is never lost."""

import asyncio
from collections.abc import Iterable

from redis.asyncio import Connection


class CancellableConnection(Connection):
    """Below Python 3.12 `asyncio.wait_for`, with which redis-py writes, forgets a cancellation that comes as it ends.

    Whoever was cancelled then goes on for ever: a worker that was told to stop had to be killed.
    """

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)
        if task and task.cancelling() > before:
            # Its reply, still to come, must not be taken for the answer to the next question.
            await self.disconnect(nowait=True)
            raise asyncio.CancelledError
