"""The only place that speaks to Triton: requests with a deadline, a bound and a breaker, over gRPC.

Protobuf's messages are untyped; they end here, in `sharing.py` and in `wire.py`.
"""

import asyncio
import itertools
import time
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

from tritonclient.grpc import service_pb2

from orchestrator.errors import (
    InferenceError,
    InferenceInvalid,
    InferenceOutdated,
    InferenceStale,
    InferenceUnavailable,
)
from orchestrator.inference.breaker import Breaker
from orchestrator.inference.calls import Calls, from_triton, gone, refused_as_late, unreached
from orchestrator.inference.channel import Channel, read
from orchestrator.inference.sharing import Mode, Sharing
from orchestrator.inference.status import CallFailed, Status
from orchestrator.inference.turns import Turn, Turns
from orchestrator.inference.wire import (
    Array,
    Message,
    ServedModel,
    answered,
    infer_request,
    matched,
    specs,
)
from orchestrator.metrics import Metrics
from orchestrator.ports import ModelVersion

__all__ = ["ServedModel", "TritonClient"]

ASK_AGAIN_S = 0.1
LEAST_S = 0.001
# What it says of a region that it has forgotten; the request was not looked at.
REGION_UNKNOWN = "Unable to find shared memory region"


class TritonClient:
    """One channel a process, shared by every model and camera."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        max_in_flight: int,
        breaker: Breaker,
        metrics: Metrics,
        patient: bool = False,
        shared_memory: Mode = "off",
        notes: Path = Path(),
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            url: host:port of Triton's gRPC endpoint.
            timeout_s: most seconds a request may take.
            max_in_flight: most requests on their way at once; fewer while Triton takes long.
            breaker: holds requests back while the server is down.
            metrics: where requests and failures are counted.
            patient: ask again, until the deadline, when the server refuses a request as late. A
                replay is never late, and the server's own limit cannot be raised by a request.
            shared_memory: whether tensors go through memory that Triton shares; see `Sharing`.
            notes: folder for what a later start must know of that memory.
        """
        self._patient = patient
        self._channel = Channel(url)
        self._url = url
        self._timeout_s = timeout_s
        self._turns = Turns(max_in_flight, metrics.turns)
        self._breaker = breaker
        self._metrics = metrics
        self._took = cache(metrics.inference_seconds.labels)
        self._request_ids = itertools.count(1)
        self._calls = Calls(metrics)
        self._sharing = Sharing(
            self._channel, shared_memory, slots=max_in_flight, notes=notes, metrics=metrics
        )

    async def close(self) -> None:
        await self._calls.close()
        await self._sharing.close()
        await self._channel.close()

    async def check(self, models: Collection[str] = ()) -> float:
        """Seconds that a question took: whether these models are ready; without any, whether all are.

        Raises InferenceUnavailable.
        """
        asked_s = time.monotonic()
        try:
            ready = [await self._is_ready(model) for model in models] or [await self._is_whole()]
        except CallFailed as error:
            raise InferenceUnavailable(self._away(error)) from error
        if not all(ready):
            raise InferenceUnavailable(f"Triton at {self._url} is up but not ready; see its log")
        return (time.monotonic() - asked_s) / max(len(models), 1)

    def _away(self, error: CallFailed) -> str:
        """What is wrong and, after a semicolon, how to mend it."""
        mend = "" if "; " in error.details else "; check TRITON_URL, and that the server runs"
        return f"Triton at {self._url} does not answer: {error.details}{mend}"

    async def _is_ready(self, model: str) -> bool:
        question = service_pb2.ModelReadyRequest(name=model)
        answer = await self._asked("ModelReady", question, service_pb2.ModelReadyResponse)
        return bool(answer.ready)

    async def _is_whole(self) -> bool:
        question = service_pb2.ServerReadyRequest()
        answer = await self._asked("ServerReady", question, service_pb2.ServerReadyResponse)
        return bool(answer.ready)

    async def _metadata(self, model: str, version: str = "") -> Message:
        question = service_pb2.ModelMetadataRequest(name=model, version=version)
        return await self._asked("ModelMetadata", question, service_pb2.ModelMetadataResponse)

    async def _asked(self, method: str, question: Message, answer: type[Message]) -> Message:
        return await self._channel.ask(method, question, answer, timeout_s=self._timeout_s)

    async def check_sharing(self) -> float:
        """Raises InferenceUnavailable where memory must be shared with Triton and is not."""
        self._sharing.check()
        return 0.0

    async def describe(self, model: str) -> ServedModel:
        """Read the signature and parameters of the version that is served.

        Raises InferenceUnavailable; InferenceOutdated if the version went meanwhile.
        """
        try:
            found = await self._metadata(model)
            number = max(found.versions, key=int, default="")
            # Both of this one version, whatever becomes the served one while we ask.
            metadata = await self._metadata(model, number)
            answer = await self._asked(
                "ModelConfig",
                service_pb2.ModelConfigRequest(name=model, version=number),
                service_pb2.ModelConfigResponse,
            )
        except CallFailed as error:
            if gone(error):
                raise InferenceOutdated(f"model {model}: {error.details}") from error
            if unreached(error):
                raise InferenceUnavailable(self._away(error)) from error
            raise InferenceUnavailable(
                f"Triton at {self._url} does not serve {model}: {error.details}; run `fess models fetch`"
            ) from error
        parameters = {key: value.string_value for key, value in answer.config.parameters.items()}
        version = ModelVersion(model, number, parameters.get("source_sha256", ""))
        return ServedModel(version, specs(metadata.inputs), specs(metadata.outputs), parameters)

    async def infer(
        self,
        model: ServedModel,
        tensors: Array | Mapping[str, Array],
        outputs: tuple[str, ...],
        *,
        deadline_s: float,
    ) -> tuple[Array, ...]:
        """Run one request; the first axis is the batch. Arrays are read-only.

        tensors are by the names of the model's inputs; an array alone is the only input.
        deadline_s is a time.monotonic() value; the setting TRITON_TIMEOUT bounds it further.
        Only the version that `model` describes is asked. Raises InferenceStale, InferenceUnavailable,
        InferenceInvalid; InferenceOutdated if that version is not served any more.
        """
        name = model.version.name
        started_s = time.monotonic()
        try:
            given = matched(model, tensors)
            self._breaker.admit()
            found = await self._answer(
                model, given, outputs, min(deadline_s, started_s + self._timeout_s)
            )
        except InferenceError as error:
            self._metrics.inference_failures.labels(name, _cause(error)).inc()
            raise
        self._breaker.succeeded()
        self._took(name).observe(time.monotonic() - started_s)
        return found

    async def _answer(
        self,
        model: ServedModel,
        tensors: Mapping[str, Array],
        outputs: tuple[str, ...],
        deadline_s: float,
    ) -> tuple[Array, ...]:
        while True:
            try:
                return await self._request(model, tensors, outputs, deadline_s)
            except InferenceStale:
                if not self._patient or time.monotonic() + ASK_AGAIN_S >= deadline_s:
                    raise
                await asyncio.sleep(ASK_AGAIN_S)

    async def _request(
        self,
        model: ServedModel,
        tensors: Mapping[str, Array],
        outputs: tuple[str, ...],
        deadline_s: float,
    ) -> tuple[Array, ...]:
        request_id = str(next(self._request_ids))
        turn = await self._turn(model.version.name, deadline_s)
        try:
            response = await self._ask(model, tensors, request_id, turn)
        except (CallFailed, TimeoutError) as error:
            raise self._translated(model.version.name, error) from error
        finally:
            turn.leave()
        batch = len(tensors[model.inputs[0].name])
        return answered(model, response, outputs, request_id=request_id, batch=batch)

    async def _turn(self, model: str, deadline_s: float) -> Turn:
        try:
            return await self._turns.take(model, deadline_s)
        except TimeoutError as error:
            self._breaker.unanswered()
            raise InferenceStale("too many requests were already on their way to Triton") from error

    async def _ask(
        self, model: ServedModel, tensors: Mapping[str, Array], request_id: str, turn: Turn
    ) -> Message:
        slot = await self._sharing.slot(tensors.values())
        while True:
            left_s = max(turn.deadline_s - time.monotonic(), LEAST_S)
            request = infer_request(
                model, tensors, request_id=request_id, timeout_us=int(left_s * 1e6), slot=slot
            )
            try:
                call = await self._channel.call("ModelInfer", request, within_s=left_s)
            except BaseException:  # it was not sent, for whatever reason
                if slot is not None:
                    slot.give_back()
                raise
            try:
                answer = await self._calls.answer(call, turn, slot, left_s)
                return read(service_pb2.ModelInferResponse, answer)
            except CallFailed as error:
                if slot is None:
                    raise
                if error.status is Status.UNAVAILABLE and not from_triton(error):
                    self._sharing.lost()
                if REGION_UNKNOWN not in error.details:
                    raise
                # Triton was started anew between two requests, and has not looked at this one.
                self._sharing.lost()
                slot = None

    def _translated(self, model: str, error: Exception) -> InferenceError:
        status, message = Status.DEADLINE_EXCEEDED, ""
        if isinstance(error, CallFailed):
            status, message = error.status, error.details
            if refused_as_late(error):
                return InferenceStale(f"Triton refused a late request for {model}: {message}")
            if gone(error):
                self._breaker.succeeded()
                return InferenceOutdated(f"Triton refused a request for {model}: {message}")
        if status is Status.INVALID_ARGUMENT:
            return InferenceInvalid(f"Triton refused a request for {model}: {message}")
        if status is Status.DEADLINE_EXCEEDED:
            self._breaker.unanswered()
            return InferenceStale(f"Triton did not answer for {model} in time")
        self._breaker.failed()
        return InferenceUnavailable(f"Triton at {self._url}, model {model}: {message}")


def _cause(error: InferenceError) -> str:
    return type(error).__name__.removeprefix("Inference").lower()
