"""Triton's `onnxruntime` backend for the server from the wheel, which has only the Python backend.

Triton loads this file into a process of its own for every model instance whose configuration says
`backend: "onnxruntime"`. It runs one `InferenceSession.run` for each batch that Triton formed.
See docs/decisions/0003-embedded-servers.md.
"""

import ctypes
import hashlib
import importlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

NICE = 10


def _stepping_back(work: Callable[[], T]) -> T:
    """Do it at a lower priority, for cameras may be running that want the cores.

    In a thread that ends with it, as no privilege is needed to lower a thread's priority, but to raise it again.
    """
    with ThreadPoolExecutor(1, initializer=os.nice, initargs=(NICE,)) as thread:
        return thread.submit(work).result()


# A fifth of what a load costs. The imports below then find it done.
_stepping_back(lambda: importlib.import_module("onnxruntime"))

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402 - only inside Triton's stub, untyped: hence Any
from numpy.typing import NDArray  # noqa: E402

Array = NDArray[Any]  # its dtype is the model's

CONSUMED = ctypes.c_char_p(b"used_dltensor")
TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(uint8)": "TYPE_UINT8",
}
ACCELERATORS = {"tensorrt": "TensorrtExecutionProvider", "openvino": "OpenVINOExecutionProvider"}
OPENVINO_TYPES = {
    "u8": "tensor(uint8)",
    "i32": "tensor(int32)",
    "i64": "tensor(int64)",
    "f32": "tensor(float)",
}


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Add nothing: Triton does not say here where the model's file is, so the configuration must be whole."""
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        file_name = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / file_name
        providers = _providers(config, args)

        def make() -> Any:
            model = _vouched(path)
            if "openvino" in providers:
                return OpenVino(model, config, args["model_name"])
            return _session(model, config, providers)

        # Threads of the model's own inherit the priority of whoever starts them, and would keep it.
        alone = _parameter(config, "intra_op_thread_count", 1) == 1
        self._session: Any = _stepping_back(make) if alone else make()
        _require_signature(config, self._session)
        self._inputs = [each["name"] for each in config["input"]]
        self._outputs = [each["name"] for each in config["output"]]
        self._batches = config.get("max_batch_size", 0) > 0
        # Triton runs these before it lets anybody else ask, each as a batch of its own.
        warm_ups = sum(each.get("count") or 1 for each in config.get("model_warmup", ()))
        self._warm_ups = warm_ups if alone else 0

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer every request; a batch that fails is an error to each of its requests, and no more."""
        if self._warm_ups:
            self._warm_ups -= 1
            return _stepping_back(lambda: self._execute(requests))
        return self._execute(requests)

    def _execute(self, requests: Sequence[Any]) -> list[Any]:
        if not self._batches:
            return [response for request in requests for response in self._answer([request])]
        return self._answer(requests)

    def finalize(self) -> None:
        del self._session

    def _answer(self, requests: Sequence[Any]) -> list[Any]:
        try:
            return self._run(requests)
        except Exception as error:
            # Whatever it was, the requests must be answered: an exception would leave it to Triton, which
            # reports it, too, but as a traceback of this file.
            failure = pb_utils.TritonError(f"{type(error).__name__}: {error}")
            return [pb_utils.InferenceResponse(error=failure) for _ in requests]

    def _run(self, requests: Sequence[Any]) -> list[Any]:
        parts = {name: [_input(request, name) for request in requests] for name in self._inputs}
        rows = [len(part) if part.ndim else 1 for part in parts[self._inputs[0]]]
        wanted = {name for request in requests for name in request.requested_output_names()}
        names = [name for name in self._outputs if name in wanted]
        feed = {
            name: part[0] if len(part) == 1 else np.concatenate(part)
            for name, part in parts.items()
        }
        results = dict(zip(names, self._session.run(names, feed), strict=True))
        responses = []
        start = 0
        for request, count in zip(requests, rows, strict=True):
            asked = request.requested_output_names()
            tensors = [
                _output(name, whole if len(requests) == 1 else whole[start : start + count])
                for name, whole in results.items()
                if name in asked
            ]
            responses.append(pb_utils.InferenceResponse(tensors))
            start += count
        return responses


def _vouched(path: Path) -> bytes:
    """The model, if its note names these bytes: what is put there by hand came past no gate (`export/vouched.py`)."""
    if path.is_symlink():
        raise pb_utils.TritonModelException(f"{path}: is a symbolic link, a model must be a file")
    model, note = path.read_bytes(), path.with_name("provenance.json")
    try:
        digest = json.loads(note.read_bytes())["result_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise pb_utils.TritonModelException(
            f"no {note.name} vouches for it; if it is yours, `fess models add {path.resolve()}` makes a version of it"
        ) from error
    if hashlib.sha256(model).hexdigest() != digest:
        raise pb_utils.TritonModelException(
            f"{path.resolve()} is not what {note.name} names: fetch, export or add it anew, or `fess models rollback`"
        )
    return model


def _require_signature(config: dict[str, Any], session: Any) -> None:
    """Refuse a file that is not what its configuration says, as NVIDIA's backend does: the version before goes on."""
    batch = 1 if config.get("max_batch_size", 0) > 0 else 0
    for kind, nodes in (("input", session.get_inputs()), ("output", session.get_outputs())):
        there = {node.name: (TYPES.get(node.type), node.shape[batch:]) for node in nodes}
        said = {
            each["name"]: (each["data_type"], [int(d) for d in each["dims"]])
            for each in config[kind]
        }
        strange = set(said) - set(there) if kind == "output" else set(said) ^ set(there)
        strange |= {name for name in set(said) & set(there) if not _fits(said[name], there[name])}
        if strange:
            raise pb_utils.TritonModelException(
                f"{config['name']}: {kind} {', '.join(sorted(strange))}: config.pbtxt says {said}, the file {there}"
            )


def _fits(said: tuple[str, list[int]], there: tuple[str | None, list[Any]]) -> bool:
    """Whether types and dimensions agree; -1 and a dimension without a number may be anything."""
    return (
        there[0] in (None, said[0])
        and len(said[1]) == len(there[1])
        and all(
            a in (-1, b) or not isinstance(b, int) for a, b in zip(said[1], there[1], strict=True)
        )
    )


class Node(NamedTuple):
    """An input or output, as ONNX Runtime describes it; None for a dimension that is free."""

    name: str
    type: str
    shape: list[int | None]


def _nodes(ports: Sequence[Any]) -> list[Node]:
    """Ports of OpenVINO, under each of their names."""
    return [
        Node(
            name,
            OPENVINO_TYPES.get(port.get_element_type().get_type_name(), ""),
            [each.get_length() if each.is_static else None for each in port.get_partial_shape()],
        )
        for port in ports
        for name in port.get_names()
    ]


class OpenVino:
    """A model under OpenVINO itself, for an ONNX Runtime that was built without it. Looks like a session of that."""

    def __init__(self, model: bytes, config: dict[str, Any], name: str) -> None:
        try:
            import openvino
        except ImportError as error:
            raise pb_utils.TritonModelException(
                f"{name}: its configuration asks for OpenVINO, which is not installed: run `make openvino`, or take "
                "cpu_execution_accelerator out of its config.pbtxt"
            ) from error
        core = openvino.Core()
        options = {
            "INFERENCE_NUM_THREADS": _parameter(config, "intra_op_thread_count", 1),
            "NUM_STREAMS": 1,
            # Instances are processes that know nothing of each other: all would be pinned to the same core.
            "ENABLE_CPU_PINNING": False,
            # float32 as it is written: where a processor has bfloat16, that would be taken instead.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._model = core.compile_model(core.read_model(model, b""), "CPU", options)
        self._request = self._model.create_infer_request()

    def get_inputs(self) -> list[Node]:
        return _nodes(self._model.inputs)

    def get_outputs(self) -> list[Node]:
        return _nodes(self._model.outputs)

    def run(self, names: Sequence[str], feed: dict[str, Array]) -> list[Array]:
        found = self._request.infer(feed)
        return [found[name] for name in names]


def _session(model: bytes, config: dict[str, Any], providers: list[Any]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _parameter(config, "intra_op_thread_count", 1)
    options.inter_op_num_threads = _parameter(config, "inter_op_thread_count", 1)
    # Threads that wait for work by spinning would take the cores from the decoders.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Without VNNI, sums of 8-bit products would be cut off at 16 bits (docs/decisions/0016-fewer-bits.md).
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(model, options, providers=providers)


def _input(request: Any, name: str) -> Array:
    """View the input where Triton's shared memory holds it.

    By DLPack, because the stub's own `as_numpy` was built against numpy 1 and reads garbage from numpy 2.
    """
    return np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name))


def _output(name: str, array: Array) -> Any:
    """Hand an output over by DLPack, for the same reason."""
    capsule = np.ascontiguousarray(array).__dlpack__()
    tensor = pb_utils.Tensor.from_dlpack(name, capsule)
    # The stub marks the capsule as consumed under a name of its own; numpy then complains of it at
    # every inference, on stderr. Give it the name that the protocol says.
    ctypes.pythonapi.PyCapsule_SetName(ctypes.py_object(capsule), CONSUMED)
    return tensor


def _parameter(config: dict[str, Any], name: str, default: int) -> int:
    value = config.get("parameters", {}).get(name, {}).get("string_value")
    return int(value) if value else default


def _providers(config: dict[str, Any], args: dict[str, str]) -> list[Any]:
    """ONNX Runtime's execution providers, best first, for the instance's kind and the device asked for.

    Or `openvino` alone, where the configuration asks for it and ONNX Runtime has no provider of it.
    """
    available = onnxruntime.get_available_providers()
    device = os.environ.get("FESS_TRITON_DEVICE", "auto")
    on_gpu = device == "gpu" or (device == "auto" and args["model_instance_kind"] == "GPU")
    if device == "gpu" and "CUDAExecutionProvider" not in available:
        raise pb_utils.TritonModelException(
            "DETECTOR_DEVICE=gpu, but this ONNX Runtime has no CUDA: install fess[embedded-gpu]"
        )
    chosen: list[Any] = []
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    key = "gpu_execution_accelerator" if on_gpu else "cpu_execution_accelerator"
    for accelerator in accelerators.get(key, []):
        provider = ACCELERATORS.get(accelerator["name"])
        if provider in available:
            chosen.append(provider)
        elif accelerator["name"] == "openvino":
            return ["openvino"]
        else:
            pb_utils.Logger.log_warn(
                f"{args['model_name']}: this ONNX Runtime has no {accelerator['name']} accelerator; without it"
            )
    if on_gpu and "CUDAExecutionProvider" in available:
        device_id = args.get("model_instance_device_id", "0")
        chosen.append(("CUDAExecutionProvider", {"device_id": device_id}))
    return [*chosen, "CPUExecutionProvider"]
