"""Triton's own load generator, installed on demand into .tools/perf, apart from everything that is shipped."""

import base64
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.performance.bench import Bench
from tests.performance.machine import ROOT
from tests.performance.outcome import Lacking

FOLDER = ROOT / ".tools" / "perf"
LOCK = ROOT / "requirements" / "perf.txt"
FOREVER_MS = 600_000  # it is ended once enough was counted


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
        self, url: str, model: str, data: Path, concurrency: int, log: Path
    ) -> Iterator[int]:
        """Keep so many requests on their way, over gRPC; yields its pid."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    self.binary,
                    *("-m", model, "-u", url, "-i", "grpc"),
                    *("--input-data", str(data)),
                    *("--concurrency-range", str(concurrency)),
                    *("--measurement-interval", str(FOREVER_MS)),
                ],
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        try:
            yield process.pid
            if process.poll() is not None:
                raise Lacking(
                    f"perf_analyzer ended early: {log.read_text(errors='replace')[-500:]}"
                )
        finally:
            process.kill()  # its orderly end waits for the window
            process.wait()


def write_input(path: Path, name: str, tensor: NDArray[np.uint8]) -> Path:
    """What it is to send: the same bytes in each request."""
    content = base64.b64encode(tensor.tobytes()).decode()
    path.write_text(json.dumps({"data": [{name: {"b64": content}}]}), encoding="utf-8")
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
