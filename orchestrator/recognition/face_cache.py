"""The face cache in Redis, where other programs look up who and what was seen last.

Writing never waits: values go through a bounded queue to `run()`, and what finds it full is dropped and counted.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from orchestrator.detection import Detections
from orchestrator.errors import CacheError
from orchestrator.face import FaceQuality
from orchestrator.frame import Frame
from orchestrator.identity import Identity
from orchestrator.metrics import Metrics
from orchestrator.ports import ModelVersion
from orchestrator.recognition.codec import (
    MAX_BYTES,
    VERSION,
    DetectedValue,
    DetectionValue,
    FaceValue,
    RejectedValue,
    Rejection,
    V,
    decode_embedding,
    detections_of,
    encode_embedding,
    pack,
    unpack,
)
from orchestrator.recognition.connection import failing_as_cache_error
from orchestrator.settings import CacheSettings

log = logging.getLogger(__name__)

QUEUE_SIZE = 1024
BATCH = 64
# What comes within this time shares one round trip; nobody waits for a cached value that long.
GATHER_S = 0.05
RETRY_S = 1.0
INDEX = (
    "faces:cached"  # sorted set of face ids by the time they were cached: what bounds their number
)

# KEYS: the face, the index. ARGV: value, ttl in s, now in s, face id, most faces.
# One script, so that the bound holds however many workers write at once.
_PUT_FACE = """
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. (ARGV[3] - ARGV[2]))
local over = redis.call('ZCARD', KEYS[2]) - ARGV[5]
if over > 0 then
  local oldest = redis.call('ZPOPMIN', KEYS[2], over)
  for i = 1, #oldest, 2 do redis.call('UNLINK', 'face:' .. oldest[i]) end
end
redis.call('EXPIRE', KEYS[2], ARGV[2])
"""


@dataclass(frozen=True, slots=True, eq=False)
class CachedFace:
    """embedding is float32 (d,), a unit vector."""

    face_id: str
    embedding: NDArray[np.float32]
    metadata: dict[str, str | int | float | bool | None]
    cached_at: datetime


def face_key(face_id: str) -> str:
    return f"face:{face_id}"


def detection_key(camera_id: str, frame_number: int) -> str:
    return f"detection:{camera_id}:{frame_number}"


class FaceCache:
    """Implements `DetectionCache` and `FaceStore`. `run()` must be running for writes to leave."""

    def __init__(
        self,
        redis: Redis,
        model: ModelVersion,
        dimension: int,
        *,
        settings: CacheSettings,
        metrics: Metrics,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        queue_size: int = QUEUE_SIZE,
    ) -> None:
        self._redis = redis
        self._model = model
        self._dimension = dimension
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._queue: asyncio.Queue[FaceValue | DetectionValue] = asyncio.Queue(queue_size)
        self.degraded = False

    def use(self, model: ModelVersion, dimension: int) -> None:
        """Only faces of this model are handed out from now on: the embedder was swapped."""
        self._model, self._dimension = model, dimension

    def put_face(
        self,
        identity: Identity,
        embedding: NDArray[np.float32],
        quality: FaceQuality,
        frame: Frame,
        track_id: int,
        model: ModelVersion | None = None,
    ) -> None:
        """Remember who was recognised. Never blocks; dropped and counted when Redis does not keep up.

        model: that made the embedding; None: the one in use.
        """
        value = FaceValue(
            key=face_key(identity.face_id),
            v=VERSION,
            model=(model or self._model).sha256,
            dim=len(embedding),
            encoding=encode_embedding(embedding),
            metadata={
                "person_name": identity.person_name,
                "is_authorized": identity.is_authorized,
                "confidence": round(identity.confidence, 6),
                "camera_id": frame.camera_id,
                "frame_number": frame.frame_number,
                "track_id": track_id,
                "quality": round(quality.score, 6),
                "gallery_version": identity.gallery_version,
            },
            cached_at=self._clock(),
        )
        self._put(value, "face")

    def put_detections(self, frame: Frame, detections: Detections) -> None:
        """Remember what was seen in a frame. Never blocks."""
        labels = () if detections.model is None else detections.model.labels
        rows = zip(
            detections.class_id.tolist(),
            detections.confidence.tolist(),
            detections.xyxy.tolist(),
            strict=True,
        )
        value = DetectionValue(
            key=detection_key(frame.camera_id, frame.frame_number),
            v=VERSION,
            detections=[
                DetectedValue(
                    class_id=class_id,
                    object_class=labels[class_id] if class_id < len(labels) else str(class_id),
                    confidence=min(max(confidence, 0.0), 1.0),
                    bbox=bbox,
                )
                for class_id, confidence, bbox in rows
            ],
            timestamp=frame.captured_at,
        )
        self._put(value, "detection")

    async def get_face(self, face_id: str) -> CachedFace | None:
        """Look a face up; None when it is not there, or what is there is not it. Raises CacheError."""
        key = face_key(face_id)
        value = await self._get(FaceValue, key)
        if value is None:
            return None
        try:
            if value.model != self._model.sha256:
                raise RejectedValue(Rejection.WRONG_MODEL, "embedded by another model")
            if value.dim != self._dimension:
                raise RejectedValue(Rejection.WRONG_DIMENSION, f"{value.dim} numbers")
            embedding = decode_embedding(value.encoding, self._dimension)
        except RejectedValue as rejected:
            await self._reject(key, rejected)
            return None
        return CachedFace(face_id, embedding, value.metadata, value.cached_at)

    async def get_detections(self, camera_id: str, frame_number: int) -> Detections | None:
        """What was seen in a frame, as long as it is kept. Raises CacheError."""
        value = await self._get(DetectionValue, detection_key(camera_id, frame_number))
        return None if value is None else detections_of(value)

    async def drained(self) -> None:
        """Wait until everything put so far was written or dropped; needs `run()`."""
        await self._queue.join()

    async def run(self) -> NoReturn:
        """Write what was put, until cancelled. While Redis is down values are dropped and counted."""
        while True:
            batch = [await self._queue.get()]
            await asyncio.sleep(GATHER_S)
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                await self._write(batch)
            except CacheError as error:
                self._metrics.face_cache_dropped.labels("unavailable").inc(len(batch))
                if not self.degraded:
                    log.warning("%s; recognition goes on without the face cache", error)
                self.degraded = True
                await asyncio.sleep(RETRY_S)
            else:
                if self.degraded:
                    log.info("the face cache is back")
                self.degraded = False
            finally:
                for _ in batch:
                    self._queue.task_done()

    async def _write(self, batch: Sequence[FaceValue | DetectionValue]) -> None:
        with failing_as_cache_error("take a face"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for value in batch:
                    if isinstance(value, DetectionValue):
                        pipe.set(value.key, pack(value), ex=self._settings.detection_ttl)
                    else:
                        pipe.eval(
                            _PUT_FACE,
                            2,
                            value.key,
                            INDEX,
                            pack(value),
                            self._settings.face_ttl,
                            f"{value.cached_at.timestamp():.6f}",
                            value.key.removeprefix("face:"),
                            self._settings.max_faces,
                        )
                await pipe.execute()

    def _put(self, value: FaceValue | DetectionValue, kind: str) -> None:
        try:
            self._queue.put_nowait(value)
        except asyncio.QueueFull:
            self._metrics.face_cache_dropped.labels("full").inc()
            log.debug("the face cache is behind; a %s was not remembered", kind)

    async def _get(self, form: type[V], key: str) -> V | None:
        try:
            with failing_as_cache_error("look up a face"):
                # Not GET: whatever somebody stored there, no more than this is ever read into memory.
                payload = await self._redis.getrange(key, 0, MAX_BYTES - 1)
        except CacheError as error:
            if not isinstance(error.__cause__, ResponseError):
                raise
            await self._reject(key, RejectedValue(Rejection.GARBAGE, "not a string"))
            return None
        if not payload:
            return None
        try:
            return unpack(form, key, payload if isinstance(payload, bytes) else payload.encode())
        except RejectedValue as rejected:
            await self._reject(key, rejected)
            return None

    async def _reject(self, key: str, rejected: RejectedValue) -> None:
        self._metrics.face_cache_rejected.labels(rejected.reason).inc()
        log.warning("dropped %s from the face cache: %s", key, rejected)
        with failing_as_cache_error("drop a bad value"):
            await self._redis.unlink(key)
