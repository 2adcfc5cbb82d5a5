"""The gate for model files: what is not plain ONNX, or not what was meant, is refused with its own reason."""

import hashlib
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from export.gate import admit
from export.manifest import Tensor
from orchestrator.errors import ModelError
from tests.export.onnx_files import doubling, written

INPUT = Tensor(name="numbers", dtype="float32", shape=("n",))
OUTPUT = Tensor(name="twice", dtype="float32", shape=("n",))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_plain_model_with_the_right_digest_and_signature_is_admitted(tmp_path: Path) -> None:
    path = written(doubling(), tmp_path)
    model = admit(path, sha256=digest(path), inputs=[INPUT], outputs=[OUTPUT])
    assert [node.op_type for node in model.graph.node] == ["Mul"]


def test_the_digest_is_that_of_the_bytes_that_are_parsed(tmp_path: Path) -> None:
    path = written(doubling(), tmp_path)
    right = digest(path)
    path.write_bytes(path.read_bytes() + b"\x00")
    with pytest.raises(ModelError, match=f"wrong digest, expected SHA-256 {right}, found"):
        admit(path, sha256=right)


def test_a_symbolic_link_is_refused_even_to_the_right_file(tmp_path: Path) -> None:
    path = written(doubling(), tmp_path)
    link = tmp_path / "link.onnx"
    link.symlink_to(path)
    with pytest.raises(ModelError, match="symbolic link"):
        admit(link, sha256=digest(path))


def test_a_missing_file_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.onnx: cannot be read: No such file"):
        admit(tmp_path / "nowhere.onnx", sha256=None)


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "pipe.onnx"
    os.mkfifo(path)
    with pytest.raises(ModelError, match="not a regular file"):
        admit(path, sha256=None)


def test_a_file_larger_than_onnx_can_be_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(ModelError, match="larger than an ONNX file can be"):
        admit(path, sha256=None)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff" * 64, id="noise"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", id="a pointer to a file"),
        pytest.param(pickle.dumps({"weights": [1.0, 2.0]}), id="a pickle"),
    ],
)
def test_what_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is not an ONNX file"):
        admit(path, sha256=None)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(doubling().SerializeToString()[:-5])
    with pytest.raises(ModelError, match="is not an ONNX file"):
        admit(path, sha256=None)


def external(tensor: TensorProto, location: str) -> TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def external_initializer(model: onnx.ModelProto) -> None:
    external(model.graph.initializer[0], "../../../../etc/passwd")


def external_constant(model: onnx.ModelProto) -> None:
    value = external(numpy_helper.from_array(np.zeros(4, np.float32), "v"), "/etc/passwd")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=value))


def external_in_a_branch(model: onnx.ModelProto) -> None:
    weights = external(numpy_helper.from_array(np.zeros(4, np.float32), "w"), "weights.bin")
    branch = helper.make_graph([helper.make_node("Neg", ["w"], ["b"])], "b", [], [], [weights])
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)


def external_without_the_flag(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")


def sparse_values() -> onnx.SparseTensorProto:
    values = external(numpy_helper.from_array(np.zeros(1, np.float32), "s"), "../secret")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    return helper.make_sparse_tensor(values, indices, [4])


def sparse_initializer(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(sparse_values())


def sparse_constant(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"], sparse_value=sparse_values())
    model.graph.node.append(node)


def foreign_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Exec", ["twice"], ["z"], domain="com.example"))


def foreign_opset(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def foreign_in_a_branch(model: onnx.ModelProto) -> None:
    inner = helper.make_node("Exec", ["x"], ["b"], domain="com.example")
    branch = helper.make_graph([inner], "b", [], [])
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)


def local_function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Neg", ["a"], ["b"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("", "Mine", ["a"], ["b"], body, opsets))


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        (external_initializer, "names data outside the file"),
        (external_constant, "names data outside the file"),
        (external_in_a_branch, "names data outside the file"),
        (external_without_the_flag, "names data outside the file"),
        (sparse_initializer, "holds sparse tensors"),
        (sparse_constant, "holds sparse tensors"),
        (foreign_node, r"operators outside the ONNX standard: \['com.example'\]"),
        (foreign_opset, r"operators outside the ONNX standard: \['com.microsoft'\]"),
        (foreign_in_a_branch, r"operators outside the ONNX standard: \['com.example'\]"),
        (local_function, "local functions"),
    ],
)
def test_a_poisoned_model_is_refused_although_its_digest_is_right(
    tmp_path: Path, poison: Callable[[onnx.ModelProto], None], reason: str
) -> None:
    model = doubling()
    poison(model)
    path = written(model, tmp_path)
    with pytest.raises(ModelError, match=reason):
        admit(path, sha256=digest(path))


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(Tensor(name="digits", dtype="float32", shape=("n",)), id="name"),
        pytest.param(Tensor(name="numbers", dtype="int64", shape=("n",)), id="dtype"),
        pytest.param(Tensor(name="numbers", dtype="float32", shape=(3, "n")), id="rank"),
        pytest.param(Tensor(name="numbers", dtype="float32", shape=(4,)), id="size"),
    ],
)
def test_a_model_of_another_signature_is_refused_and_both_are_shown(
    tmp_path: Path, wrong: Tensor
) -> None:
    path = written(doubling(), tmp_path)
    found = r"found numbers float32 \['n'\]"
    with pytest.raises(ModelError, match=f"wrong inputs, expected .*{wrong.name}.*, {found}"):
        admit(path, sha256=None, inputs=[wrong], outputs=[OUTPUT])


def test_outputs_are_compared_as_well(tmp_path: Path) -> None:
    path = written(doubling(), tmp_path)
    with pytest.raises(ModelError, match="wrong outputs"):
        admit(path, sha256=None, inputs=[INPUT], outputs=[OUTPUT, OUTPUT])


@settings(deadline=None, max_examples=300)
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6))
def test_any_damage_is_either_harmless_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(doubling().SerializeToString())
    for place, value in changes:
        content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content)
    model: onnx.ModelProto | None = None
    with suppress(ModelError):
        model = admit(path, sha256=None, inputs=[INPUT], outputs=[OUTPUT])
    assert model is None or [value.name for value in model.graph.output] == ["twice"]
