"""`fess bench serving` on a real Triton: a sweep, its files, its proposal, and writing it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from orchestrator.embedded.triton_files import TritonFiles
from tests.cli.conftest import Fess, fess
from tests.servers.triton import write_tiny
from tests.servers.vouching import vouch

pytestmark = pytest.mark.xdist_group("triton")
__all__ = ["fess"]  # the fixture

# Few and short: what is measured does not matter here, only that it is measured and kept.
BRIEFLY = (
    *("--instances", "1", "--batch", "8", "--threads", "1", "--delay", "0,20000"),
    *("--concurrency", "1,4", "--seconds", "0.3", "--repeats", "2", "--p99", "4000"),
)


@pytest.fixture
def repository(triton_files: TritonFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the model `tiny`, which waits 20 ms for company that never comes."""
    folder = tmp_path / "repository"
    write_tiny(folder)
    monkeypatch.setenv("TRITON_MODEL_REPOSITORY", str(folder))
    return folder


def tritons() -> set[int]:
    below = psutil.Process().children(recursive=True)
    return {child.pid for child in below if "triton" in child.name()}


def test_it_proposes_then_writes_without_measuring_again_and_leaves_nothing_running(
    fess: Fess, repository: Path, tmp_path: Path
) -> None:
    running = tritons()  # the one that tests share
    config = repository / "tiny" / "config.pbtxt"
    before = config.read_text()
    proposed = fess("bench", "serving", "tiny", *BRIEFLY)
    assert proposed.code == 0
    assert "a second, p99" in proposed.err
    # One request alone waits for the delay: without it there is several times as much.
    assert "+dynamic_batching { max_queue_delay_microseconds: 0 }" in proposed.out
    assert config.read_text() == before
    results = tmp_path / ".fess" / "bench" / "serving" / "tiny"
    document = json.loads((results / "results.json").read_text())
    assert document["best"]["queue_delay_us"] == 0
    points = [p for s in document["standings"] for t in s["trials"] for p in t["points"]]
    assert {point["concurrency"] for point in points} == {1, 4}
    assert all(point["per_s"] > 0 and not point["failed"] for point in points)
    (trials,) = results.glob("trials-*.jsonl")
    measured = trials.read_bytes()
    written = fess("bench", "serving", "tiny", *BRIEFLY, "--write")
    assert written.code == 0
    assert "are remembered" in written.err
    assert trials.read_bytes() == measured
    assert config.read_text() == before.replace("microseconds: 20000", "microseconds: 0")
    assert config.with_name("config.pbtxt.old").read_text() == before
    assert tritons() == running


def test_interrupted_it_shows_what_it_has_and_goes_on_from_there(
    fess: Fess, repository: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "orchestrator.cli.main", "bench", "serving", "tiny", *BRIEFLY]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "TRITON_MODEL_REPOSITORY": str(repository)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    results = tmp_path / ".fess" / "bench" / "serving" / "tiny"
    deadline_s = time.monotonic() + 120
    while not list(results.glob("trials-*.jsonl")) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "p99 at most 4000 ms" in out
    assert "goes on from here" in err
    (trials,) = results.glob("trials-*.jsonl")
    so_far = trials.read_text()
    assert (results / "results.json").is_file()
    assert fess("bench", "serving", "tiny", *BRIEFLY).code == 0
    assert trials.read_text().startswith(so_far)


def test_where_no_way_keeps_the_limit_nothing_is_proposed(fess: Fess, repository: Path) -> None:
    config = repository / "tiny" / "config.pbtxt"
    before = config.read_text()
    said = fess("bench", "serving", "tiny", *BRIEFLY, "--p99", "0.1", "--write")
    assert said.code == 0
    assert "No way answers 99 % within 0.1 ms" in said.err
    assert config.read_text() == before


def test_a_model_that_does_not_run_is_told_with_tritons_reason(
    fess: Fess, repository: Path
) -> None:
    model = repository / "tiny" / "1" / "model.onnx"
    model.write_bytes(b"no model")
    vouch(model)
    said = fess("bench", "serving", "tiny", *BRIEFLY)
    assert said.code == 1
    assert "it does not run as it is configured now" in said.err
    assert "Traceback" not in said.err


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing",), "has no model nothing; it has tiny"),
        (("tiny", "--concurrency", "0"), "concurrency 0: give whole numbers from 1 on"),
        (("tiny", "--batch", "a"), "max_batch a: give whole numbers"),
    ],
)
def test_a_mistake_is_told_in_one_line(fess: Fess, arguments: tuple[str, ...], words: str) -> None:
    said = fess("bench", "serving", *arguments)
    assert said.is_one_plain_error
    assert words in said.err
