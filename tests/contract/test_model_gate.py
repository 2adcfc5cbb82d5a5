"""A version gets past the gate or is not served: the old one goes on, and the reason is told where one looks."""

import asyncio
import re
import time
from pathlib import Path

import pytest

from export import versions
from orchestrator.checking.finding import Verdict
from orchestrator.checking.servers import triton
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.errors import InferenceInvalid, ModelRefused, ServerError
from orchestrator.models import check_served
from orchestrator.settings import FacesSettings, Settings, TritonSettings
from tests.contract.test_hot_swap import SLOT, land, loaded, settings_of, swapped, until_it_fails
from tests.servers.reading_model import (
    FIRST,
    SECOND,
    config_of,
    graph_of,
    write_reading_model,
)
from tests.servers.triton import StartTriton
from tests.servers.vouching import vouch

pytestmark = pytest.mark.xdist_group("triton")

# Well before an operator, or a health check, would lose patience; a start has three minutes.
AT_ONCE_S = 60.0


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Serves FIRST."""
    return write_reading_model(tmp_path / "repository")


def put(repository: Path, number: int = 2) -> Path:
    """SECOND, as somebody would who has never heard of a gate; the configuration names it."""
    folder = repository / SLOT
    model = folder / str(number) / "model.onnx"
    model.parent.mkdir()
    model.write_bytes(graph_of(SECOND))
    beside = folder / "config.new"
    beside.write_text(versions.pinned(config_of(SECOND), number))
    beside.rename(folder / "config.pbtxt")
    return model


def changed(repository: Path) -> Path:
    """The same with a note, but the file was replaced since."""
    model = put(repository)
    vouch(model)
    model.write_bytes(graph_of(FIRST))
    return model


def linked(repository: Path) -> Path:
    model = put(repository)
    vouch(model)
    elsewhere = model.rename(repository.parent / "mine.onnx")
    model.symlink_to(elsewhere)
    return model


PAST = {
    put: r"no provenance.json vouches for it; if it is yours, `fess models add /.*/2/model.onnx`",
    changed: r"/.*/2/model.onnx is not what provenance.json names",
    linked: r"is a symbolic link",
}


@pytest.mark.parametrize(
    ("spoil", "reason"), PAST.items(), ids=lambda each: getattr(each, "__name__", "")
)
async def test_what_came_past_the_gate_is_refused_and_the_old_version_goes_on(
    start_triton: StartTriton, repository: Path, spoil: object, reason: str
) -> None:
    assert callable(spoil)
    server = start_triton(repository)
    settings = settings_of(server, repository)
    async with loaded(settings) as models:
        assert await check_served(settings, models) == 0.0
        spoil(repository)
        with pytest.raises(
            InferenceInvalid, match=rf"refused version 2: .*{reason}.*; version 1 goes on"
        ):
            await until_it_fails(lambda: check_served(settings, models))


def test_at_a_start_it_is_refused_with_the_way_in(repository: Path, tmp_path: Path) -> None:
    model = put(repository)
    with pytest.raises(ServerError, match=rf"object_detector: .*`fess models add {model}`"):
        asyncio.run(started(repository, tmp_path / "state"))


async def started(repository: Path, state_dir: Path) -> None:
    async with EmbeddedTriton(repository, state_dir):
        pass


async def test_what_another_triton_serves_past_the_gate_is_told_by_the_health_check(
    start_triton: StartTriton, repository: Path
) -> None:
    """NVIDIA's image loads whatever is there; here, what has lost its note since."""
    server = start_triton(repository)
    settings = settings_of(server, repository)
    async with loaded(settings) as models:
        note = repository / SLOT / "1" / "provenance.json"
        whole = note.read_bytes()
        note.unlink()
        with pytest.raises(InferenceInvalid, match=r"version 1 is served, but .* vouches for it"):
            await check_served(settings, models)
        note.write_bytes(whole)
        assert await check_served(settings, models) == 0.0
        model = note.with_name("model.onnx")
        model.write_bytes(model.read_bytes() + b"\0")
        with pytest.raises(InferenceInvalid, match=r"version 1 is served, but .*wrong digest"):
            await check_served(settings, models)


def a_link(repository: Path) -> str:
    (repository / SLOT / "notes").symlink_to("/nowhere/notes")
    return rf"{SLOT}/notes is a link to nothing"


def a_typing_mistake(repository: Path) -> str:
    config = repository / SLOT / "config.pbtxt"
    config.write_text(config.read_text() + "max_batch_sise: 8\n")
    return "failed to read text proto from .*config.pbtxt"


@pytest.mark.parametrize("spoil", [a_link, a_typing_mistake])
async def test_what_triton_cannot_read_is_told_where_the_operator_looks(
    start_triton: StartTriton, repository: Path, tmp_path: Path, spoil: object
) -> None:
    assert callable(spoil)
    assert land(repository / SLOT, SECOND) == 2
    versions.roll_back(repository / SLOT)
    server = start_triton(repository)
    settings = settings_of(server, repository).model_copy(update={"state_dir": tmp_path / "state"})
    async with loaded(settings) as models:
        reason = spoil(repository)
        with pytest.raises(InferenceInvalid, match=f"version 1 and takes up no other: .*{reason}"):
            await until_it_fails(lambda: check_served(settings, models))
        (_, beside) = await triton(settings)
        assert beside.verdict is Verdict.WARNING
        assert re.search(reason, beside.what)


async def test_a_swap_that_triton_cannot_read_fails_with_the_reason(
    start_triton: StartTriton, repository: Path, tmp_path: Path
) -> None:
    assert land(repository / SLOT, SECOND) == 2
    versions.roll_back(repository / SLOT)
    server = start_triton(repository)
    reason = a_link(repository)
    result = await swapped(settings_of(server, repository), 2)
    assert isinstance(result.exception, ModelRefused)
    assert re.search(reason, str(result.exception))
    assert versions.served(repository / SLOT) == 1


@pytest.mark.parametrize("spoil", [a_link, a_typing_mistake])
def test_a_start_does_not_wait_for_what_triton_cannot_read(
    repository: Path, tmp_path: Path, spoil: object
) -> None:
    """Though the other models are served: somebody would wait for this one for ever."""
    assert callable(spoil)
    write_reading_model(repository, "other")
    reason, began_s = spoil(repository), time.monotonic()
    with pytest.raises(ServerError, match=reason):
        asyncio.run(started(repository, tmp_path / "state"))
    assert time.monotonic() - began_s < AT_ONCE_S


async def test_the_check_starts_a_triton_only_on_what_it_can_serve(
    repository: Path, tmp_path: Path
) -> None:
    a_link(repository)
    (found,) = await triton(
        Settings(
            triton=TritonSettings(model_repository=repository),
            faces=FacesSettings(enabled=False),
            state_dir=tmp_path / "state",
        )
    )
    assert (found.verdict, found.part) == (Verdict.FAILED, "triton")
    assert "is a link to nothing" in found.what
    assert "remove it" in found.mend
