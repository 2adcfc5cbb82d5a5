"""Receives and decodes cameras and does nothing else with them: what no program that watches them can do without.

python -m tests.performance.bare ADDRESS...   prints a line once every camera gave a picture; ends with its input.
Told `begin` it measures, told `report` it prints as one line of JSON what was decoded since.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from queue import SimpleQueue
from subprocess import PIPE, Popen

import av

from orchestrator.capture.reader import NICE
from tests.performance.outcome import Lacking
from tests.performance.statistic import percentile


@dataclass(frozen=True, slots=True)
class Report:
    """slowest_fps: pictures a second of the slowest camera; lag: after the stream's quickest, by its own time."""

    slowest_fps: float
    lag_p99_ms: float


@dataclass(frozen=True, slots=True)
class Decoder:
    """The process, as who started it sees it."""

    process: Popen[str]

    @property
    def pid(self) -> int:
        return self.process.pid

    def begin(self) -> None:
        self._tell("begin")

    def report(self) -> Report:
        """Of all since `begin`."""
        self._tell("report")
        assert self.process.stdout is not None
        return Report(**json.loads(self.process.stdout.readline()))

    def _tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()


@contextmanager
def decoding(addresses: list[str]) -> Iterator[Decoder]:
    """A process that decodes all of them, each in a thread of its own. Raises Lacking."""
    command = [sys.executable, "-m", "tests.performance.bare", *addresses]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise Lacking(f"no picture came from {', '.join(addresses)}")
            yield Decoder(process)
        finally:
            process.kill()


class Camera:
    """Decodes one camera in a thread. `ways_s` holds, of each picture, by when it was decoded less its own time."""

    def __init__(self, address: str, started: "SimpleQueue[bool]") -> None:
        self._address = address
        self._started = started
        self.ways_s: list[float] = []
        threading.Thread(target=self._decode, daemon=True).start()

    def _decode(self) -> None:
        try:
            self._follow()
        finally:
            self._started.put(False)  # it did not come; one that goes later shows as slow

    def _follow(self) -> None:
        with av.open(self._address, options={"rtsp_transport": "tcp"}) as container:
            stream = container.streams.video[0]
            # As the orchestrator decodes (orchestrator/capture/source.py).
            stream.codec_context.thread_count = 1
            stream.codec_context.thread_type = "SLICE"
            pictures = container.decode(stream)
            next(pictures)  # the first of a stream has no time yet
            self._started.put(True)
            for frame in pictures:
                assert frame.time is not None
                self.ways_s.append(time.monotonic() - frame.time)


def report_of(ways_s: list[list[float]], seconds: float) -> Report:
    """Of each camera's pictures."""
    lags_ms = [
        (way_s - quickest_s) * 1000
        for of_one in ways_s
        for quickest_s in [min(of_one, default=0.0)]
        for way_s in of_one
    ]
    return Report(min(map(len, ways_s)) / seconds, percentile(lags_ms, 0.99))


def main(addresses: list[str]) -> None:
    os.nice(NICE)  # as the orchestrator's decode threads: Triton comes first
    started: SimpleQueue[bool] = SimpleQueue()
    cameras = [Camera(address, started) for address in addresses]
    if not all(started.get() for _ in cameras):
        return
    _say("decoding")
    begun_s = time.monotonic()
    for line in sys.stdin:
        if line.strip() == "begin":
            begun_s = time.monotonic()
            for camera in cameras:
                camera.ways_s = []
        else:
            seconds = time.monotonic() - begun_s
            _say(json.dumps(asdict(report_of([camera.ways_s for camera in cameras], seconds))))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
