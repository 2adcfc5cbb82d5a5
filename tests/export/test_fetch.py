"""Fetching from a mirror folder: nothing gets its final name that both the mirror and the manifest do not vouch for."""

import asyncio
import multiprocessing
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.errors import ModelError
from tests.export.store import CONTENT, MEND, fetched, item, left_in, mirror


async def test_a_file_comes_from_the_mirror_and_its_licence_is_shown(tmp_path: Path) -> None:
    paths, shown = await fetched([item()], tmp_path / "store", source=mirror(tmp_path / "mirror"))
    assert [path.read_bytes() for path in paths] == [CONTENT]
    assert "weights.onnx  licence Apache-2.0  https://example.org/weights" in shown
    assert left_in(tmp_path / "store") == {"weights.onnx"}


async def test_what_is_there_is_neither_fetched_nor_mentioned_again(tmp_path: Path) -> None:
    store = tmp_path / "store"
    await fetched([item()], store, source=mirror(tmp_path / "mirror"))
    paths, shown = await fetched([item()], store, source=tmp_path / "no such mirror")
    assert paths == (store / "weights.onnx",)
    assert shown == ""


@pytest.mark.parametrize("harm", ["truncated", "flipped", "a link"])
async def test_a_damaged_file_in_the_store_is_replaced(tmp_path: Path, harm: str) -> None:
    store = tmp_path / "store"
    folder = mirror(tmp_path / "mirror")
    (path,), _ = await fetched([item()], store, source=folder)
    if harm == "truncated":
        path.write_bytes(CONTENT[:-1])
    elif harm == "flipped":
        path.write_bytes(b"\xff" + CONTENT[1:])
    else:
        path.unlink()
        path.symlink_to(folder / "weights.onnx")
    await fetched([item()], store, source=folder)
    assert not path.is_symlink()
    assert path.read_bytes() == CONTENT


async def refused(tmp_path: Path, source: Path, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as failure:
        await fetched([item()], tmp_path / "store", source=source)
    assert str(failure.value).endswith(MEND)
    assert left_in(tmp_path / "store") == set()


async def test_a_mirror_without_a_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    await refused(tmp_path, tmp_path / "mirror", "its SHA256SUMS cannot be read")


async def test_a_mirror_that_does_not_list_the_file_is_refused(tmp_path: Path) -> None:
    folder = mirror(tmp_path / "mirror")
    (folder / "SHA256SUMS").write_text("")
    await refused(tmp_path, folder, r"weights\.onnx: not listed in .*SHA256SUMS")


async def test_a_mirror_that_lacks_the_listed_file_is_refused(tmp_path: Path) -> None:
    folder = mirror(tmp_path / "mirror")
    (folder / "weights.onnx").unlink()
    await refused(tmp_path, folder, "listed in .*SHA256SUMS, but not in the folder")


async def test_a_file_that_the_mirror_itself_does_not_vouch_for_is_refused(tmp_path: Path) -> None:
    folder = mirror(tmp_path / "mirror", CONTENT, listed=b"another")
    await refused(tmp_path, folder, "does not match the mirror's own SHA256SUMS")


async def test_a_mirror_that_vouches_for_a_wrong_file_is_refused(tmp_path: Path) -> None:
    folder = mirror(tmp_path / "mirror", CONTENT[:-1])
    await refused(tmp_path, folder, "does not match the manifest: expected SHA-256")


async def test_all_that_is_missing_is_told_at_once_and_what_is_there_is_kept(
    tmp_path: Path,
) -> None:
    folder = mirror(tmp_path / "mirror")
    lost = [item().model_copy(update={"file": name}) for name in ("a.onnx", "b.onnx")]
    with pytest.raises(ModelError) as failure:
        await fetched([lost[0], item(), lost[1]], tmp_path / "store", source=folder)
    told = str(failure.value).splitlines()
    assert [line.partition(":")[0] for line in told] == ["a.onnx", "b.onnx"]
    assert told[-1].endswith(MEND)
    assert left_in(tmp_path / "store") == {"weights.onnx"}


async def test_of_a_mirror_without_a_list_every_wanted_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    things = [item().model_copy(update={"file": name}) for name in ("a.onnx", "b.onnx")]
    with pytest.raises(ModelError, match=r"(?s)a\.onnx: mirror .*b\.onnx: mirror "):
        await fetched(things, tmp_path / "store", source=tmp_path / "mirror")


async def test_a_list_in_binary_mode_is_understood(tmp_path: Path) -> None:
    folder = mirror(tmp_path / "mirror")
    sums = folder / "SHA256SUMS"
    sums.write_text(
        sums.read_text().replace("  ", " *").upper().replace("WEIGHTS.ONNX", "weights.onnx")
    )
    (path,), _ = await fetched([item()], tmp_path / "store", source=folder)
    assert path.read_bytes() == CONTENT


async def test_a_file_without_a_verified_digest_is_not_even_copied(tmp_path: Path) -> None:
    unverified = item().model_copy(update={"sha256": None})
    with pytest.raises(ModelError, match="no verified digest of weights"):
        await fetched([unverified], tmp_path / "store", source=mirror(tmp_path / "mirror"))
    assert left_in(tmp_path / "store") == set()


@contextmanager
def full_disk(free_bytes: int) -> Iterator[None]:
    """Let this process write no file beyond a size, which fails as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_is_named_and_nothing_is_left_on_it(tmp_path: Path) -> None:
    folder = mirror(tmp_path / "mirror")
    with (
        full_disk(len(CONTENT) // 2),
        pytest.raises(ModelError, match=r"weights\.onnx: the disk is full; free some space"),
    ):
        await fetched([item()], tmp_path / "store", source=folder)
    assert left_in(tmp_path / "store") == set()


async def test_a_store_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(ModelError, match="store: cannot be made"):
        await fetched([item()], tmp_path / "store", source=mirror(tmp_path / "mirror"))


def _fetch_in_process(store: Path, source: Path) -> None:
    asyncio.run(fetched([item()], store, source=source))


def test_processes_that_fetch_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    folder, store = mirror(tmp_path / "mirror"), tmp_path / "store"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_fetch_in_process, args=(store, folder)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (store / "weights.onnx").read_bytes() == CONTENT
    assert left_in(store) == {"weights.onnx"}
