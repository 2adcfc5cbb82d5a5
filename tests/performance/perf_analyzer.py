"""Triton's own load generator, installed on demand into .tools/perf, apart from everything that is shipped."""

import base64
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.performance.bench import Bench
from tests.performance.machine import ROOT
from tests.performance.outcome import Lacking
from tests.performance.tensors import Tensors
from tests.performance.traffic import ToolEnded, Traffic

FOLDER = ROOT / ".tools" / "perf"
LOCK = ROOT / "requirements" / "perf.txt"
WINDOW_MS = 1000
END_S = 10.0
OPEN_THREADS = "4"  # what it has where it is told a rate
# It never finds such measurements stable, and goes on until it is ended: once enough was counted.
FOREVER = ("--stability-percentage", "0.001", "--max-trials", "1000000")
WINDOW = re.compile(r"Pass \[\d+\] throughput: \S+ infer/sec\. p99 latency: (\d+) usec")


@dataclass(frozen=True, slots=True)
class PerfAnalyzer:
    binary: Path
    libraries: Path

    @classmethod
    def find(cls, bench: Bench) -> "PerfAnalyzer":
        """Install it if it is not there. Raises Lacking."""
        if platform.machine() != "x86_64":
            raise Lacking("perf_analyzer is published for x86_64 only")
        if not FOLDER.is_dir():
            bench.say("installing perf_analyzer into .tools/perf (once)")
            _install()
        tool = cls(
            next(FOLDER.rglob("bin/perf_analyzer")), next(FOLDER.rglob("libcudart.so.12")).parent
        )
        tool.binary.chmod(0o755)
        answer = subprocess.run(
            [tool.binary, "--version"], env=tool.environment, capture_output=True, check=False
        )
        if answer.returncode == 127 or b"shared libraries" in answer.stderr:
            reason = answer.stderr.decode(errors="replace").strip()
            raise Lacking(f"perf_analyzer does not start: {reason}; run `make system` (libb64-0d)")
        return tool

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "LD_LIBRARY_PATH": str(self.libraries)}

    @contextmanager
    def loading(
        self, url: str, model: str, data: Path, traffic: Traffic, log: Path
    ) -> Iterator[int]:
        """Send such traffic over gRPC; yields its pid."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    self.binary,
                    *("-m", model, "-u", url, "-i", "grpc"),
                    *("--input-data", str(data)),
                    *_shape(traffic, log.with_suffix(".gaps")),
                    *("--shared-memory", "system" if traffic.shared_memory else "none"),
                    # Each second it says what it saw of it.
                    *("-v", "--percentile", "99", "--measurement-interval", str(WINDOW_MS)),
                    *FOREVER,
                ],
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        try:
            yield process.pid
            _check_alive(process, log)
        except TimeoutError:
            _check_alive(process, log)
            raise
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """In order: a connection that breaks with requests on their way can end Triton 24.10 (see `Calls`)."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _check_alive(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """It ends by itself when Triton refuses a request. Raises ToolEnded."""
    if process.poll() is not None:
        words = " ".join(log.read_text(errors="replace").split())[-300:]
        raise ToolEnded(f"perf_analyzer ended early: {words}")


def _shape(traffic: Traffic, gaps: Path) -> tuple[str, ...]:
    if traffic.concurrency is not None:
        return ("--concurrency-range", str(traffic.concurrency))
    # Left to itself it always draws the same Poisson arrivals (its generator has no seed): 116 to 118 a second
    # of 111 while it was measured.
    gaps.write_text("".join(f"{gap_us}\n" for gap_us in traffic.gaps_us()))
    # Asynchronous: by default it is threads each of which waits for its answer, and no open loop.
    return ("--request-intervals", str(gaps), "--async", "--max-threads", OPEN_THREADS)


def windows_p99_ms(log: Path) -> list[float]:
    """Of each second, what it saw."""
    return [int(usec) / 1000 for usec in WINDOW.findall(log.read_text(errors="replace"))]


def write_input(path: Path, tensors: Tensors) -> Path:
    """What it is to send, in turn: each row of the tensors as one request."""
    count = len(next(iter(tensors.values())))
    steps = [
        {
            name: {"b64": base64.b64encode(rows[number].tobytes()).decode()}
            for name, rows in tensors.items()
        }
        for number in range(count)
    ]
    path.write_text(json.dumps({"data": steps}), encoding="utf-8")
    return path


def _install() -> None:
    part = FOLDER.with_name("perf.part")
    shutil.rmtree(part, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    installed = subprocess.run(
        [*command, "--target", str(part), "-r", str(LOCK)],
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode:
        raise Lacking(f"perf_analyzer cannot be installed: {installed.stderr.strip()[-500:]}")
    part.rename(FOLDER)
