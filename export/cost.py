"""What a detector takes of a processor and of the disk, against the same one under ONNX Runtime in float32."""

import time
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field

from export.detecting import Session
from export.parity import Report
from orchestrator.inference.pixels import Tensors

TURNS = 10
RUNS = 3
# Instructions that multiply 8-bit integers, and those for 16-bit floats, as Linux names them.
INTEGER = ("avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
HALF = ("avx512_fp16", "amx_fp16", "asimdhp")


class Cost(Report):
    """On the processor of the export. It says nothing about a GPU."""

    time: float = Field(gt=0)
    """CPU time of a picture, one thread, as part of what ONNX Runtime takes in float32."""
    size: float = Field(gt=0)
    """Of the file, as part of the one in float32."""
    processor: str
    """Which of the instructions that matter it has."""

    @classmethod
    def of(cls, one: tuple[Path, Session], other: tuple[Path, Session], picture: Tensors) -> Self:
        """Cost of `one` against `other`: files, and sessions of one thread each; one picture by the inputs' names."""
        return cls(
            time=_ratio(one[1], other[1], picture),
            size=one[0].stat().st_size / other[0].stat().st_size,
            processor=processor(),
        )

    def text(self) -> str:
        return (
            f"served: {self.time:.2f} times the CPU time of ONNX Runtime in float32, {self.size:.2f} times its size, "
            f"on {self.processor}" + (": slower than float32 here\n" if self.time > 1.0 else "\n")
        )


def processor() -> str:
    """Which instructions for fewer bits this processor has."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return "a processor that does not tell its instructions"
    integer = [name for name in INTEGER if name in words]
    half = [name for name in HALF if name in words]
    return (
        f"a processor with {', '.join(integer) or 'no instructions'} for 8-bit integers and "
        f"{', '.join(half) or 'none'} for 16-bit floats"
    )


def _ratio(one: Session, other: Session, picture: Tensors) -> float:
    """Median over turns in the order one, other, other, one, so that other work does not matter."""
    for session in (one, other):
        _spent(session, picture)
    parts = []
    for _ in range(TURNS):
        first, second, third, fourth = (
            _spent(session, picture) for session in (one, other, other, one)
        )
        parts.append((first + fourth) / (second + third))
    return float(np.median(parts))


def _spent(session: Session, picture: Tensors) -> float:
    began = time.process_time()
    for _ in range(RUNS):
        session.run(None, picture)
    return time.process_time() - began
