"""A real Triton Inference Server for one machine, from the nvidia-pytriton wheel."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Never, Self

import aiohttp

from export import versions
from orchestrator.embedded.claim import Claim, Endpoint
from orchestrator.embedded.guarded import Launch
from orchestrator.embedded.keeper import Keeper, Patience
from orchestrator.embedded.logfile import log_of
from orchestrator.embedded.loopback import ADDRESS
from orchestrator.embedded.triton_files import TritonFiles
from orchestrator.embedded.triton_log import unread, unread_now
from orchestrator.embedded.triton_state import ANSWER, FAILURES, BackendProcesses, loaded_models
from orchestrator.errors import ServerError

# Triton has nothing to save, and its own way down sleeps for some five seconds.
GRACE_S = 1.0
POLL_EVERY_S = 2
MODELS = "models"
BACKENDS = "backends"
MODEL_NAME = re.compile(r"[\w.-]+", re.ASCII)
LOADED = re.compile(r"successfully loaded '([^']+)'")
OURS = re.compile(r'^\s*backend:\s*"onnxruntime"', re.M)
DEFAULT_PATIENCE = Patience()
SHARED_MEMORY = Path("/dev/shm")
# Each instance's process talks to Triton through a few megabytes there. Without room they crash, and do not say why.
LEAST_SHARED_MB = 32


class EmbeddedTriton:
    """Runs inside `async with`. If a process of this state folder has one already, that one is used.

    repository   Triton's model repository
    device       where models run whose configuration leaves it open: auto, cpu or gpu
    on_progress  told what is waited for at the start
    on_restart   told the cause each time `watch` starts the server anew
    """

    def __init__(
        self,
        repository: Path,
        state_dir: Path,
        *,
        device: str = "auto",
        patience: Patience = DEFAULT_PATIENCE,
        on_progress: Callable[[str], None] = lambda _: None,
        on_restart: Callable[[str], None] = lambda _: None,
    ) -> None:
        state_dir = state_dir.resolve()
        self._keeper = Keeper(
            TritonKind(repository.resolve(), state_dir / "triton", device),
            state_dir,
            patience=patience,
            on_progress=on_progress,
            on_restart=on_restart,
        )

    @property
    def grpc_url(self) -> str:
        return f"{ADDRESS}:{self._keeper.endpoint.ports[0]}"

    @property
    def http_url(self) -> str:
        return f"{ADDRESS}:{self._keeper.endpoint.ports[1]}"

    @property
    def metrics_url(self) -> str:
        return f"http://{ADDRESS}:{self._keeper.endpoint.ports[2]}/metrics"

    @property
    def pid(self) -> int:
        return self._keeper.endpoint.pid

    @property
    def attached(self) -> bool:
        """Whether another process started it, and will end it."""
        return self._keeper.attached

    @property
    def log(self) -> Path:
        """What it says."""
        return self._keeper.log

    async def ended_within(self, seconds: float) -> int | None:
        """Wait for it to end by itself: its exit code, 128 + n for signal n, or None while it runs."""
        return await self._keeper.ended_within(seconds)

    async def watch(self) -> Never:
        """Start it anew, on the same ports, whenever it is lost."""
        await self._keeper.watch()

    async def __aenter__(self) -> Self:
        await self._keeper.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._keeper.close()


class TritonKind:
    name = "triton"
    port_count = 3

    def __init__(self, repository: Path, folder: Path, device: str) -> None:
        self._repository = repository
        self._folder = folder
        self._device = device
        self._backend_processes = BackendProcesses()
        self._shm_prefix = shared_memory_prefix(folder.parent)

    @property
    def serving(self) -> str:
        return str(self._repository)

    def new_password(self) -> str:
        return ""  # it has none; it listens on loopback only

    def prepare(self, ports: tuple[int, ...], password: str) -> Launch:
        check_repository(self._repository)
        check_shared_memory()
        files = TritonFiles.find()
        files.assemble(self._folder / BACKENDS)
        self._link_models()
        return Launch(
            argv=[str(files.server), *self._options(ports)],
            folder=self._folder,
            environment={
                **files.environment(),
                "FESS_TRITON_DEVICE": self._device,
                "OPENBLAS_NUM_THREADS": "1",  # the stubs' numpy computes nothing
                # ONNX Runtime would note every model and machine in the user's home, and tell its maker.
                "ORT_DISABLE_TELEMETRY": "1",
            },
            grace_s=GRACE_S,
            shm_prefix=self._shm_prefix,
        )

    def _link_models(self) -> None:
        # Triton starts its backend processes through a shell and quotes nothing: so that a blank or
        # worse in a folder's name does no harm, it is shown plain names, relative to where it runs.
        link = self._folder / MODELS
        link.unlink(missing_ok=True)
        link.symlink_to(self._repository, target_is_directory=True)

    def _options(self, ports: tuple[int, ...]) -> list[str]:
        grpc, http, metrics = (str(port) for port in ports)
        options = {
            "model-repository": MODELS,
            "backend-directory": BACKENDS,
            "grpc-address": ADDRESS,
            "grpc-port": grpc,
            "http-address": ADDRESS,
            "http-port": http,
            "metrics-address": ADDRESS,
            "metrics-port": metrics,
            # A new version is found within seconds. Not the explicit mode: whoever reaches the port could then
            # have any code loaded and run (decision 0014).
            "model-control-mode": "poll",
            "repository-poll-secs": str(POLL_EVERY_S),
            # Strictly, one version that was ever refused would make it unready for good.
            "strict-readiness": "false",
            # It stays up with a model that failed, so that we can ask for the reason.
            "exit-on-error": "false",
            "allow-gpu-metrics": "false" if self._device == "cpu" else "true",
        }
        shm = f"shm-region-prefix-name={self._shm_prefix}"  # heeded only if both backends are told
        return [
            *(f"--{name}={value}" for name, value in options.items()),
            # Our backend completes no configuration; asking it would start every backend process twice.
            "--disable-auto-complete-config",
            *(f"--backend-config={backend},{shm}" for backend in ("python", "onnxruntime")),
        ]

    async def is_ready(self, endpoint: Endpoint) -> bool:
        """Whether all models answer. Raises ServerError if one cannot be loaded."""
        url = f"http://{ADDRESS}:{endpoint.ports[1]}/v2"
        try:
            async with aiohttp.ClientSession(timeout=ANSWER) as session:
                models = await loaded_models(session, url)
        except FAILURES:
            return False
        if models.lost:
            raise ServerError("triton cannot load every model:\n" + "\n".join(models.lost))
        return models.all_answer

    async def is_alive(self, endpoint: Endpoint) -> bool:
        """Raises ServerError once a backend process is gone: Triton goes on, calls itself ready, and fails."""
        url = f"http://{ADDRESS}:{endpoint.ports[1]}/v2"
        try:
            async with aiohttp.ClientSession(timeout=ANSWER) as session:
                there = await self._backend_processes.are_there(session, url, endpoint.pid)
        except FAILURES:
            return False
        if not there:
            raise ServerError("lost the backend process of a model")
        return True

    def progress(self, line: str) -> str | None:
        if (why := unread(line)) is not None:
            raise ServerError(f"triton cannot read {why}")
        loaded = LOADED.search(line)
        return f"{loaded[1]} is loaded" if loaded else None


def running_url(repository: Path, state_dir: Path) -> str | None:
    """host:port of the gRPC endpoint of the embedded Triton that serves this repository now, whoever keeps it."""
    claim = Claim(state_dir.resolve(), TritonKind.name)
    found = claim.read()
    if found is None or found.serving != str(repository.resolve()):
        return None
    free = claim.take()
    if free is None:
        return f"{ADDRESS}:{found.ports[0]}"
    os.close(free)
    return None


def unread_by_running(state_dir: Path, model: str) -> str | None:
    """Why the embedded Triton of a state folder cannot read a model at present, if it cannot."""
    return unread_now(log_of(state_dir, TritonKind.name), model, MODELS)


def shared_memory_prefix(state_dir: Path) -> str:
    """How the names begin in /dev/shm: the same at every start, so that a start clears up after a crash."""
    return f"fess-{hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:12]}-"


def check_repository(repository: Path) -> None:
    """Raises ServerError unless every ONNX model there has its file; Triton itself would tell it less plainly."""
    configs = sorted(repository.glob("*/config.pbtxt"))
    if not configs:
        raise ServerError(
            f"{repository} holds no models: run `fess models fetch`, or set TRITON_MODEL_REPOSITORY"
        )
    for folder in (repository, *(config.parent for config in configs)):
        if (why := versions.unreadable(folder)) is not None:
            raise ServerError(why)
    for config in configs:
        if not MODEL_NAME.fullmatch(config.parent.name):
            raise ServerError(
                f"{config.parent}: a model's name may hold letters, digits, '_', '.' and '-'"
            )
    missing = [
        config.parent.name
        for config in configs
        if OURS.search(config.read_text(encoding="utf-8"))
        and not any(config.parent.glob("[0-9]*/model.onnx"))
    ]
    if missing:
        raise ServerError(
            f"no model file for {', '.join(missing)} in {repository}: run `fess models fetch`"
        )


def check_shared_memory(folder: Path = SHARED_MEMORY) -> None:
    """Raises ServerError unless there is room for what Triton and its backends tell each other."""
    try:
        there = os.statvfs(folder)
    except OSError as error:
        raise ServerError(f"{folder}, which Triton needs: {error.strerror}") from error
    free = there.f_bavail * there.f_frsize >> 20
    if free < LEAST_SHARED_MB:
        raise ServerError(
            f"{folder} has {free} MB free, Triton's backends need {LEAST_SHARED_MB}: make it larger "
            f"(`mount -o remount,size=256m {folder}`; a container: --shm-size=256m)"
        )
