"""The loads that are compared: our client, the whole pipeline, and perf_analyzer."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.e2e.running import running
from tests.performance.bench import Bench, Servers
from tests.performance.exposition import Samples, samples, total
from tests.performance.load import Order, own_windows_p99_ms
from tests.performance.machine import ROOT
from tests.performance.perf_analyzer import PerfAnalyzer, windows_p99_ms, write_input
from tests.performance.scene import PRODUCTION
from tests.performance.side_by_side import AtWork, Load
from tests.performance.tensors import read, recorded
from tests.performance.traffic import LoadEnded, Traffic

FRAMES = 16
FILES = 8  # that the pipeline watches
MODULE = "tests.performance.load"
GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Rig:
    """Who sends. clip: what the pipeline decodes, and where the frames are from that the clients send."""

    bench: Bench
    folder: Path
    tool: PerfAnalyzer
    clip: Path
    witnessed: list[Samples] = field(default_factory=list)

    @property
    def frames(self) -> Path:
        return self.folder / "frames.npz"

    @property
    def data(self) -> Path:
        """The same tensors as perf_analyzer reads them."""
        return self.folder / "frames.json"

    async def record(self, url: str, model: str) -> None:
        await recorded(url, model, self.clip, FRAMES, self.frames)
        write_input(self.data, read(self.frames))

    def ours(self, url: str, model: str, traffic: Traffic) -> Load:
        return lambda number: clients(
            self.folder, url, model, self.frames, replace(traffic, draw=number)
        )

    def theirs(self, url: str, model: str, traffic: Traffic) -> Load:
        return lambda number: self._perf_analyzer(url, model, replace(traffic, draw=number))

    @contextmanager
    def _perf_analyzer(self, url: str, model: str, traffic: Traffic) -> Iterator[AtWork]:
        log = self.folder / "perf.log"
        with self.tool.loading(url, model, self.data, traffic, log) as pid:
            yield AtWork((pid,), lambda: windows_p99_ms(log))

    def pipeline(self, beside: Servers) -> Load:
        return lambda _number: self._watching(beside)

    @contextmanager
    def _watching(self, beside: Servers) -> Iterator[AtWork]:
        clip = {"url": str(self.clip), "pace": "fast", "loop": True, "fps": 50.0}
        cameras: dict[str, dict[str, object]] = {f"file-{n}": clip for n in range(FILES)}
        variables = {**PRODUCTION, "FACES_ENABLED": "false", "TRITON_TIMEOUT": "5"}
        variables["TRITON_SHARED_MEMORY"] = "off"  # the same transport on both sides
        with running(self.folder, beside.settings, cameras, **variables) as fess:
            try:
                yield AtWork((fess.process.pid,), lambda: [])
            except TimeoutError as late:
                raise TimeoutError(f"{late}; fess said: {fess.log[-1500:]}") from late
            self.witnessed.append(samples(fess.get("/metrics")[1].decode()))

    def account(self) -> str:
        """What the pipeline said of its own work."""
        inspected = sum(total(each, "fess_frames_inspected_total") for each in self.witnessed)
        acknowledged = sum(
            total(each, "fess_kafka_events_sent_total", status="acknowledged")
            for each in self.witnessed
        )
        waiting = max(total(each, "fess_outbox_events") for each in self.witnessed)
        dropped = sum(total(each, "fess_events_dropped_total") for each in self.witnessed)
        return (
            f"Over all its runs {inspected:.0f} frames were inspected and {acknowledged:.0f} events acknowledged "
            f"(a frame without people has none), {dropped:.0f} dropped; at most {waiting:.0f} waited at an end."
        )


@contextmanager
def clients(folder: Path, url: str, model: str, frames: Path, traffic: Traffic) -> Iterator[AtWork]:
    """Our client, in as many processes as the traffic has; their logs are `ours-0.log` and so on."""
    shares = traffic.shares()
    logs = [folder / f"ours-{number}.log" for number in range(len(shares))]
    with ExitStack() as stack:
        pids = []
        for share, log in zip(shares, logs, strict=True):
            order = Order(url, model, str(frames), share).text()
            output = stack.enter_context(log.open("wb"))
            pids.append(stack.enter_context(_process(order, output.fileno())))
        yield AtWork(tuple(pids), lambda: own_windows_p99_ms(logs))


@contextmanager
def _process(order: str, output: int) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-m", MODULE, order], cwd=ROOT, stdout=output)
    try:
        yield process.pid
        if process.poll() is not None:
            raise LoadEnded("our load ended early; its message is above")
    finally:
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
