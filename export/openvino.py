"""A model under OpenVINO, for the proof of what a server that uses it will answer."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import ModelError

MISSING = "OpenVINO is not installed: run `make openvino`, or export without ACCELERATOR=openvino"


def require() -> None:
    """Raises ModelError where it is missing."""
    if importlib.util.find_spec("openvino") is None:
        raise ModelError(MISSING)


class Session:
    """Answers as an ONNX Runtime session does. Raises ModelError where it is missing or refuses the file.

    threads  0: as many as there are processors
    """

    def __init__(self, model: Path, threads: int) -> None:
        require()
        import openvino

        core = openvino.Core()
        # float32 as it is written: some processors would be given bfloat16.
        options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        try:
            compiled = core.compile_model(core.read_model(str(model)), "CPU", options)
        except RuntimeError as error:
            raise ModelError(f"{model}: OpenVINO does not load it: {error}") from error
        self._request = compiled.create_infer_request()

    def run(self, names: Sequence[str] | None, feed: Mapping[str, Any]) -> Sequence[Any]:
        """Arrays of the outputs that are named, or of all. Raises ModelError."""
        try:
            found = self._request.infer(dict(feed))
        except RuntimeError as error:
            raise ModelError(f"OpenVINO: {error}") from error
        return [found[name] for name in names] if names else list(found.values())
