"""The export environment: PyTorch, MMDetection and MMDeploy, apart from everything that runs in production.

    FOLDER/venv     the virtual environment, with a note of each step that it went through
    FOLDER/wheels   mmcv, built here from its source: minutes, so it outlives the virtual environment
    FOLDER/log.txt  what the tools said

Every package is pinned with its hashes (requirements/export.txt): docs/decisions/0011-mmdeploy-environment.md.
"""

import json
import os
import platform
import re
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

import export
from export import atomic
from export.alone import alone
from export.command import Command, run
from export.steps import Steps, digest_of_text
from export.transfer import digest_of
from orchestrator.errors import ModelError

PACKAGE = Path(export.__file__).parent
LOCK = PACKAGE.parent / "requirements" / "export.txt"
NEEDED_BYTES = 9 * 10**9
# What mmcv is compiled against; another version of these asks for another wheel.
BUILT_AGAINST = ("mmcv", "torch", "setuptools")
MENDABLE = 3


@dataclass(frozen=True, slots=True)
class Environment:
    """Where it is, and the lock file it is made from."""

    folder: Path
    lock: Path = LOCK

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def require_digest(self) -> str:
        """Digest of the lock file. Raises ModelError where there is none."""
        if not self.lock.is_file():
            raise ModelError(f"{self.lock}: is not there; the export environment is made from it")
        return digest_of(self.lock)


def set_up(environment: Environment, console: Console) -> None:
    """Make the environment, or what is missing of it. Raises ModelError."""
    with alone(environment.folder, console):
        _set_up(environment, console)


def _set_up(environment: Environment, console: Console) -> None:
    digest = environment.require_digest()
    sections = sections_of(environment.lock.read_text(encoding="utf-8"))
    mmcv = sections.pop("mmcv", None)
    if mmcv is None:
        raise ModelError(f"{environment.lock}: does not name mmcv")
    venv, wheels = environment.folder / "venv", environment.folder / "wheels"
    _make(wheels)
    python = {"python": platform.python_version(), "machine": platform.machine()}
    steps = Steps(venv, console)
    steps.carry_out(
        "virtual environment", python, [venv / "pyvenv.cfg"], lambda: _venv(environment, console)
    )
    steps.carry_out(
        "libraries",
        {"lock": digest_of_text(*sections.values())},
        [],
        lambda: _install(environment, "libraries", "".join(sections.values()), console),
    )
    against = [sections.get(name, "") for name in BUILT_AGAINST]
    built = Steps(wheels, console)
    built.carry_out(
        "mmcv wheel",
        {**python, "sources": digest_of_text(mmcv, *against)},
        [wheels / "mmcv.txt"],
        lambda: _build(environment, mmcv, wheels, console),
    )
    steps.carry_out(
        "mmcv",
        {"lock": digest, "wheel": digest_of(wheels / "mmcv.txt")},
        [],
        lambda: _install(environment, "mmcv", (wheels / "mmcv.txt").read_text(), console),
    )


def sections_of(lock: str) -> dict[str, str]:
    """The lines of each package of a lock file, hashes included, by its name."""
    parts = re.split(r"(?m)^(?=[A-Za-z0-9])", lock)
    return {part.partition("==")[0]: part for part in parts if "==" in part}


def ask(
    environment: Environment, job: dict[str, Any], folder: Path, title: str, console: Console
) -> dict[str, Any]:
    """Have a task of `export.mmdeploy` done there, and return its result.

    Raises:
        ModelError: it failed, or refused with a reason.
    """
    result = folder / f"{job['task']}.result.json"
    result.unlink(missing_ok=True)
    job_file = folder / f"{job['task']}.json"
    atomic.write(job_file, json.dumps({**job, "result": str(result)}, indent=2).encode())
    argv = [str(environment.python), "-s", "-P", "-m", "export.mmdeploy", str(job_file)]
    words = {**_bare(environment), "PYTHONPATH": str(code_in(folder))}
    command = Command(title, argv, words, folder, folder / "log.txt", MENDABLE)
    status = run(command, console)
    answer: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    if status == MENDABLE:
        raise ModelError(f"{job.get('checkpoint') or job['weights']}: {answer['refused']}")
    return answer


def _venv(environment: Environment, console: Console) -> None:
    _check_machine(environment.folder)
    venv = environment.folder / "venv"
    shutil.rmtree(venv, ignore_errors=True)
    argv = [sys.executable, "-m", "venv", str(venv)]
    run(_command(environment, "virtual environment", argv), console)


def _install(environment: Environment, title: str, lines: str, console: Console) -> None:
    wanted = environment.folder / f"{title}.txt"
    atomic.write(wanted, lines.encode())
    # Without dependencies, because the lock names all of them, and two packages pin others too narrowly.
    hashes = ["--require-hashes"] if "--hash" in lines else []
    argv = [*_pip(environment), "install", "--no-deps", *hashes, "-r", str(wanted)]
    run(_command(environment, title, argv, len(sections_of(lines)) or 1), console)


def _build(environment: Environment, mmcv: str, wheels: Path, console: Console) -> None:
    for old in wheels.glob("*.whl"):
        old.unlink()
    source = wheels / "source.txt"
    atomic.write(source, mmcv.encode())
    argv = [*_pip(environment), "wheel", "--no-deps", "--no-build-isolation", "--require-hashes"]
    argv += ["--wheel-dir", str(wheels), "-r", str(source), "-v"]
    command = _command(environment, "building mmcv (some minutes)", argv)
    run(command, console)
    (wheel,) = wheels.glob("*.whl")
    line = f"mmcv @ {wheel.resolve().as_uri()} --hash=sha256:{digest_of(wheel)}\n"
    atomic.write(wheels / "mmcv.txt", line.encode())


def _pip(environment: Environment) -> list[str]:
    return [str(environment.python), "-m", "pip", "--disable-pip-version-check"]


def _command(
    environment: Environment, title: str, argv: list[str], packages: int | None = None
) -> Command:
    """With the operator's own variables: pip may need a proxy or a certificate."""
    words = {
        **os.environ,
        # For the processor, whatever graphics cards there are: exporting needs none, and nvcc is rarely there.
        "CUDA_VISIBLE_DEVICES": "",
        "FORCE_CUDA": "0",
        "MMCV_WITH_OPS": "1",
        "MAX_JOBS": str(max(1, len(os.sched_getaffinity(0)))),
        # Python's own flags ask for debug symbols, which cost a third of the time.
        "CFLAGS": f"{os.environ.get('CFLAGS', '')} -g0".strip(),
        "PIP_PROGRESS_BAR": "off",
        "PATH": f"{environment.python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    log = environment.log
    return Command(title, argv, words, environment.folder, log, packages=packages)


def _bare(environment: Environment) -> dict[str, str]:
    """None of the operator's variables: what handles a stranger's file needs no credentials."""
    return {
        "PATH": f"{environment.python.parent}{os.pathsep}{os.defpath}",
        "HOME": str(environment.folder),
        "LANG": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": "",
        "MPLCONFIGDIR": str(environment.folder / "matplotlib"),
    }


def code_in(work: Path) -> Path:
    """A folder with this package alone: its neighbours here may be other versions of what is there.

    It is among the work files, not in the environment, which several installations may share.
    """
    folder = work / "code"
    _make(folder)
    link = folder / PACKAGE.name
    if not (link.is_symlink() and link.resolve() == PACKAGE.resolve()):
        link.unlink(missing_ok=True)
        link.symlink_to(PACKAGE, target_is_directory=True)
    return folder


def _check_machine(folder: Path) -> None:
    """Raises ModelError for what would fail after minutes."""
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise ModelError(
            f"{folder}: {free / 1e9:.1f} GB free, the export environment needs {NEEDED_BYTES / 1e9:.0f}"
        )
    if shutil.which("c++") is None and shutil.which("g++") is None:
        raise ModelError("no C++ compiler, which mmcv is built with (Debian: apt install g++)")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise ModelError(f"{header}: is not there (Debian: apt install python3-dev)")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be made: {error.strerror}") from error
