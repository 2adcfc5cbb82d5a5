"""The only place that speaks to Triton: requests with a deadline, a bound and a breaker, over gRPC.

The vendor's client is untyped and raises one exception for everything; both end here.
"""

import asyncio
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from orchestrator.errors import (
    InferenceError,
    InferenceInvalid,
    InferenceStale,
    InferenceUnavailable,
)
from orchestrator.inference.breaker import Breaker
from orchestrator.inference.promptness import Promptness
from orchestrator.metrics import Metrics
from orchestrator.ports import ModelVersion

Array = NDArray[Any]

# `channel_args` replaces the client's defaults, the message limits too. The reconnect back-off
# of gRPC grows to two minutes by default; a restarted Triton must be found within a second.
CHANNEL = [
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
]
# What Triton says when it refuses a request that waited too long, or when the queue is full:
# the server is well, the request is late.
REFUSED_AS_LATE = ("timeout expired", "maximum queue size")
ASK_AGAIN_S = 0.1
DTYPES = {"UINT8": np.uint8, "FP32": np.float32, "INT32": np.int32, "INT64": np.int64}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of a model; the batch dimension and others of free length are -1."""

    name: str
    shape: tuple[int, ...]
    datatype: str


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as the server describes it; `parameters` are those of its config.pbtxt."""

    version: ModelVersion
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, str]

    def output(self, name: str) -> TensorSpec:
        """Raises InferenceInvalid if the model has no such output."""
        for spec in self.outputs:
            if spec.name == name:
                return spec
        raise InferenceInvalid(
            f"model {self.version.name} has no output {name}; run `fess models prepare` and restart Triton"
        )


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
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            url: host:port of Triton's gRPC endpoint.
            timeout_s: most seconds a request may take.
            max_in_flight: requests on their way at once.
            breaker: holds requests back while the server is down.
            metrics: where requests and failures are counted.
            patient: ask again, until the deadline, when the server refuses a request as late. A
                replay is never late, and the server's own limit cannot be raised by a request.
        """
        self._patient = patient
        self._client = InferenceServerClient(url, channel_args=CHANNEL)
        self._url = url
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(max_in_flight)
        self._breaker = breaker
        self._metrics = metrics
        self._promptness = Promptness()
        self._request_ids = itertools.count(1)

    async def close(self) -> None:
        await self._client.close()

    async def check(self) -> float:
        """Seconds that a readiness question took. Raises InferenceUnavailable."""
        asked_s = time.monotonic()
        try:
            ready = await self._client.is_server_ready(client_timeout=self._timeout_s)
        except (InferenceServerException, grpc.RpcError) as error:
            raise InferenceUnavailable(f"Triton at {self._url}: {_message(error)}") from error
        if not ready:
            raise InferenceUnavailable(f"Triton at {self._url} is up but not ready; see its log")
        return time.monotonic() - asked_s

    async def describe(self, model: str) -> ServedModel:
        """Read a model's signature and parameters. Raises InferenceUnavailable."""
        try:
            metadata = await self._client.get_model_metadata(model, client_timeout=self._timeout_s)
            answer = await self._client.get_model_config(model, client_timeout=self._timeout_s)
        except (InferenceServerException, grpc.RpcError) as error:
            raise InferenceUnavailable(
                f"Triton at {self._url} does not serve {model}: {_message(error)}; run `fess models fetch`"
            ) from error
        parameters = {key: value.string_value for key, value in answer.config.parameters.items()}
        version = ModelVersion(
            model, max(metadata.versions, key=int), parameters.get("source_sha256", "")
        )
        return ServedModel(version, _specs(metadata.inputs), _specs(metadata.outputs), parameters)

    async def infer(
        self, model: ServedModel, tensor: Array, outputs: tuple[str, ...], *, deadline_s: float
    ) -> tuple[Array, ...]:
        """Run one request; the first axis is the batch. Arrays are read-only.

        deadline_s is a time.monotonic() value; the setting TRITON_TIMEOUT bounds it further.
        Raises InferenceStale, InferenceUnavailable, InferenceInvalid.
        """
        name = model.version.name
        started_s = time.monotonic()
        try:
            self._breaker.admit()
            found = await self._answer(
                model, tensor, outputs, min(deadline_s, started_s + self._timeout_s)
            )
        except InferenceError as error:
            self._metrics.inference_failures.labels(name, _cause(error)).inc()
            raise
        self._breaker.succeeded()
        self._metrics.inference_seconds.labels(name).observe(time.monotonic() - started_s)
        return found

    async def _answer(
        self, model: ServedModel, tensor: Array, outputs: tuple[str, ...], deadline_s: float
    ) -> tuple[Array, ...]:
        while True:
            try:
                return await self._request(model, tensor, outputs, deadline_s)
            except InferenceStale:
                if not self._patient or time.monotonic() + ASK_AGAIN_S >= deadline_s:
                    raise
                await asyncio.sleep(ASK_AGAIN_S)

    async def _request(
        self, model: ServedModel, tensor: Array, outputs: tuple[str, ...], deadline_s: float
    ) -> tuple[Array, ...]:
        spec = model.inputs[0]
        given = InferInput(spec.name, list(tensor.shape), spec.datatype)
        given.set_data_from_numpy(tensor)
        request_id = str(next(self._request_ids))
        try:
            async with asyncio.timeout_at(_loop_time(deadline_s)):
                await self._slots.acquire()
        except TimeoutError as error:
            raise InferenceStale("too many requests were already on their way to Triton") from error
        try:
            sent_s = time.monotonic()
            left_s = deadline_s - sent_s
            if left_s <= 0 or self._promptness.hopeless(model.version.name, left_s):
                raise InferenceStale("the frame was too old before it could be sent to Triton")
            result = await self._client.infer(
                model.version.name,
                [given],
                request_id=request_id,
                timeout=int(left_s * 1e6),
                client_timeout=left_s,
            )
        except (InferenceServerException, grpc.RpcError) as error:
            raise self._translated(model.version.name, error) from error
        finally:
            self._slots.release()
        self._promptness.answered(model.version.name, sent_s)
        if result.get_response().id != request_id:
            raise InferenceInvalid(
                f"Triton answered {model.version.name} with another request's id"
            )
        return tuple(_checked(model, result.as_numpy(name), name, len(tensor)) for name in outputs)

    def _translated(self, model: str, error: Exception) -> InferenceError:
        message = _message(error)
        status = error.status() if isinstance(error, InferenceServerException) else ""
        if any(words in message for words in REFUSED_AS_LATE):
            return InferenceStale(f"Triton refused a late request for {model}: {message}")
        if status == "StatusCode.INVALID_ARGUMENT":
            return InferenceInvalid(f"Triton refused a request for {model}: {message}")
        # No answer in time counts against the server too: one that hangs answers nothing.
        self._breaker.failed()
        if status == "StatusCode.DEADLINE_EXCEEDED":
            return InferenceStale(f"Triton did not answer for {model} in time")
        return InferenceUnavailable(f"Triton at {self._url}, model {model}: {message}")


def _checked(model: ServedModel, found: Array | None, name: str, batch: int) -> Array:
    """An output of the shape and type the server announced, without NaN. Raises InferenceInvalid."""
    spec = model.output(name)
    if found is None:
        raise InferenceInvalid(f"model {model.version.name} gave no output {name}")
    expected = (batch, *spec.shape[1:])
    fits = len(found.shape) == len(expected) and all(
        want in (-1, got) for want, got in zip(expected, found.shape, strict=True)
    )
    if not fits or found.dtype != DTYPES.get(spec.datatype):
        raise InferenceInvalid(
            f"model {model.version.name}: output {name} is {found.dtype} {found.shape},"
            f" announced was {spec.datatype} {expected}"
        )
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise InferenceInvalid(f"model {model.version.name}: output {name} holds NaN or infinity")
    return found


def _specs(tensors: Any) -> tuple[TensorSpec, ...]:  # protobuf messages of the untyped client
    return tuple(TensorSpec(t.name, tuple(int(n) for n in t.shape), t.datatype) for t in tensors)


def _message(error: Exception) -> str:
    return str(error.message()) if isinstance(error, InferenceServerException) else str(error)


def _cause(error: InferenceError) -> str:
    return type(error).__name__.removeprefix("Inference").lower()


def _loop_time(monotonic_s: float) -> float:
    return asyncio.get_running_loop().time() + monotonic_s - time.monotonic()
