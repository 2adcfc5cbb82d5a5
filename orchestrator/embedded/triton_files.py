"""The parts of Triton in the nvidia-pytriton wheel, put together as its server wants them."""

import importlib.util
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orchestrator.errors import ServerError

BACKEND_MODEL = Path(__file__).with_name("onnxruntime_backend") / "model.py"
INSTEAD = "or name a Triton of yours in TRITON_URL"


@dataclass(frozen=True, slots=True)
class TritonFiles:
    """Where the server and its backends lie.

    libraries  folders of the shared libraries that the server and its stubs need
    """

    server: Path
    python_backend: Path
    stub: Path
    libraries: tuple[Path, ...]

    @classmethod
    def find(cls) -> Self:
        """Look for the wheel without importing it. Raises ServerError with the mend."""
        spec = importlib.util.find_spec("pytriton")
        if spec is None or spec.origin is None:
            raise ServerError(
                "the Triton server is not installed: run `make setup`, "
                f"or `pip install --no-deps -r requirements/triton.txt`, {INSTEAD}"
            )
        package = Path(spec.origin).parent
        root = package / "tritonserver"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
        if not stub.is_file():
            raise ServerError(f"this Triton has no stub for Python {version}: use 3.11, {INSTEAD}")
        return cls(
            server=root / "bin" / "tritonserver",
            python_backend=root / "backends" / "python",
            stub=stub,
            libraries=(package.parent / "nvidia_pytriton.libs", _python_library_folder()),
        )

    def assemble(self, folder: Path) -> None:
        """Fill a backend folder: the Python backend with the stub of our Python, and our `onnxruntime`.

        Copies, because Triton refuses a backend library that is a link to somewhere else.
        Raises ServerError if it cannot be written.
        """
        try:
            shutil.rmtree(folder, ignore_errors=True)
            for name in ("python", "onnxruntime"):
                (folder / name).mkdir(parents=True)
            for source in self.python_backend.iterdir():
                if source.is_file():
                    shutil.copy2(source, folder / "python")
            shutil.copy2(self.stub, folder / "python")
            shutil.copy2(BACKEND_MODEL, folder / "onnxruntime")
        except OSError as error:
            reason = error.strerror or "not every file could be copied"  # shutil names each file
            raise ServerError(
                f"{folder} cannot be written: {reason}; make room there, or choose another folder with STATE_DIR"
            ) from error

    def environment(self) -> dict[str, str]:
        """Variables under which the server finds its libraries and the stubs find our site-packages."""
        libraries = [str(folder) for folder in self.libraries]
        libraries += filter(None, [os.environ.get("LD_LIBRARY_PATH")])
        # The interpreter inside a stub takes its site-packages from the `python3` it meets on PATH.
        path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        return {"LD_LIBRARY_PATH": os.pathsep.join(libraries), "PATH": os.pathsep.join(path)}


def _python_library_folder() -> Path:
    names = [sysconfig.get_config_var("INSTSONAME"), sysconfig.get_config_var("LDLIBRARY")]
    folders = [sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib"]
    multiarch = sysconfig.get_config_var("MULTIARCH")
    folders += [f"/usr/lib/{multiarch}", f"/lib/{multiarch}"]
    for folder in folders:
        for name in names:
            if folder and name and ".so" in name and (Path(folder) / name).is_file():
                return Path(folder)
    raise ServerError(
        "this Python has no shared library (libpython), which Triton's Python backend needs: "
        f"use a Python built with --enable-shared (Debian: apt install libpython3.11), {INSTEAD}"
    )
