"""How fast the bus is: `python -m tests.eventbus.measure redis|kafka [EVENTS] [RATE]`.

Starts a real server of its own, hands events to an outbox at the rate (0: as fast as they are taken),
reads them in another process, and says what it saw as one line of JSON. With `kill` behind the rate
the server is killed after a third and started again.
"""

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from eventbus.bus import EventBus
from eventbus.events import Event, decode
from eventbus.kafka import KafkaBus
from eventbus.kafka_config import KafkaConfig
from eventbus.outbox import Outbox
from eventbus.redis_streams import RedisStreamsBus, RedisStreamsConfig
from orchestrator.embedded.redis import EmbeddedRedis
from tests.eventbus.reports import motion
from tests.eventbus.until import until
from tests.servers.held import held
from tests.servers.kafka import KafkaServer

CAMERAS = 50
WARM_UP_S = 3.0
_IDLE_S = 30.0  # the reader gives up


@dataclass
class Server:
    """Where it is, and how to hurt it."""

    kind: str
    address: str
    password: str = ""
    kafka: KafkaServer | None = None
    redis: EmbeddedRedis | None = None

    def bus(self) -> EventBus:
        if self.kind == "kafka":
            return KafkaBus(KafkaConfig(self.address))
        host, _, port = self.address.partition(":")
        return RedisStreamsBus(RedisStreamsConfig(host, int(port), password=self.password))

    def kill_and_start(self) -> None:
        if self.kafka is not None:
            self.kafka.kill()
            time.sleep(2)
            self.kafka.start()
        elif self.redis is not None:
            os.kill(self.redis.pid, signal.SIGKILL)  # its watcher starts it again


@contextmanager
def serving(kind: str, folder: Path) -> Iterator[Server]:
    if kind == "kafka":
        broker = KafkaServer(folder)
        broker.format()
        broker.start()
        try:
            yield Server(kind, broker.address, kafka=broker)
        finally:
            broker.stop()
    else:
        with held(EmbeddedRedis(folder), watch=True) as redis:
            yield Server(kind, f"{redis.host}:{redis.port}", redis.password, redis=redis)


def sighting(number: int) -> Event:
    return motion(f"camera-{number % CAMERAS}", number, datetime.now(UTC))


async def read(server: Server, events: int) -> dict[str, object]:
    """Until so many different events came: how long each was on its way, and whether order held."""
    delays: list[float] = []
    last: dict[str, int] = {}
    seen: set[str] = set()
    repeats = disorder = 0
    bus = server.bus()
    gc.freeze()  # as the orchestrator does, here and in the writer
    cpu = time.process_time()
    async with aclosing(bus.subscribe([bus.topics.motion], "measure")) as deliveries:
        while len(seen) < events:
            try:
                async with asyncio.timeout(_IDLE_S):
                    delivery = await anext(deliveries)
            except TimeoutError:
                break
            arrived = time.time()
            event = decode(delivery.payload)
            await delivery.ack()
            if event.event_type != "motion.detected" or event.camera_id == "warm-up":
                continue
            if str(event.event_id) in seen:
                repeats += 1
                continue
            seen.add(str(event.event_id))
            delays.append(arrived - event.timestamp.timestamp())
            disorder += event.frame_number <= last.get(event.camera_id, -1)
            last[event.camera_id] = event.frame_number
    await bus.close()
    return {
        "end_to_end": spread(delays),
        "reader_cpu_us": round(1e6 * (time.process_time() - cpu) / events, 1),
        "missing": events - len(seen),
        "repeats": repeats,
        "out_of_order": disorder,
    }


async def write(server: Server, events: int, rate: int, kill: bool) -> dict[str, object]:
    bus = server.bus()
    await warm_up(bus)
    gc.freeze()
    handed: dict[str, float] = {}
    hand_over: list[float] = []
    acknowledged: list[float] = []
    lost: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        box = Outbox(
            bus,
            Path(folder),
            1 << 30,
            on_sent=lambda record: acknowledged.append(
                time.perf_counter() - handed.pop(record.event_id)
            ),
            on_dropped=lambda topic, cause, count: lost.update({f"{topic} {cause}": count}),
        )
        async with asyncio.TaskGroup() as tasks:
            run = tasks.create_task(box.run())
            started, cpu = time.perf_counter(), time.process_time()
            killer = None
            for number in range(events):
                ahead_s = started + number / rate - time.perf_counter() if rate else 0.0
                if ahead_s > 0:
                    await asyncio.sleep(max(ahead_s, 0.0005))
                elif number % 16 == 0:
                    await asyncio.sleep(0)  # behind: the outbox has its turn all the same
                elif not rate and box.waiting > 2000:
                    await until(lambda: box.waiting < 1000)
                event = sighting(number)
                before = time.perf_counter()
                handed[str(event.event_id)] = before
                box.put(event)
                hand_over.append(time.perf_counter() - before)
                if kill and number == events // 3:
                    killer = tasks.create_task(asyncio.to_thread(server.kill_and_start))
            await until(lambda: not box.waiting, timeout_s=300.0)
            elapsed = time.perf_counter() - started
            if killer is not None:
                await killer
            run.cancel()
    await bus.close()
    return {
        "events_per_s": round(events / elapsed),
        "publisher_cpu_percent": round(100 * (time.process_time() - cpu) / elapsed),
        "publisher_cpu_us": round(1e6 * (time.process_time() - cpu) / events, 1),
        "hand_over": spread(hand_over),
        "acknowledged": spread(acknowledged),
        "lost": lost,
    }


def spread(seconds: list[float]) -> dict[str, float]:
    ranked = sorted(seconds)
    at = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    last = len(ranked) - 1
    return {f"{name}_ms": round(ranked[int(last * q)] * 1000, 3) for name, q in at.items()}


async def create_topics(server: Server) -> None:
    """Before the reader asks for them."""
    bus = server.bus()
    await bus.publish([motion("warm-up", 0)])
    await bus.close()


async def warm_up(bus: EventBus) -> None:
    """Before the clock runs: a writer that is connected, and a server that has compiled what it runs."""
    number = 0
    until_s = time.monotonic() + WARM_UP_S
    while time.monotonic() < until_s:
        await bus.publish([motion("warm-up", number + n) for n in range(20)])
        number += 20
        await asyncio.sleep(
            0.01
        )  # no faster than it can be read: the clock must find nobody behind


def main(kind: str, events: int, rate: int, kill: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, serving(kind, Path(folder)) as server:
        asyncio.run(create_topics(server))
        command = [sys.executable, "-m", __spec__.name if __spec__ else "", "read"]
        reader = subprocess.Popen(
            [*command, kind, server.address, str(events)],
            env={**os.environ, "MEASURE_PASSWORD": server.password},
            stdout=subprocess.PIPE,
        )
        time.sleep(3)  # the reader joins its group
        written = asyncio.run(write(server, events, rate, kill))
        output, _ = reader.communicate(timeout=300)
        result = {"bus": kind, "events": events, "rate": rate, **written, **json.loads(output)}
        sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "read":
        there = Server(sys.argv[2], sys.argv[3], os.environ["MEASURE_PASSWORD"])
        sys.stdout.write(json.dumps(asyncio.run(read(there, int(sys.argv[4])))))
    else:
        amount, pace = [*(int(word) for word in sys.argv[2:4]), 10_000, 0][:2]
        main(sys.argv[1], amount, pace, "kill" in sys.argv)
