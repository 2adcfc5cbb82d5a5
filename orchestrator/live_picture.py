"""Annotated pictures for watchers: each view becomes one JPEG, whoever and however many watch it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from orchestrator.annotate import annotate, plain
from orchestrator.board import Board, View

LIVE_WIDTH_PX = 960
Encode = Callable[[View, int], bytes]


@dataclass(slots=True, eq=False)
class _Encoded:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    view: View | None = None
    jpeg: bytes = b""


class LivePictures:
    def __init__(self, board: Board, *, width_px: int = LIVE_WIDTH_PX) -> None:
        self._board = board
        self._width_px = width_px
        # One thread: however many watch, pictures take no more than one core from inspection.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")
        self._encoded: dict[str, _Encoded] = {}

    async def next_jpeg(self, camera_id: str, after: int) -> tuple[int, bytes]:
        """Wait for a view newer than number `after`. Raises KeyError for a camera that is not shown."""
        try:
            await self._board.next_view(camera_id, after)
            encoded = self._encoded.setdefault(camera_id, _Encoded())
            async with encoded.lock:
                number, view = self._board.view(camera_id)  # newer still, perhaps
                if view is None:
                    raise KeyError(camera_id)  # removed and added anew meanwhile
                if encoded.view is not view:
                    encoded.jpeg = await self._run(annotate, view, self._width_px)
                    encoded.view = view
                return number, encoded.jpeg
        except KeyError:
            self._encoded.pop(camera_id, None)
            raise

    async def plain_jpeg(self, view: View) -> bytes:
        """The frame as the camera sent it, in its own size."""
        return await self._run(plain, view, view.frame.picture.width)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Encode, view: View, width_px: int) -> bytes:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, view, width_px)
