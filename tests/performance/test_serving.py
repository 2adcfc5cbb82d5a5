"""Both clients send what the pipeline sends, and the model without work is like the one with it."""

import json
import os
import signal
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from rich.console import Console

from export.frames import gather
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.embedded.triton_files import TritonFiles
from orchestrator.tuning.config_text import ConfigText
from tests.performance.bench import Bench
from tests.performance.heavy_model import write_heavy
from tests.performance.paired_model import write_paired
from tests.performance.perf_analyzer import PerfAnalyzer, write_input
from tests.performance.rig import Rig
from tests.performance.serving import Found
from tests.performance.side_by_side import Arena, AtWork, Comparison
from tests.performance.tensors import read, recorded
from tests.performance.traffic import LoadEnded, Traffic
from tests.performance.wire_model import NAME, write_wire
from tests.servers.triton import StartTriton


def test_the_model_without_work_takes_and_gives_what_its_original_does(
    served_models: Path, tmp_path: Path
) -> None:
    original = served_models / "object_detector"
    empty = write_wire(tmp_path, original) / NAME / "1" / "model.onnx"
    version = max(original.glob("[0-9]*"), key=lambda path: int(path.name))
    pictures = np.zeros((3, 320, 320, 3), np.uint8)
    found, expected = (
        session.run(None, {session.get_inputs()[0].name: pictures})
        for session in map(onnxruntime.InferenceSession, (empty, version / "model.onnx"))
    )
    assert [(a.shape, a.dtype) for a in found] == [(a.shape, a.dtype) for a in expected]
    assert all((array == 0).all() for array in found)


def test_the_heavy_model_finds_the_same(served_models: Path, clips: Path, tmp_path: Path) -> None:
    original = served_models / "object_detector"
    heavy = write_heavy(tmp_path, original, times=3) / "object_detector"
    pictures = gather([clips / "face_again.mkv"], 2, 320)
    found, expected = (
        onnxruntime.InferenceSession(next(folder.glob("[0-9]*/model.onnx"))).run(
            None, {"images": pictures}
        )
        for folder in (heavy, original)
    )
    assert expected[0].max() > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_the_model_in_pairs_differs_in_nothing_else(served_models: Path, tmp_path: Path) -> None:
    original = served_models / "object_detector"
    other = write_paired(tmp_path, original) / "object_detector"
    text = (other / "config.pbtxt").read_text()
    assert "max_batch_size: 2" in text
    assert "batch_size: 8" not in text
    shipped, paired = (
        ConfigText.read((folder / "config.pbtxt").read_text(), "it").candidate
        for folder in (original, other)
    )
    assert paired == replace(shipped, max_batch=2)


async def test_a_comparison_that_fails_is_told_and_the_others_stay() -> None:
    async def failing() -> Comparison:
        raise LoadEnded("it ended early")

    async def fine() -> Comparison:
        return Comparison("what", (), None)

    found = Found()
    assert await found.hold(failing()) is None
    assert await found.hold(fine()) is not None
    assert [each.what for each in found.comparisons] == ["what"]
    assert found.notes == ["Not measured: it ended early."]


@pytest.mark.xdist_group("triton")
async def test_what_a_triton_said_that_ended_by_itself_is_kept_and_named(
    triton_files: TritonFiles, served_models: Path, tmp_path: Path
) -> None:
    bench = Bench(True, tmp_path / "bench", Console(quiet=True), section="serving")
    bench.folder.mkdir()
    repository = write_wire(tmp_path / "wire", served_models / "object_detector")

    @contextmanager
    def ends(_number: int) -> Iterator[AtWork]:
        yield AtWork((), list)
        raise LoadEnded("our load ended early")

    async with EmbeddedTriton(repository, tmp_path / "state") as triton:
        arena, found = Arena(bench, triton, NAME), Found()
        os.kill(triton.pid, signal.SIGSEGV)
        assert await found.hold(arena.compare("R_wire", ends, ends, None)) is None
    kept = bench.folder / "serving-triton.log"
    assert "Signal (11) received" in kept.read_text()
    (note,) = found.notes
    assert (
        f"Triton ended by itself, exit code 139, its log is {kept.name} beside the results" in note
    )


@pytest.mark.xdist_group("triton")
def test_triton_serves_the_model_without_work(
    start_triton: StartTriton, served_models: Path, tmp_path: Path
) -> None:
    server = start_triton(write_wire(tmp_path / "wire", served_models / "object_detector"))
    assert server.grpc_url


@pytest.mark.xdist_group("triton")
async def test_what_a_load_gets_in_the_turns_of_the_other_is_not_its(
    start_triton: StartTriton, served_models: Path, clips: Path, tmp_path: Path
) -> None:
    triton = start_triton(write_wire(tmp_path / "wire", served_models / "object_detector"))
    bench = Bench(True, tmp_path, Console(quiet=True))
    rig = Rig(bench, tmp_path, PerfAnalyzer(Path(), Path()), clips / "face_again.mkv")
    await rig.record(triton.grpc_url, NAME)
    slow, fast = (
        rig.ours(triton.grpc_url, NAME, traffic)
        for traffic in (Traffic(rate=20), Traffic(concurrency=8))
    )
    found = await Arena(bench, triton, NAME).compare("what", fast, slow, None, in_turns=True)
    (pair,) = found.pairs
    assert 0 < 2 * pair.theirs.throughput.per_s < pair.ours.throughput.per_s
    assert pair.ours.throughput.failed == pair.theirs.throughput.failed == 0
    assert pair.ours.p99_ms > 0


@pytest.mark.xdist_group("triton")
async def test_both_loads_send_several_frames_as_the_pipeline_sends_them(
    triton: EmbeddedTriton, clips: Path, tmp_path: Path
) -> None:
    clip = clips / "face_again.mkv"
    file = await recorded(triton.grpc_url, "object_detector", clip, 4, tmp_path / "frames.npz")
    tensors = read(file)
    (rows,) = tensors.values()
    assert len({row.tobytes() for row in rows}) == 4
    steps = json.loads(write_input(tmp_path / "frames.json", tensors).read_text())["data"]
    (name,) = tensors
    assert [b64decode(step[name]["b64"]) for step in steps] == [row.tobytes() for row in rows]
