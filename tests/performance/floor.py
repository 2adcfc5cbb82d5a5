"""The floor under `capacity`: cameras that are decoded and nothing else, and the object detector's requests alone."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.performance.bare import Report, decoding
from tests.performance.bench import Bench, Servers
from tests.performance.cameras import SETTLE_S
from tests.performance.clips import FPS as STREAM_FPS
from tests.performance.last_words import explained
from tests.performance.outcome import Lacking
from tests.performance.perf_analyzer import PerfAnalyzer, windows_p99_ms, write_input
from tests.performance.scene import FPS, people_clip
from tests.performance.tensors import read, recorded
from tests.performance.throughput import throughput
from tests.performance.traffic import LoadEnded, Traffic
from tests.performance.trial import LATEST_MS, SLOWEST, limit_of
from tests.performance.usage import Account, Shares, child_running

MODEL = "object_detector"
FRAMES = 16
LEAST_ANSWERED = 0.99


@dataclass(frozen=True, slots=True)
class Floor:
    """One short trial of so many cameras. CPU in cores.

    lacking      why nothing was measured
    answered     requests that Triton answered, as a share of those due
    p99_ms       of a request, as perf_analyzer saw it: the median over seconds of each one's
    lag_p99_ms   until a picture was decoded, by its stream's own time
    slowest_fps  decoded pictures of the slowest camera
    """

    cameras: int
    answered: float = 0.0
    p99_ms: float = float("nan")
    lag_p99_ms: float = float("nan")
    slowest_fps: float = 0.0
    cores: dict[str, float] = field(default_factory=dict)
    bystanders: float = 0.0
    idle: float = 0.0
    lacking: str = ""

    @property
    def holds(self) -> bool:
        return (
            not self.lacking
            and self.answered >= LEAST_ANSWERED
            and self.p99_ms < LATEST_MS
            and self.lag_p99_ms < LATEST_MS
            and self.slowest_fps >= STREAM_FPS * SLOWEST
        )

    def limit(self) -> str:
        """What ran out, as far as CPU accounts tell."""
        return self.lacking or limit_of(self.cores, self.bystanders, self.idle)


@dataclass(frozen=True, slots=True)
class Rig:
    """Who sends, to whom. data: what the pipeline would send, as perf_analyzer reads it."""

    bench: Bench
    beside: Servers
    tool: PerfAnalyzer
    data: Path

    @classmethod
    async def made(cls, bench: Bench, beside: Servers, folder: Path) -> "Rig":
        """Raises Lacking."""
        tool = await asyncio.to_thread(PerfAnalyzer.find, bench)
        clip = await asyncio.to_thread(people_clip, bench)
        url = beside.triton.grpc_url
        frames = await recorded(url, MODEL, clip, FRAMES, folder / "frames.npz")
        return cls(bench, beside, tool, write_input(folder / "frames.json", read(frames)))

    async def attempt(self, cameras: dict[str, dict[str, object]], seconds: int) -> Floor:
        """Too many to come up at all is an answer too. Raises TritonEnded."""
        try:
            return await self._measured(cameras, seconds)
        except Lacking as lacking:
            return Floor(len(cameras), lacking=str(lacking))
        except (LoadEnded, OSError) as failure:  # TimeoutError too
            told = await explained(failure, self.beside.triton, self.bench)
            if told is not failure:
                raise told from failure
            return Floor(len(cameras), lacking=str(failure))

    async def _measured(self, cameras: dict[str, dict[str, object]], seconds: int) -> Floor:
        triton = self.beside.triton
        rate, log = round(FPS * len(cameras)), self.data.with_name("perf.log")
        traffic = Traffic(rate=rate, shared_memory=True)
        with (
            decoding([str(camera["url"]) for camera in cameras.values()]) as decoder,
            self.tool.loading(triton.grpc_url, MODEL, self.data, traffic, log) as sender,
        ):
            accounts: list[Account] = []

            def begin() -> None:
                accounts.append(
                    Account(
                        {
                            "decoder": decoder.pid,
                            "Triton": triton.pid,
                            "perf_analyzer": sender,
                            "RTSP server (the cameras)": child_running("rtsp_server.py"),
                        }
                    )
                )
                decoder.begin()

            answers = await throughput(triton.http_url, MODEL, SETTLE_S, seconds, begin)
            shares, report = accounts[0].close(), decoder.report()
            seen_ms = windows_p99_ms(log)[-seconds:]
        p99_ms = median(seen_ms) if seen_ms else float("nan")
        return floor_of(len(cameras), answers.per_s / rate, p99_ms, report, shares)


def floor_of(cameras: int, answered: float, p99_ms: float, report: Report, shares: Shares) -> Floor:
    return Floor(
        cameras=cameras,
        answered=answered,
        p99_ms=p99_ms,
        lag_p99_ms=report.lag_p99_ms,
        slowest_fps=report.slowest_fps,
        cores=shares.by_role,
        bystanders=shares.bystanders,
        idle=shares.idle,
    )
