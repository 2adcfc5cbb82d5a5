"""A camera that went away returns: how long until it is inspected again."""

import asyncio
import random
import time

from tests.e2e.running import Running, running
from tests.performance.bench import Bench, folder_of_one_run, seen, servers, until
from tests.performance.outcome import Figure, Outcome, below
from tests.performance.scene import PRODUCTION, addresses, rtsp_cameras, scene
from tests.performance.statistic import percentile
from tests.servers.rtsp import RtspServer

CAMERA = "camera-00"
AWAY_S = (1.0, 10.0)
WELL_S = 3.0
LOOK_EVERY_S = 0.02
PATIENCE_S = 60.0
SEED = 20260314


async def measure(bench: Bench) -> Outcome:
    times = bench.choose(20, 3)
    mounts = await asyncio.to_thread(scene, bench, 1)
    rng = random.Random(SEED)
    with folder_of_one_run() as folder:
        async with servers(folder) as beside:
            with rtsp_cameras(mounts) as rtsp:
                cameras = addresses(rtsp, mounts)
                with running(folder, beside.settings, cameras, **PRODUCTION) as fess:
                    await seen(fess, CAMERA)
                    taken_s = []
                    for number in range(times):
                        await asyncio.sleep(WELL_S)
                        away_s = rng.uniform(*AWAY_S)
                        taken_s.append(await _lose(fess, rtsp, away_s))
                        bench.say(
                            f"{number + 1} of {times}: away {away_s:.1f} s, back in {taken_s[-1]:.2f} s"
                        )
    return _outcome(taken_s)


async def _lose(fess: Running, rtsp: RtspServer, away_s: float) -> float:
    """Seconds from the moment the server answers again to the next inspected frame."""
    rtsp.stop()
    await asyncio.sleep(away_s)
    before = _inspected(fess)
    await asyncio.to_thread(rtsp.start)  # on the same port; returns once it answers
    back_s = time.monotonic()
    await until(
        lambda: _inspected(fess) > before, PATIENCE_S, "the camera coming back", LOOK_EVERY_S
    )
    return time.monotonic() - back_s


def _inspected(fess: Running) -> int:
    cameras = fess.cameras()
    # No answer is no news: what was inspected before is not known to have grown.
    return int(cameras[CAMERA]["coverage"]["inspected"]) if CAMERA in cameras else -1


def _outcome(taken_s: list[float]) -> Outcome:
    spread = f"{min(taken_s):.2f} to {max(taken_s):.2f} s, {len(taken_s)} times"
    return Outcome(
        "A camera that comes back",
        (
            Figure("back to inspected, p50", percentile(taken_s, 0.50), "s", spread),
            below("back to inspected, p95", percentile(taken_s, 0.95), "s", 2.0, spread),
        ),
        (
            f"One 1080p camera; its RTSP server is killed, stays away for {AWAY_S[0]:g} to {AWAY_S[1]:g} s, and is "
            "started again on the same port. The clock runs from its first answer to the next frame inspected, waiting "
            "between two tries included. Production settings. Asked over HTTP every 20 ms. The server begins with a "
            "keyframe; a camera that does not adds up to the distance of its keyframes.",
        ),
    )
