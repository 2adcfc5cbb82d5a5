"""Waits for Triton to serve the models, and makes what asks them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import InferenceInvalid, InferenceOutdated, InferenceUnavailable
from orchestrator.inference.live import LOOK_EVERY_S, Live
from orchestrator.inference.live_models import (
    Detecting,
    Embedding,
    Finding,
    LiveFaceDetector,
    LiveFaceEmbedder,
    LiveObjectDetector,
)
from orchestrator.inference.triton import TritonClient
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

RETRY_EVERY_S = 1.0
# Every so many tries the log says again what is waited for.
TELL_EVERY = 10


@dataclass(frozen=True, slots=True)
class FaceModels:
    detector: LiveFaceDetector
    embedder: LiveFaceEmbedder

    @property
    def match_threshold(self) -> float:
        return self.embedder.match_threshold


@dataclass(frozen=True, slots=True)
class Models:
    """The models in use; `faces` is None where faces are switched off."""

    detector: LiveObjectDetector
    faces: FaceModels | None

    @property
    def labels(self) -> tuple[str, ...]:
        return self.detector.model.labels

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(live.served.version.name for live in self.live)

    @property
    def live(self) -> tuple[Live[Any], ...]:  # of adapters of several kinds
        faces = () if self.faces is None else (self.faces.detector.live, self.faces.embedder.live)
        return (self.detector.live, *faces)

    async def follow(self, *, every_s: float = LOOK_EVERY_S) -> None:
        """Notice also those swaps that no request would tell, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for live in self.live:
                tasks.create_task(
                    live.follow(every_s=every_s), name=f"follow:{live.served.version.name}"
                )

    async def check(self) -> float:
        """Raises InferenceInvalid where a version that is served cannot be used as the settings want."""
        problems = [f"{m.served.version.name}: {m.problem}" for m in self.live if m.problem]
        if problems:
            raise InferenceInvalid("; ".join(problems))
        return 0.0


async def load_models(client: TritonClient, settings: Settings, *, follow: bool = False) -> Models:
    """Describe every model the settings name. Raises InferenceError, SettingsError.

    follow: whether to go over to another version once Triton serves it (decision 0014); else that is an error, because
        a replay, and the faces that are enrolled together, must be of one.
    """
    detector, faces = settings.detector, settings.faces
    objects = LiveObjectDetector(
        Live(
            client,
            await client.describe(detector.model),
            Detecting(client, detector),
            follow=follow,
        )
    )
    if not faces.enabled:
        return Models(objects, None)
    found = LiveFaceDetector(
        Live(
            client,
            await client.describe(faces.detector_model),
            Finding(client, faces.detector_threshold),
            follow=follow,
        )
    )
    embedder = LiveFaceEmbedder(
        Live(
            client,
            await client.describe(faces.embedder_model),
            Embedding(client, faces.match_threshold),
            follow=follow,
        )
    )
    return Models(objects, FaceModels(found, embedder))


async def await_models(
    client: TritonClient,
    settings: Settings,
    *,
    follow: bool = False,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Models:
    """Load the models as soon as Triton serves them, however long that takes. Raises SettingsError.

    follow: see `load_models`.
    """
    tries = 0
    while True:
        try:
            return await load_models(client, settings, follow=follow)
        except (InferenceUnavailable, InferenceOutdated) as error:
            if tries % TELL_EVERY == 0:
                log.warning("waiting for Triton: %s", error)
            tries += 1
            await sleep(RETRY_EVERY_S)
