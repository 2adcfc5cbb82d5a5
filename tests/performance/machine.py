"""The machine and the code that were measured, for whoever reads the figures."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Machine:
    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    libraries: str
    commit: str
    date: str

    @classmethod
    def here(cls) -> "Machine":
        names = ("av", "numpy", "simsimd", "onnxruntime", "tritonclient", "redis", "aiokafka")
        return cls(
            processor=_processor(),
            cores=os.cpu_count() or 0,
            memory_gib=psutil.virtual_memory().total / 1024**3,
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            libraries=", ".join(f"{name} {version(name)}" for name in names),
            commit=_commit(),
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )

    def words(self) -> str:
        return (
            f"{self.cores} cores of {self.processor}, {self.memory_gib:.0f} GiB, no GPU used, {self.system}; "
            f"Python {self.python}, {self.libraries}"
        )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        answer = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return answer.stdout.strip()

    # What is measured is the code of the program; documents and tests do not change a figure.
    changed = git("status", "--porcelain", "--", "orchestrator", "eventbus", "alerting", "export")
    return f"{git('rev-parse', '--short=10', 'HEAD') or 'unknown'}{' with uncommitted changes' if changed else ''}"
