"""Memory over many reconnects: cameras whose connection is reset again and again."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from tests.e2e.running import Running, running
from tests.performance.bench import Bench, folder_of_one_run, seen, servers, until
from tests.performance.exposition import samples, total
from tests.performance.outcome import Breakdown, Figure, Outcome, below
from tests.performance.scene import FPS, PRODUCTION, rtsp_cameras, scene
from tests.performance.statistic import slope
from tests.performance.usage import resident_mib
from tests.servers.faulty_proxy import FaultyProxy

CAMERAS = 4
# Lost again so soon, a camera would be tried ever more rarely; here it is to be lost often.
HASTE = {"CAPTURE_BACKOFF_BASE": "0.1", "CAPTURE_BACKOFF_CAP": "0.2"}
FRAMES_BETWEEN = 2
PATIENCE_S = 60.0
# Scalers, decoders and the allocator's arenas take their room in the first fifth.
SETTLED = 0.2
GROWTH_MIB = 50.0


@dataclass(frozen=True, slots=True)
class Reading:
    """reconnects: over all cameras, so far."""

    reconnects: int
    resident_mib: float


async def measure(bench: Bench) -> Outcome:
    wanted = bench.choose(200, 20)
    mounts = await asyncio.to_thread(scene, bench, CAMERAS)
    with folder_of_one_run() as folder:
        async with servers(folder) as beside:
            with rtsp_cameras(mounts) as rtsp:
                async with AsyncExitStack() as stack:
                    proxies = {
                        name: await stack.enter_async_context(FaultyProxy(rtsp.port))
                        for name in mounts
                    }
                    cameras: dict[str, dict[str, object]] = {
                        name: {"url": f"rtsp://127.0.0.1:{proxy.port}/{name}", "fps": FPS}
                        for name, proxy in proxies.items()
                    }
                    variables = {**PRODUCTION, **HASTE}
                    with running(folder, beside.settings, cameras, **variables) as fess:
                        readings = await _wear(bench, fess, list(proxies.values()), wanted)
                        return _outcome(readings, await _account(fess))


async def _wear(
    bench: Bench, fess: Running, proxies: list[FaultyProxy], wanted: int
) -> list[Reading]:
    names = [f"camera-{number:02}" for number in range(CAMERAS)]
    await seen(fess, *names, frames=10)
    readings = [Reading(0, resident_mib(fess.process.pid))]
    while readings[-1].reconnects < wanted:
        before = await asyncio.to_thread(fess.cameras)
        for proxy in proxies:
            proxy.reset()
        again = partial(_all_moved, fess, before)
        await until(again, PATIENCE_S, "every camera being inspected again")
        done = readings[-1].reconnects + len(proxies)
        readings.append(Reading(done, resident_mib(fess.process.pid)))
        if done % 20 == 0:
            bench.say(f"{done} reconnects: {readings[-1].resident_mib:.0f} MiB")
    return readings


def _all_moved(fess: Running, before: "dict[str, dict[str, object]]") -> bool:
    """Whether each was lost and has been inspected again since it came back."""
    cameras = fess.cameras()
    return len(cameras) == len(before) and all(
        now["since"] != before[name]["since"]
        and now["state"] == "online"
        and now["coverage"]["inspected"] >= _inspected(before[name]) + FRAMES_BETWEEN
        for name, now in cameras.items()
    )


def _inspected(camera: "dict[str, object]") -> int:
    coverage = camera["coverage"]
    assert isinstance(coverage, dict)
    return int(coverage["inspected"])


async def _account(fess: Running) -> tuple[float, float]:
    """Losses that the program counted, and decode threads it had to leave behind."""
    found = samples((await asyncio.to_thread(fess.get, "/metrics"))[1].decode())
    return (
        total(found, "fess_camera_losses_total"),
        total(found, "fess_decode_threads_abandoned_total"),
    )


def _outcome(readings: list[Reading], account: tuple[float, float]) -> Outcome:
    last = readings[-1]
    settled = [each for each in readings if each.reconnects >= last.reconnects * SETTLED]
    first = settled[0]
    grown, low, high = slope(
        [float(each.reconnects) for each in settled], [each.resident_mib for each in settled]
    )
    growth = last.resident_mib - first.resident_mib
    spread = (
        f"{first.resident_mib:.0f} MiB after {first.reconnects}, {last.resident_mib:.0f} at the end"
    )
    steps = [readings[round(i * (len(readings) - 1) / 10)] for i in range(11)]
    return Outcome(
        f"Memory over {last.reconnects} reconnects",
        (
            below("growth once settled", growth, "MiB", GROWTH_MIB, spread),
            Figure(
                "growth a reconnect",
                grown * 1024,
                "KiB",
                f"{low * 1024:.0f} to {high * 1024:.0f} (95 %)",
            ),
            below("memory at the end", last.resident_mib, "MiB", 572.0, f"{CAMERAS} cameras"),
        ),
        (
            f"{CAMERAS} cameras, 1080p25 over RTSP, through a proxy that resets every connection as soon as each "
            f"camera was inspected {FRAMES_BETWEEN} times again; back-off shortened to 0.2 s so that it happens often. "
            f"The program counted {account[0]:.0f} losses and left {account[1]:.0f} decode threads behind. Growth "
            "counts from a fifth of the reconnects on: before that, caches and the allocator fill.",
        ),
        (
            Breakdown(
                "Resident memory",
                ("reconnects", "MiB"),
                tuple((str(each.reconnects), f"{each.resident_mib:.1f}") for each in steps),
            ),
        ),
    )
