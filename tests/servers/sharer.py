"""A process that asks for one embedding, says how its pixels travelled, and stays until it is ended.

python -m tests.servers.sharer URL STATE_DIR
"""

import asyncio
import sys
import time
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from orchestrator.app import make_triton_client
from orchestrator.metrics import Metrics
from orchestrator.settings import Settings, TritonSettings

PATIENCE_S = 60.0


async def main(url: str, state_dir: Path) -> None:
    settings = Settings(state_dir=state_dir, triton=TritonSettings(url=url, timeout=PATIENCE_S))
    registry = CollectorRegistry()
    client = make_triton_client(settings, Metrics(registry))
    model = await client.describe("face_embedder")
    crop = np.zeros((1, 112, 112, 3), np.uint8)
    deadline_s = time.monotonic() + PATIENCE_S
    await client.infer(model, crop, ("embedding",), deadline_s=deadline_s)
    print(registry.get_sample_value("fess_inference_shared_memory"), flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.read)
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
