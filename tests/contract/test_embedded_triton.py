"""The embedded Triton: the real server from its wheel, with our onnxruntime backend."""

import asyncio
import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as grpcclient_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from orchestrator.embedded.keeper import Patience
from orchestrator.embedded.triton import EmbeddedTriton, shared_memory_prefix
from orchestrator.embedded.triton_files import TritonFiles
from orchestrator.errors import ServerError
from tests.servers.triton import StartTriton, write_tiny
from tests.servers.vouching import vouch

pytestmark = pytest.mark.xdist_group("triton")


def ask(url: str, digits: list[list[int]]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    given = grpcclient.InferInput("digits", [len(digits), 4], "INT32")
    given.set_data_from_numpy(np.array(digits, dtype=np.int32))
    client = grpcclient.InferenceServerClient(url)
    try:
        answer = client.infer("tiny", [given], client_timeout=10.0)
        return answer.as_numpy("tens"), answer.as_numpy("sum")
    finally:
        client.close()


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return bytes(answer.read())


def eventually(holds: Callable[[], bool], *, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)


def test_it_answers_a_request_of_several_rows(start_triton: StartTriton) -> None:
    server = start_triton()
    tens, total = ask(server.grpc_url, [[1, 2, 3, 4], [9, 0, 0, 0]])
    assert tens.tolist() == [[10, 20, 30, 40], [90, 0, 0, 0]]
    assert total.tolist() == [[10], [9]]


def test_requests_at_the_same_time_run_as_one_batch_and_each_gets_its_own_rows(
    start_triton: StartTriton,
) -> None:
    server = start_triton()

    def one(number: int) -> bool:
        a, b = number % 10, number // 10
        tens, total = ask(server.grpc_url, [[a, b, 0, 1]] * (1 + number % 3))
        return bool((tens == [10 * a, 10 * b, 0, 10]).all() and (total == a + b + 1).all())

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(64)))
    assert all(answers)

    def count(of: str) -> int:
        url = f"http://{server.http_url}/v2/models/tiny/stats"
        return int(json.loads(get(url))["model_stats"][0][of])

    # Triton counts a batch a moment after it answered it.
    eventually(lambda: count("inference_count") == sum(1 + number % 3 for number in range(64)))
    assert count("execution_count") < 64


def test_a_batch_that_fails_is_an_error_to_its_requests_and_the_next_one_succeeds(
    start_triton: StartTriton,
) -> None:
    server = start_triton()
    backends = [child.pid for child in psutil.Process(server.pid).children()]
    with pytest.raises(InferenceServerException, match="out of data bounds"):
        ask(server.grpc_url, [[1, 2, 3, 1000]])
    assert ask(server.grpc_url, [[1, 2, 3, 4]])[1].tolist() == [[10]]
    assert [child.pid for child in psutil.Process(server.pid).children()] == backends


def test_requests_that_nobody_waits_for_any_more_are_not_run(start_triton: StartTriton) -> None:
    server = start_triton()
    (backend,) = psutil.Process(server.pid).children()
    asked = 100

    async def give_up() -> None:
        given = grpcclient.InferInput("digits", [1, 4], "INT32")
        given.set_data_from_numpy(np.zeros((1, 4), dtype=np.int32))

        async def wait_briefly() -> None:
            with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
                await client.infer("tiny", [given], client_timeout=0.5)

        async with (
            grpcclient_aio.InferenceServerClient(server.grpc_url) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for _ in range(asked):
                tasks.create_task(wait_briefly())

    backend.suspend()
    try:
        asyncio.run(give_up())
    finally:
        backend.resume()
    ask(server.grpc_url, [[1, 2, 3, 4]])
    stats = json.loads(get(f"http://{server.http_url}/v2/models/tiny/stats"))["model_stats"][0]
    # At most one batch of eight was running, and two more had been handed to the backend.
    assert stats["inference_count"] <= 3 * 8 + 1
    assert stats["inference_stats"]["fail"]["count"] >= asked - 3 * 8


def test_the_real_models_are_served(triton: EmbeddedTriton) -> None:
    client = grpcclient.InferenceServerClient(triton.grpc_url)
    try:
        for model in ("object_detector", "face_detector", "face_embedder"):
            assert client.is_model_ready(model)
            assert client.get_model_config(model).config.backend == "onnxruntime"
    finally:
        client.close()


def test_nobody_who_answers_keeps_the_low_priority_at_which_models_are_loaded(
    triton: EmbeddedTriton,
) -> None:
    # Triton itself gives its threads the usual one where it may, whatever it was started with.
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    for backend in psutil.Process(triton.pid).children():
        threads = [int(thread.name) for thread in Path(f"/proc/{backend.pid}/task").iterdir()]
        (priority,) = {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}
        assert priority <= usual


def test_onnx_runtime_keeps_no_notes_for_its_maker(triton: EmbeddedTriton) -> None:
    files = {file.path for process in _with_children(triton.pid) for file in process.open_files()}
    assert not [path for path in files if "Microsoft" in path]


def test_metrics_are_served(start_triton: StartTriton) -> None:
    server = start_triton()
    assert b"nv_inference_count" in get(server.metrics_url)


def test_it_listens_on_loopback_only(start_triton: StartTriton) -> None:
    server = start_triton()
    listening = {
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for process in _with_children(server.pid)
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    ports = {int(url.rpartition(":")[2]) for url in (server.grpc_url, server.http_url)}
    ports.add(int(server.metrics_url.rpartition(":")[2].split("/")[0]))
    assert listening == {("127.0.0.1", port) for port in ports}


def test_when_it_is_left_no_process_and_no_shared_memory_remains(
    triton_files: TritonFiles, tmp_path: Path
) -> None:
    write_tiny(tmp_path / "models")
    before = set(os.listdir("/dev/shm"))

    async def use() -> list[psutil.Process]:
        async with EmbeddedTriton(tmp_path / "models", tmp_path / "state") as server:
            assert set(os.listdir("/dev/shm")) - before
            return _with_children(server.pid)

    processes = asyncio.run(use())
    assert len(processes) > 1
    assert not any(process.is_running() for process in processes)
    assert not _shared_memory(tmp_path / "state")


def test_a_killed_server_comes_back_at_the_same_address(start_triton: StartTriton) -> None:
    causes: list[str] = []
    server = start_triton(watch=True, on_restart=causes.append)
    url, killed = server.grpc_url, server.pid
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: server.pid != killed)
    assert server.grpc_url == url
    assert ask(url, [[1, 2, 3, 4]])[1].tolist() == [[10]]
    assert causes == ["ended with exit code 137"]


def test_a_server_that_stops_answering_is_started_anew(start_triton: StartTriton) -> None:
    causes: list[str] = []
    hasty = Patience(check_interval_s=0.2, misses=1)
    server = start_triton(watch=True, patience=hasty, on_restart=causes.append)
    frozen = server.pid
    os.kill(frozen, signal.SIGSTOP)
    eventually(lambda: server.pid != frozen)
    assert ask(server.grpc_url, [[1, 2, 3, 4]])[1].tolist() == [[10]]
    assert causes == ["does not answer"]


def test_a_server_that_lost_the_backend_process_of_a_model_is_started_anew(
    start_triton: StartTriton,
) -> None:
    causes: list[str] = []
    server = start_triton(watch=True, on_restart=causes.append)
    crippled = server.pid
    (backend,) = psutil.Process(crippled).children()
    backend.kill()
    eventually(lambda: server.pid != crippled)
    assert ask(server.grpc_url, [[1, 2, 3, 4]])[1].tolist() == [[10]]
    assert causes == ["lost the backend process of a model"]


def test_a_second_process_uses_the_server_that_runs_and_leaves_it_running(
    start_triton: StartTriton, tmp_path: Path
) -> None:
    server = start_triton(state_dir=tmp_path / "state")

    async def attach() -> tuple[bool, int, str]:
        repository = tmp_path / "tiny_repository"
        async with EmbeddedTriton(repository, tmp_path / "state") as second:
            return second.attached, second.pid, second.grpc_url

    assert asyncio.run(attach()) == (True, server.pid, server.grpc_url)
    assert ask(server.grpc_url, [[1, 2, 3, 4]])[1].tolist() == [[10]]


def test_nobody_attaches_to_a_server_of_other_models(
    start_triton: StartTriton, tmp_path: Path
) -> None:
    start_triton(state_dir=tmp_path / "state")
    write_tiny(tmp_path / "others")

    async def attach() -> None:
        async with EmbeddedTriton(tmp_path / "others", tmp_path / "state"):
            pass

    with pytest.raises(ServerError, match=r"tiny_repository, not .*others: choose another folder"):
        asyncio.run(attach())


def test_a_model_that_cannot_be_loaded_is_named_with_the_reason(
    triton_files: TritonFiles, tmp_path: Path
) -> None:
    write_tiny(tmp_path / "models")
    write_tiny(tmp_path / "models", "broken")
    model = tmp_path / "models" / "broken" / "1" / "model.onnx"
    model.write_bytes(b"not a model")
    vouch(model)

    with pytest.raises(ServerError, match=r"(?s)cannot load every model:\nbroken: .*onnx"):
        asyncio.run(_start(tmp_path / "models", tmp_path / "state"))
    assert not _shared_memory(tmp_path / "state")


def test_a_gpu_that_onnx_runtime_cannot_use_is_told_with_the_mend(
    triton_files: TritonFiles, tmp_path: Path
) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime can use a GPU")
    write_tiny(tmp_path / "models")
    with pytest.raises(ServerError, match=r"DETECTOR_DEVICE=gpu.*install fess\[embedded-gpu\]"):
        asyncio.run(_start(tmp_path / "models", tmp_path / "state", device="gpu"))


def test_folders_may_be_named_as_one_likes(triton_files: TritonFiles, tmp_path: Path) -> None:
    write_tiny(tmp_path / "my models (old); $HOME")
    asyncio.run(_start(tmp_path / "my models (old); $HOME", tmp_path / 'it\'s "state" & more'))


async def _start(repository: Path, state_dir: Path, *, device: str = "auto") -> None:
    async with EmbeddedTriton(repository, state_dir, device=device) as server:
        assert not server.attached


def _with_children(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _shared_memory(state_dir: Path) -> list[str]:
    prefix = shared_memory_prefix(state_dir)
    return [name for name in os.listdir("/dev/shm") if name.startswith(prefix)]
