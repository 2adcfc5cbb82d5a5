"""SIGTERM while cameras run: how long until the process is gone, and how it leaves."""

import asyncio
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.settings import Settings, TritonSettings
from tests.e2e.running import running
from tests.performance.bench import MODELS, Bench, folder_of_one_run, seen, servers
from tests.performance.outcome import Figure, Outcome, below
from tests.performance.scene import PRODUCTION, addresses, rtsp_cameras, scene

CAMERAS = 4
BAR_S = 10.0


@dataclass(frozen=True, slots=True)
class Leave:
    """code: the exit status; -1 if it had to be killed. left: processes that outlived it."""

    seconds: float
    code: int
    left: int


async def measure(bench: Bench) -> Outcome:
    times = bench.choose(5, 1)
    mounts = await asyncio.to_thread(scene, bench, CAMERAS)
    found: dict[str, list[Leave]] = {
        "one process": [],
        "two workers": [],
        "with its own servers": [],
    }
    with folder_of_one_run() as folder, rtsp_cameras(mounts) as rtsp:
        cameras = addresses(rtsp, mounts)
        async with servers(folder) as beside:
            for _ in range(times):
                found["one process"].append(await _end(folder, beside.settings, cameras))
                found["two workers"].append(
                    await _end(folder, beside.settings, cameras, "--workers", "2")
                )
        for _ in range(times):
            alone = Settings(triton=TritonSettings(model_repository=MODELS))
            found["with its own servers"].append(await _end(folder, alone, cameras))
    return _outcome(found)


async def _end(
    folder: Path, settings: Settings, cameras: dict[str, dict[str, object]], *arguments: str
) -> Leave:
    variables = {**PRODUCTION, "TRITON_MODEL_REPOSITORY": str(MODELS)}
    with running(folder, settings, cameras, *arguments, **variables) as fess:
        await seen(fess, *cameras, within_s=120, frames=10)
        below_it = psutil.Process(fess.process.pid).children(recursive=True)
        began_s = time.monotonic()
        fess.process.terminate()
        try:
            code = await asyncio.to_thread(fess.process.wait, 3 * BAR_S)
        except subprocess.TimeoutExpired:
            code = -1
        seconds = time.monotonic() - began_s
        _, left = await asyncio.to_thread(psutil.wait_procs, below_it, 2.0)
    return Leave(seconds, code, len(left))


def _outcome(found: dict[str, list[Leave]]) -> Outcome:
    figures = []
    for what, leaves in found.items():
        seconds = [leave.seconds for leave in leaves]
        spread = f"{min(seconds):.2f} to {max(seconds):.2f} s, {len(leaves)} times"
        figures.append(below(f"{what}: slowest end", max(seconds), "s", BAR_S, spread))
    every = [leave for leaves in found.values() for leave in leaves]
    bad = [leave for leave in every if leave.code or leave.left]
    words = f"of {len(every)} ends, all: {sorted({leave.code for leave in every})}"
    figures.append(
        Figure(
            "ends with another status than 0, or with a process left",
            len(bad),
            "",
            words,
            "none",
            not bad,
        )
    )
    return Outcome(
        "SIGTERM under load",
        tuple(figures),
        (
            f"`fess run` with {CAMERAS} cameras, 1080p25 over RTSP, every sampled frame inspected; from the signal"
            " to the end of the process. With its own servers: the embedded Triton and Redis are its children.",
        ),
    )
