"""A gRPC server that speaks Triton's protocol and misbehaves as told: real wire, scripted answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

DATATYPES = {np.dtype(np.float32): "FP32", np.dtype(np.int32): "INT32"}
ROWS = 100


def one_box() -> dict[str, NDArray[Any]]:
    """A well-formed answer of object_detector: one box of class 0 in a 320x320 input."""
    boxes = np.zeros((1, ROWS, 4), np.float32)
    boxes[0, 0] = (32, 64, 96, 160)
    scores = np.zeros((1, ROWS), np.float32)
    scores[0, 0] = 0.9
    return {
        "count": np.ones((1, 1), np.int32),
        "boxes": boxes,
        "scores": scores,
        "labels": np.zeros((1, ROWS), np.int32),
    }


@dataclass
class Impostor(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # generated, untyped
    """`decide`, where given, makes the answer from the request's picture: uint8 (1, 320, 320, 3).

    works_on: requests that take `delay_s` side by side; further ones wait their turn.
    """

    answer: Mapping[str, NDArray[Any]] = field(default_factory=one_box)
    decide: Callable[[NDArray[np.uint8]], Mapping[str, NDArray[Any]]] | None = None
    delay_s: float = 0.0
    works_on: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1000))
    wrong_id: bool = False
    refuse: tuple[grpc.StatusCode, str] | None = None
    # What it serves, and whether it heeds the version that a request names, as Triton does.
    version: str = "1"
    size: int = 320
    labels: str = "person,car"
    heeds_version: bool = True
    described: int = 0
    describing_s: float = 0.0
    requests: int = 0
    cancelled: int = 0
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""
    triton: str = "2.51.0"

    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        return service_pb2.ServerMetadataResponse(name="impostor", version=self.triton)

    async def ServerReady(self, request: Any, context: Any) -> Any:
        return service_pb2.ServerReadyResponse(ready=True)

    async def ModelReady(self, request: Any, context: Any) -> Any:
        return service_pb2.ModelReadyResponse(ready=True)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        self.described += not request.version
        await asyncio.sleep(self.describing_s)
        await self._heed(request.name, request.version, context)
        tensor = service_pb2.ModelMetadataResponse.TensorMetadata
        return service_pb2.ModelMetadataResponse(
            name=request.name,
            versions=[self.version],
            inputs=[tensor(name="images", datatype="UINT8", shape=[-1, self.size, self.size, 3])],
            outputs=[
                tensor(name="count", datatype="INT32", shape=[-1, 1]),
                tensor(name="boxes", datatype="FP32", shape=[-1, ROWS, 4]),
                tensor(name="scores", datatype="FP32", shape=[-1, ROWS]),
                tensor(name="labels", datatype="INT32", shape=[-1, ROWS]),
            ],
        )

    async def ModelConfig(self, request: Any, context: Any) -> Any:
        await self._heed(request.name, request.version, context)
        answer = service_pb2.ModelConfigResponse()
        answer.config.parameters["labels"].string_value = self.labels
        answer.config.parameters["source_sha256"].string_value = f"a{self.version[-1]}" * 32
        return answer

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        self.requests += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            async with self.works_on:
                await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1
        await self._heed(request.model_name, request.model_version, context)
        if tuple(request.inputs[0].shape[1:3]) != (self.size, self.size):
            words = "unexpected shape for input 'images' for model 'object_detector'"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, words)
        if self.refuse is not None:
            await context.abort(*self.refuse)
        response = service_pb2.ModelInferResponse(
            model_name=request.model_name,
            model_version=self.version,
            id="somebody else's" if self.wrong_id else request.id,
        )
        for name, array in self._answer(request).items():
            output = response.outputs.add()
            output.name, output.datatype = name, DATATYPES[array.dtype]
            output.shape.extend(array.shape)
            response.raw_output_contents.append(array.tobytes())
        return response

    async def _heed(self, model: str, version: str, context: Any) -> None:
        if self.heeds_version and version not in ("", self.version):
            words = f"Request for unknown model: '{model}' version {version} is not found"
            await context.abort(grpc.StatusCode.NOT_FOUND, words)

    def _answer(self, request: Any) -> Mapping[str, NDArray[Any]]:
        if self.decide is None:
            return self.answer
        shape = tuple(request.inputs[0].shape)
        return self.decide(np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(shape))


@asynccontextmanager
async def impostor(port: int = 0) -> AsyncIterator[Impostor]:
    server = grpc.aio.server()
    fake = Impostor()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(fake, server)
    fake.url = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(grace=None)
