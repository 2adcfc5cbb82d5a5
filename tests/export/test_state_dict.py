"""Reading PyTorch's old format: numbers come out, and a pickle that wants anything else is named, never carried out."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from export.state_dict import Tensors, read
from orchestrator.errors import ModelError
from tests.export.checkpoints import Bomb
from tests.export.state_dicts import (
    MACHINE,
    MAGIC,
    ORDERED_DICT,
    as_state_dict,
    name,
    number,
    saved,
    storage,
    tensor,
    text,
    written,
)

KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
COUNTER = np.array(7, np.int64)
HONEST = saved({"a.weight": KERNEL, "a.num_batches_tracked": COUNTER})
PATH = Path("weights.pt")
FOUR = np.arange(4, dtype=np.float32)


def of(content: bytes) -> Tensors:
    return read(content, PATH)


def one(opcodes: bytes, **changes: object) -> bytes:
    """A file with a single tensor, made by these opcodes, and a storage of four numbers."""
    return written({"a": opcodes}, {"k": FOUR}, **changes)  # type: ignore[arg-type]


def test_tensors_come_out_by_name_with_shape_type_and_numbers() -> None:
    found = of(HONEST)
    assert list(found) == ["a.weight", "a.num_batches_tracked"]
    np.testing.assert_array_equal(found["a.weight"], KERNEL)
    assert found["a.weight"].dtype == np.float32
    assert (found["a.num_batches_tracked"].shape, found["a.num_batches_tracked"].item()) == ((), 7)


def test_two_tensors_may_look_into_one_storage() -> None:
    tensors = {"a": tensor("k", [2], count=4), "b": tensor("k", [1, 2], count=4, offset=2)}
    found = of(written(tensors, {"k": FOUR}))
    assert (found["a"].tolist(), found["b"].tolist()) == ([0, 1], [[2, 3]])


def test_a_dimension_of_one_may_have_any_stride() -> None:
    assert of(one(tensor("k", [4, 1], strides=[1, 9])))["a"].shape == (4, 1)


def refused(content: bytes, reason: str) -> None:
    with pytest.raises(ModelError, match=rf"weights\.pt: cannot be read as a state .*{reason}"):
        of(content)


@pytest.mark.parametrize("size", [*range(0, len(HONEST), 13), len(HONEST) - 1])
def test_a_file_that_is_cut_short_is_refused(size: int) -> None:
    refused(HONEST[:size], "")


def test_a_file_that_goes_on_is_refused() -> None:
    refused(HONEST + b"x", "it goes on behind its last storage")


def test_damage_is_refused_or_changes_numbers_but_never_ends_in_another_error() -> None:
    for position in range(len(HONEST)):
        for value in (0, 0x2E, 0x52, 0xFF):
            harmed = HONEST[:position] + bytes([value]) + HONEST[position + 1 :]
            try:
                assert of(harmed)
            except ModelError:
                continue


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_something_is_named_and_not_run(
    position: int, protocol: int, tmp_path: Path
) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "run"), protocol)
    head = [pickle.dumps(each, 2) for each in (MAGIC, 1001, MACHINE)]
    parts = [*head, as_state_dict(b""), pickle.dumps([], 2)]
    parts[position] = bomb
    refused(b"".join(parts), "(it asks for posix.system|instruction)")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("opcodes", "reason"),
    [
        (name("posix", "system") + b"(" + text("true") + b"tR", "it asks for posix.system"),
        (name("torch", "HalfStorage"), "it asks for torch.HalfStorage"),
        (name("collections", "OrderedDict") + b"(" + text("a") + b"tR", "puts something together"),
        (text("a") + b")R", "puts something together"),
        (ORDERED_DICT, "a is no tensor"),
        (number(1), "a is no tensor"),
        (b"Vplain\n", "no state dict holds the instruction UNICODE"),
        (b"h\x09", "9"),
        (b"0" * 9, "no state dict holds the instruction POP"),
        (b"(" + text("module") + b"tQ", "refers to something that is no storage"),
        (storage("k", 4, "FloatStorage"), "a is no tensor"),
        (text("k") + text("k") + b"s", "sets items of something that is no dictionary"),
        (b"]" + text("k") + b"a", "a is no tensor"),
        (b"}" + text("k") + b"a", "appends to something that is no list"),
        (b"}" + number(1) + number(1) + b"s", "something else than names"),
    ],
)
def test_what_no_state_dict_holds_is_named(opcodes: bytes, reason: str) -> None:
    refused(one(opcodes), reason)


def test_a_name_that_is_there_twice_is_refused() -> None:
    twice = text("a") + tensor("k", [4])
    refused(one(tensor("k", [4]), framed=lambda items: as_state_dict(items + twice)), "twice")


@pytest.mark.parametrize(
    ("opcodes", "reason"),
    [
        (tensor("k", [5], count=4), "reaches beyond its 4 numbers"),
        (tensor("k", [4], offset=1), "reaches beyond"),
        (tensor("k", [2], offset=-1, count=4), "reaches beyond"),
        (tensor("k", [2**31 - 1] * 4, count=4, strides=[1] * 4), "reaches beyond"),
        (tensor("k", [-1], count=4), "no shape of at most four dimensions"),
        (tensor("k", [1] * 5, count=4), "no shape of at most four dimensions"),
        (tensor("k", [2, 2], strides=[1, 2]), "does not lie row by row"),
        (tensor("k", [4], strides=[0]), "does not lie row by row"),
        (tensor("k", [4], strides=[1, 1]), "zip"),
        (tensor("k", [4], count=2**31 - 1), "not where it should be"),
        (tensor("k", [4], count=5), "not where it should be"),
        (tensor("k", [0], count=-1), "reaches beyond"),
        (tensor("k", [4], kind="LongStorage"), "ends after 16 of the 32 bytes"),
        (tensor("other", [4]), "its storages are not those of its tensors"),
    ],
)
def test_a_tensor_that_is_not_in_its_storage_is_refused(opcodes: bytes, reason: str) -> None:
    refused(one(opcodes), reason)


def test_tensors_must_agree_about_their_storage() -> None:
    tensors = {"a": tensor("k", [4]), "b": tensor("k", [2], kind="LongStorage")}
    refused(written(tensors, {"k": FOUR}), "do not agree about their storage")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04" + HONEST,
        b"<html>log in first</html>",
        pickle.dumps({"a": 1}, 2) * 5,
        one(tensor("k", [4]), magic=1),
        one(tensor("k", [4]), protocol=1002),
        one(tensor("k", [4]), machine={"little_endian": False}),
        one(tensor("k", [4]), machine=[]),
        one(tensor("k", [4]), framed=lambda _: pickle.dumps([], 2)),
        one(tensor("k", [4]), framed=lambda _: b"\x80\x02."),
    ],
)
def test_another_format_is_refused(content: bytes) -> None:
    refused(content, "")


def test_deep_nesting_is_refused_like_everything_else() -> None:
    refused(one(b")" + b"\x85" * 200_000), "a is no tensor")
