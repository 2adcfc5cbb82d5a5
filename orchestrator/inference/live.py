"""A model as it is served now: a question is answered by the version that it was made for, or asked anew.

What belongs to a version, its size, labels and digest, is read once and held together in one adapter. Every request
names the version of its adapter, so Triton answers with that one or not at all; when it is gone, the model is read
again, once for everybody, and the question is put to the new adapter. See decision 0014.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, Never, TypeVar

from orchestrator.errors import (
    InferenceError,
    InferenceInvalid,
    InferenceOutdated,
    InferenceStale,
    SettingsError,
)
from orchestrator.inference.triton import ServedModel, TritonClient

log = logging.getLogger(__name__)

# A change is noticed by the first request after it; this finds it where nobody asks, or nobody can.
LOOK_EVERY_S = 5.0
# Between two versions Triton may name one that is just going.
AGAIN_S = 0.02
UNCHANGED_MOST = 5

A = TypeVar("A")
R = TypeVar("R")

Make = Callable[[ServedModel], tuple[A, str | None]]
"""The adapter of a version, and what it lacks. Raises InferenceError or SettingsError if it cannot be used."""


class Live(Generic[A]):
    """problem: why the served version cannot be used, or not as the settings want; None when all is well."""

    def __init__(
        self, client: TritonClient, served: ServedModel, make: Make[A], *, follow: bool
    ) -> None:
        """Take up the version that is served. Raises what `make` raises.

        follow: whether another version is taken up later. Where all answers must be of one, it is an error.
        """
        self._client = client
        self._make = make
        self._follow = follow
        self._served = served
        self._adapter, self.problem = make(served)
        self._usable = True
        self._reading = asyncio.Lock()
        self._listeners: list[Callable[[A], None]] = []

    @property
    def served(self) -> ServedModel:
        return self._served

    @property
    def adapter(self) -> A:
        """Of the version that was usable last."""
        return self._adapter

    def require_usable(self) -> None:
        """Raises InferenceInvalid while the served version is one that the settings, or we, cannot use."""
        if not self._usable:
            raise InferenceInvalid(f"model {self._name}: {self.problem}")

    def on_change(self, listener: Callable[[A], None]) -> None:
        self._listeners.append(listener)

    async def ask(self, question: Callable[[A], Awaitable[R]], *, deadline_s: float) -> R:
        """Put a question to the served version. Raises InferenceError.

        deadline_s is a time.monotonic() value; until then the question is asked again of the next version.
        """
        unchanged = 0
        while True:
            self.require_usable()
            served = self._served
            try:
                return await question(self._adapter)
            except InferenceOutdated as error:
                if not self._follow:
                    raise InferenceOutdated(
                        f"{error}; it was swapped while all answers had to be of one version: run this again"
                    ) from error
                if unchanged == UNCHANGED_MOST:
                    raise InferenceInvalid(str(error)) from error
                unchanged = 0 if await self._renewed_by(deadline_s, served) else unchanged + 1

    async def follow(self, *, every_s: float = LOOK_EVERY_S) -> Never:
        """Look now and then, until cancelled: for a version that nobody has asked yet, or that can be used again."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self._renew(self._served)
            except InferenceError as error:
                log.debug("%s", error)

    @property
    def _name(self) -> str:
        return self._served.version.name

    async def _renewed_by(self, deadline_s: float, than: ServedModel) -> bool:
        try:
            async with asyncio.timeout(deadline_s - time.monotonic()):
                if await self._renew(than):
                    return True
                await asyncio.sleep(AGAIN_S)
        except TimeoutError as error:
            raise InferenceStale(
                f"model {self._name} was swapped too late for this frame"
            ) from error
        return False

    async def _renew(self, than: ServedModel) -> bool:
        """Read the model again unless somebody did; whether it is another than `than`. Raises InferenceError."""
        async with self._reading:
            if self._served is not than:
                return True
            try:
                found = await self._client.describe(self._name)
            except InferenceOutdated:
                return False
            if found == than:
                return False
            self._adopt(found)
            return True

    def _adopt(self, found: ServedModel) -> None:
        before, self._served = self._served.version, found
        try:
            self._adapter, self.problem = self._make(found)
        except (InferenceError, SettingsError) as error:
            self._usable = False
            self.problem = (
                f"version {found.version.version} cannot be used: {error}; "
                f"`fess models rollback {self._name}` serves the one before"
            )
            log.error("model %s: %s", self._name, self.problem)
            return
        self._usable = True
        log.warning(
            "model %s: version %s (%.12s) answers from now on instead of %s (%.12s)",
            self._name,
            found.version.version,
            found.version.sha256,
            before.version,
            before.sha256,
        )
        if self.problem is not None:
            log.warning("model %s: %s", self._name, self.problem)
        for listener in self._listeners:
            listener(self._adapter)
