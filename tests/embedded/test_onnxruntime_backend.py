"""Our backend loads beside running cameras: it steps back for them, and what answers later is no slower for it."""

import hashlib
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from orchestrator.embedded.triton_files import BACKEND_MODEL

# Stands in for ONNX Runtime, and notes the priority at which it was imported, made a session, and ran.
RUNTIME = """\
import os
from types import SimpleNamespace

SEEN = []

def see(what):
    SEEN.append((what, os.getpriority(os.PRIO_PROCESS, 0)))

def get_available_providers():
    return ["CPUExecutionProvider"]

class SessionOptions:
    def add_session_config_entry(self, key, value):
        pass

class InferenceSession:
    def __init__(self, path, options, providers):
        see("session")

    def get_inputs(self):
        return [SimpleNamespace(name="digits", type="tensor(int32)", shape=["n", 4])]

    def get_outputs(self):
        return [SimpleNamespace(name="sum", type="tensor(int32)", shape=["n", 1])]

    def run(self, names, feed):
        see("run")
        if feed["digits"].max() > 9:
            raise ValueError("not a digit")
        return [feed["digits"].sum(axis=1, keepdims=True)]

see("import")
"""
USUAL = os.getpriority(os.PRIO_PROCESS, 0)
LOW = min(USUAL + 10, 19)


@dataclass
class Backend:
    """A version as Triton's stub loads it. `seen`: what ONNX Runtime did, at which priority."""

    model: Any
    seen: list[tuple[str, int]]

    def ask(self, digit: int = 1) -> Any:
        request = SimpleNamespace(
            digits=np.full((1, 4), digit), requested_output_names=lambda: ["sum"]
        )
        (answer,) = self.model.execute([request])
        return answer


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Backend]:
    triton = ModuleType("triton_python_backend_utils")
    triton.__dict__.update(
        get_input_tensor_by_name=lambda request, name: request.digits,
        InferenceResponse=lambda tensors=None, error=None: error or tensors,
        TritonError=str,
        Tensor=SimpleNamespace(from_dlpack=lambda name, capsule: name),
    )
    monkeypatch.setitem(sys.modules, triton.__name__, triton)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    (tmp_path / "onnxruntime.py").write_text(RUNTIME, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(b"")
    note = json.dumps({"result_sha256": hashlib.sha256(b"").hexdigest()})
    (tmp_path / "1" / "provenance.json").write_text(note, encoding="utf-8")

    def load(threads: int = 1, **config: object) -> Backend:
        spec = importlib.util.spec_from_file_location("model", BACKEND_MODEL)
        assert spec is not None
        assert spec.loader is not None
        backend = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(backend)
        told = {
            "name": "tiny",
            "max_batch_size": 8,
            "input": [{"name": "digits", "data_type": "TYPE_INT32", "dims": ["4"]}],
            "output": [{"name": "sum", "data_type": "TYPE_INT32", "dims": ["1"]}],
            "parameters": {"intra_op_thread_count": {"string_value": str(threads)}},
        } | config
        model = backend.TritonPythonModel()
        model.initialize(
            {
                "model_config": json.dumps(told),
                "model_name": "tiny",
                "model_repository": str(tmp_path),
                "model_version": "1",
                "model_instance_kind": "CPU",
            }
        )
        return Backend(model, backend.onnxruntime.SEEN)

    return load


def test_a_version_is_loaded_at_a_low_priority_and_answers_at_the_usual_one(
    load: Callable[..., Backend],
) -> None:
    backend = load()
    backend.ask()
    assert backend.seen == [("import", LOW), ("session", LOW), ("run", USUAL)]


def test_so_is_it_warmed_up(load: Callable[..., Backend]) -> None:
    """Triton runs as many batches as the configuration says before anybody else may ask."""
    samples = [{"name": "batch of 1", "count": 0}, {"name": "batch of 8", "count": 2}]
    backend = load(model_warmup=samples)
    for _ in range(5):
        backend.ask()
    assert backend.seen[2:] == [("run", LOW)] * 3 + [("run", USUAL)] * 2


def test_a_batch_that_fails_while_it_is_warmed_up_is_answered_too(
    load: Callable[..., Backend],
) -> None:
    backend = load(model_warmup=[{"name": "batch of 1"}])
    assert backend.ask(10) == "ValueError: not a digit"
    assert backend.ask(1) == ["sum"]


def test_a_model_with_threads_of_its_own_is_loaded_at_the_usual_priority(
    load: Callable[..., Backend],
) -> None:
    """They inherit that of whoever starts them, answer with it, and without a privilege it cannot be raised again."""
    backend = load(threads=2, model_warmup=[{"name": "batch of 1"}])
    backend.ask()
    assert backend.seen == [("import", LOW), ("session", USUAL), ("run", USUAL)]


def test_the_thread_that_loads_ends(load: Callable[..., Backend]) -> None:
    before = set(threading.enumerate())
    load(model_warmup=[{"name": "batch of 1"}]).ask()
    assert set(threading.enumerate()) == before
