"""A place where `fess run` works, with a bus that can be taken away."""

import asyncio
import os
import signal
from contextlib import aclosing
from pathlib import Path

from pydantic import SecretStr

from eventbus.events import Event, decode
from orchestrator.buses import make_bus
from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.settings import RedisSettings, Settings
from tests.e2e.running import Running
from tests.servers.redis import StartRedis
from tests.servers.synthetic import make_clip

PICTURES = 300
# Every frame of a file that is read as fast as possible is inspected and reported, however slow the machine is.
PATIENT = {
    "FACES_ENABLED": "false",
    "MOTION_ENABLED": "false",
    "CAPTURE_MAX_FRAME_AGE": "60",
    "TRITON_TIMEOUT": "60",
}


class Bus:
    """A Redis that can be taken away and given back at the same address, with what it holds."""

    def __init__(self, start: StartRedis, folder: Path) -> None:
        self._start = start
        self._folder = folder
        self.server: EmbeddedRedis = start(folder)

    def away(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)

    def back(self) -> None:
        before = self.server.port
        self.server = self._start(self._folder)
        assert self.server.port == before

    @property
    def settings(self) -> RedisSettings:
        password = SecretStr(self.server.password)
        return RedisSettings(host=self.server.host, port=self.server.port, password=password)


def clip(folder: Path, **fields: object) -> dict[str, object]:
    path = make_clip(folder / "clip.mp4", pictures=PICTURES, first=1)
    return {"url": str(path), "fps": 25.0, **fields}


def metric(fess: Running, name: str) -> float:
    """The sum of a metric's samples."""
    lines = fess.get("/metrics")[1].decode().splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith((f"{name}{{", f"{name} "))
    )


def outbox(fess: Running) -> dict[str, object]:
    """What health says of the outbox."""
    found: dict[str, object] = fess.json("/health").get("components", {}).get("outbox", {})
    return found


async def on_the_bus(settings: Settings) -> list[Event]:
    """Everything that was ever published, repeats included."""
    bus = make_bus(settings)
    found: list[Event] = []
    try:
        async with aclosing(bus.subscribe(bus.topics.all, "test")) as deliveries:
            while True:
                async with asyncio.timeout(3):
                    found.append(decode((await anext(deliveries)).payload))
    except TimeoutError:
        return found
    finally:
        await bus.close()
