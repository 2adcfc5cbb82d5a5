"""A connection to Redis on which a cancellation is never lost, and whose commands are packed in C."""

import asyncio
from collections.abc import Iterable
from typing import Any

from redis.asyncio import Connection
from redis.connection import HiredisRespSerializer


class CancellableConnection(Connection):
    """Below Python 3.12 `asyncio.wait_for`, with which redis-py writes, forgets a cancellation that comes as it ends.

    Whoever was cancelled then goes on for ever: a worker that was told to stop had to be killed.
    """

    def pack_command(self, *args: Any) -> list[bytes]:
        """With hiredis, as redis-py's synchronous connection does; its asynchronous one packs in Python (0005)."""
        packed: list[bytes] = HiredisRespSerializer().pack(*args)
        return packed

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
