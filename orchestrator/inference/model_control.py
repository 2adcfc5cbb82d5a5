"""Asks a Triton to serve another version, and waits until it does or says why not; all three of its modes."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from orchestrator.errors import InferenceUnavailable, ModelRefused

ANSWER_S = 5.0
LOOK_EVERY_S = 0.2
# Twice the longest time between two looks of a Triton that polls, as the embedded one and our compose file set it.
POLLED_WITHIN_S = 10.0
# A TensorRT engine is built while loading.
LOADED_WITHIN_S = 900.0
# So it answers in the mode `poll`, and, though its words say otherwise, in `none`.
NOT_BY_REQUEST = "polling is enabled"
REFUSED = re.compile(r"load failed|failed to load")


@dataclass(frozen=True, slots=True)
class VersionState:
    """One line of Triton's index; `reason` only where a load failed."""

    version: str
    state: str
    reason: str

    @property
    def is_ready(self) -> bool:
        return self.state == "READY"

    @property
    def refusal(self) -> str:
        """Why it could not be loaded; empty where that was not tried, or went well."""
        told = self.reason if self.state == "UNAVAILABLE" and self.reason != "unloaded" else ""
        return told.split("\n")[0]


class ModelControl:
    """Runs inside `async with`."""

    def __init__(
        self, url: str, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._url = url
        self._sleep = sleep

    async def __aenter__(self) -> Self:
        self._client = InferenceServerClient(self._url)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.close()

    async def states(self, model: str) -> tuple[VersionState, ...]:
        """What Triton knows of each version of a model. Raises InferenceUnavailable."""
        try:
            index = await self._client.get_model_repository_index(client_timeout=ANSWER_S)
        except (InferenceServerException, grpc.RpcError) as error:
            raise InferenceUnavailable(f"Triton at {self._url}: {error}") from error
        return tuple(
            VersionState(line.version, line.state, line.reason)
            for line in index.models
            if line.name == model and line.version
        )

    async def source_of(self, model: str, version: str) -> str:
        """Digest of the weights of a version that is ready; empty where it is not told. Raises InferenceUnavailable."""
        try:
            answer = await self._client.get_model_config(model, version, client_timeout=ANSWER_S)
        except (InferenceServerException, grpc.RpcError) as error:
            raise InferenceUnavailable(f"Triton at {self._url}: {error}") from error
        return str(answer.config.parameters["source_sha256"].string_value)

    async def take(self, model: str, version: int) -> bool:
        """Have a version served that the configuration names already; whether this Triton takes up any.

        Raises ModelRefused, InferenceUnavailable.
        """
        stale = {state for state in await self.states(model) if state.refusal}
        try:
            await self._client.load_model(model, client_timeout=LOADED_WITHIN_S)
        except InferenceServerException as error:
            message = str(error.message())
            if NOT_BY_REQUEST in message:
                return await self._watch(model, str(version), stale)
            if REFUSED.search(message):
                raise ModelRefused(message.split("\n")[0]) from error
            raise InferenceUnavailable(f"Triton at {self._url}: {message}") from error
        return True

    async def _watch(self, model: str, version: str, stale: set[VersionState]) -> bool:
        """Wait for a Triton that polls. What it said of an earlier try is not believed before it has looked again."""
        began_s = time.monotonic()
        loading = False
        while time.monotonic() < began_s + LOADED_WITHIN_S:
            for state in await self.states(model):
                if state.version != version:
                    continue
                if state.is_ready:
                    return True
                loading = loading or state.state == "LOADING"
                if state.refusal and (loading or state not in stale):
                    raise ModelRefused(state.refusal)
            if not loading and time.monotonic() > began_s + POLLED_WITHIN_S:
                return False
            await self._sleep(LOOK_EVERY_S)
        return False
