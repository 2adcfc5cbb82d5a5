"""Keeps the gallery in memory up to date with the store, and goes on with what is loaded when the store is down."""

import asyncio
import logging
from contextlib import aclosing
from typing import NoReturn

from redis.asyncio import Redis

from orchestrator.errors import CacheError
from orchestrator.metrics import Metrics
from orchestrator.ports import ModelVersion
from orchestrator.recognition.connection import failing_as_cache_error
from orchestrator.recognition.gallery import MEND, Gallery
from orchestrator.recognition.gallery_reader import GalleryReader, Loaded
from orchestrator.recognition.gallery_store import CHANGED, GalleryStore

log = logging.getLogger(__name__)

NOT_LOADED = "the gallery has not been loaded yet"
POLL_S = 0.5
RESUBSCRIBE_S = 1.0


class GalleryWatcher:
    """A `GallerySource`. Every change is announced on a channel, and looked for twice a second all the same.

    problem  why the gallery in force may not be what the store holds, for people; None when all is well
    """

    def __init__(
        self,
        redis: Redis,
        model: ModelVersion,
        dimension: int,
        *,
        metrics: Metrics,
        poll_s: float = POLL_S,
    ) -> None:
        self._redis = redis
        self._store = GalleryStore(redis)
        self._model = model
        self._dimension = dimension
        self._metrics = metrics
        self._poll_s = poll_s
        self._reader = GalleryReader(self._store, model, dimension)
        self._next: GalleryReader | None = None  # of the embedder that is in use now
        self._counted: set[str] = set()  # ids of damaged records that the metric has
        self._announced = asyncio.Event()
        self._shortfall: str | None = None
        self.problem: str | None = NOT_LOADED

    @property
    def current(self) -> Gallery:
        return self._reader.gallery

    @property
    def degraded(self) -> bool:
        return self.problem is not None

    def use(self, model: ModelVersion, dimension: int) -> None:
        """The embedder was swapped. Until its gallery is read, the old one stays: nobody compares with it."""
        self._model, self._dimension = model, dimension
        held = self.current
        same = (held.model.sha256, held.dimension) == (model.sha256, dimension)
        self._next = None if same else GalleryReader(self._store, model, dimension)
        self._announced.set()

    async def refresh(self) -> bool:
        """Read what changed; returns whether anything did. Raises CacheError, and keeps what is loaded."""
        reader = self._next or self._reader
        stamp = await self._store.stamp()
        held = reader.loaded
        if held is not None and held.stamp == stamp:
            self._recovered()
            return False
        if not stamp.epoch and self._reader.has_people:
            # Everybody at once is nobody's wish: Redis came back without its data.
            self._report(
                "Redis lost the gallery; the faces in memory stay in use: restore Redis or enrol again"
            )
            return False
        loaded = await reader.update(stamp)
        if reader is (self._next or self._reader):  # and not swapped once more meanwhile
            self._reader, self._next = reader, None
            self._tell(loaded)
        return True

    async def run(self) -> NoReturn:
        """Follow the store until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name="gallery:listen")
            await self._poll()

    async def _poll(self) -> NoReturn:
        while True:
            try:
                await self.refresh()
            except CacheError as error:
                self._metrics.gallery_reloads.labels("unavailable").inc()
                self._report(f"{error}; the {len(self.current)} people in memory stay in use")
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._announced.wait()
            except TimeoutError:
                continue
            finally:
                self._announced.clear()

    async def _listen(self) -> NoReturn:
        """Wake the poll when a change is announced; without the channel it wakes by itself."""
        while True:
            try:
                with failing_as_cache_error("announce changes"):
                    async with aclosing(self._redis.pubsub()) as channel:
                        await channel.subscribe(CHANGED)
                        while True:
                            message = await channel.get_message(
                                ignore_subscribe_messages=True, timeout=RESUBSCRIBE_S
                            )
                            if message is not None:
                                self._announced.set()
            except CacheError as error:
                log.debug("%s", error)
                await asyncio.sleep(RESUBSCRIBE_S)

    def _tell(self, loaded: Loaded) -> None:
        gallery = loaded.gallery
        self._metrics.gallery_faces.set(gallery.faces)
        self._metrics.gallery_reloads.labels("loaded").inc()
        for face_id in loaded.rejected.keys() - self._counted:
            self._metrics.face_cache_rejected.labels(loaded.rejected[face_id].reason).inc()
        self._counted = set(loaded.rejected)
        log.info("gallery %s: %d people, %d faces", gallery.version, len(gallery), gallery.faces)
        self._shortfall = self._left_out(loaded)
        self._recovered()

    def _left_out(self, loaded: Loaded) -> str | None:
        """What keeps part of the store from being used although Redis answers."""
        if loaded.rejected:
            ids = ", ".join(sorted(loaded.rejected)[:3])
            return (
                f"{len(loaded.rejected)} damaged records in the gallery are left out ({ids}); "
                "`fess faces remove ID` and enrol again"
            )
        if loaded.foreign:
            return (
                f"{len(loaded.foreign)} people were enrolled with another model than {self._model.name} "
                f"({self._dimension}-d) and cannot be recognised; {MEND}"
            )
        return None

    def _recovered(self) -> None:
        """Redis answers: what remains is what is wrong with its content."""
        if self._shortfall is None and self.problem is not None:
            if self.problem != NOT_LOADED:
                log.info("the gallery is up to date again")
            self.problem = None
        elif self._shortfall is not None:
            self._report(self._shortfall)

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem
