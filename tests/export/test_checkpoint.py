"""A checkpoint is looked at before anything opens it: weights pass, whatever would run something does not."""

import io
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from export.checkpoint import inspect, obtain
from export.install import Places
from export.manifest import Manifest, load
from export.rtmdet import named
from export.transfer import digest_of
from orchestrator.errors import ModelError
from tests.export.checkpoints import Bomb, Named, archived, pickled, streamed, tensor, trained

Write = Callable[[bytes, Path], Path]
both = pytest.mark.parametrize("write", [archived, streamed])


@both
def test_what_a_training_leaves_is_weights(write: Write, tmp_path: Path) -> None:
    path = write(pickled(trained()), tmp_path / "epoch_3.pth")
    inspect(path)
    assert path.is_file()


@both
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_bomb_is_refused_and_does_not_go_off(write: Write, protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "it ran"
    content = {"state_dict": {"weight": Bomb(tmp_path / "it\\ ran")}}
    path = write(pickle.dumps(content, protocol), tmp_path / "bomb.pth")
    with pytest.raises(ModelError, match="is more than weights"):
        inspect(path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(content, protocol))
    assert marker.exists(), "the bomb would have gone off"


@pytest.mark.parametrize(
    ("module", "attribute"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("torch.hub", "load"),
        ("torch._utils", "_import_dotted_name"),
        ("torch.storage", "_load_from_bytes"),
        ("numpy", "load"),
        ("mmengine.config.config", "Config.fromfile"),
        ("torch.FloatStorage", "from_file"),
    ],
)
def test_the_name_that_would_be_run_is_told(module: str, attribute: str, tmp_path: Path) -> None:
    hostile = {"state_dict": {"weight": tensor()}, "meta": Named(module, attribute, "x")}
    path = archived(pickled(hostile), tmp_path / "hostile.pth")
    wanted = f"{module}.{attribute}".replace("__builtin__", "builtins")
    with pytest.raises(ModelError, match=wanted):
        inspect(path)


def test_a_bomb_behind_the_weights_of_an_old_file_is_found(tmp_path: Path) -> None:
    path = streamed(pickled(trained()), tmp_path / "old.pth")
    start = path.read_bytes().index(pickle.dumps(["0"], 2))
    path.write_bytes(path.read_bytes()[:start] + pickle.dumps(Bomb(tmp_path / "ran"), 2))
    with pytest.raises(ModelError, match=r"posix\.system"):
        inspect(path)


def test_what_is_packed_could_be_of_any_size_and_is_refused(tmp_path: Path) -> None:
    path = archived(pickled(trained()), tmp_path / "a.pth", compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="is compressed"):
        inspect(path)


def test_a_second_pickle_in_the_archive_is_refused(tmp_path: Path) -> None:
    path = archived(pickled(trained()), tmp_path / "two.pth")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", pickled({}))
    with pytest.raises(ModelError, match=r"expected one data\.pkl"):
        inspect(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", b"\x80\x02", b"PK\x03\x04 broken", bytes(1000), b"\xff" * 64],
)
def test_garbage_is_told_as_such(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "garbage.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
        inspect(path)


def test_a_file_that_is_cut_off_is_told_as_such(tmp_path: Path) -> None:
    path = archived(pickled(trained()), tmp_path / "cut.pth")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="not a zip file; it is cut off"):
        inspect(path)


def test_a_bomb_before_an_honest_archive_is_found(tmp_path: Path) -> None:
    honest = archived(pickled(trained()), tmp_path / "honest.pth").read_bytes()
    path = streamed(pickled({"state_dict": Bomb(tmp_path / "ran")}), tmp_path / "both.pth")
    path.write_bytes(path.read_bytes() + honest)
    assert zipfile.is_zipfile(path)
    with pytest.raises(ModelError, match=r"posix\.system"):
        inspect(path)


def test_what_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not there"):
        inspect(tmp_path / "nothing.pth")


def places(folder: Path) -> Places:
    return Places(folder / "repository", folder / "store", None)


def silent() -> Console:
    return Console(file=io.StringIO())


async def test_an_own_checkpoint_is_known_by_its_digest(tmp_path: Path) -> None:
    path = archived(pickled(trained()), tmp_path / "mine.pth")
    got = await obtain(named("rtmdet-s"), path, places(tmp_path), silent())
    assert (got.path, got.sha256) == (path, digest_of(path))


def listing(**changes: object) -> Callable[[], Manifest]:
    """The manifest with an RTMDet-tiny that is told of differently, and has no address."""
    known = load().model("rtmdet_tiny_coco_640")
    return lambda: Manifest(models=(known.model_copy(update={"sources": (), **changes}),))


async def test_the_public_checkpoint_of_a_network_is_fetched_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = load().model("rtmdet_tiny_coco_640").file
    (tmp_path / "mirror").mkdir()
    there = archived(pickled(trained()), tmp_path / "mirror" / name)
    (there.parent / "SHA256SUMS").write_text(f"{digest_of(there)}  {name}\n")
    given = listing(sha256=digest_of(there), size=there.stat().st_size)
    monkeypatch.setattr("export.checkpoint.load", given)

    where = replace(places(tmp_path), mirror=there.parent)
    got = await obtain(named("rtmdet-tiny"), None, where, silent())
    assert (got.sha256, got.licence) == (digest_of(there), "Apache-2.0")
    assert got.path.read_bytes() == there.read_bytes()


async def test_a_public_checkpoint_without_a_verified_digest_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.checkpoint.load", listing(sha256=None))
    with pytest.raises(ModelError, match=r"no verified digest.*CHECKPOINT=path"):
        await obtain(named("rtmdet-tiny"), None, places(tmp_path), silent())


async def test_a_network_without_public_checkpoint_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no public checkpoint is known"):
        await obtain(named("rtmdet-x"), None, places(tmp_path), silent())
