"""Keeps requests on their way through the orchestrator's own Triton client, until it is ended by a signal.

python -m tests.performance.load URL MODEL CONCURRENCY TENSOR.npy
"""

import asyncio
import sys
import time
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from orchestrator.app import make_triton_client
from orchestrator.inference.object_detector import OUTPUTS
from orchestrator.inference.triton import ServedModel, TritonClient
from orchestrator.metrics import Metrics
from orchestrator.settings import Settings, TritonSettings

PATIENCE_S = 5.0


async def main(url: str, name: str, concurrency: int, file: Path) -> None:
    settings = Settings(triton=TritonSettings(url=url))
    client = make_triton_client(settings, Metrics(CollectorRegistry()))
    model = await client.describe(name)
    tensor = np.load(file)[None]
    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(_ask(client, model, tensor))


async def _ask(
    client: TritonClient,
    model: ServedModel,
    tensor: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]",
) -> None:
    while True:
        await client.infer(model, tensor, OUTPUTS, deadline_s=time.monotonic() + PATIENCE_S)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
