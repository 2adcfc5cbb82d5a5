"""Without a mirror: the default models come from their public addresses, and are made into what Triton serves."""

import hashlib
import io
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rich.console import Console

from export import install, transfer
from export.install import Places, ensure_models
from export.prepare import Prepared, provenance
from orchestrator.errors import ModelError
from tests.export.publishing import (
    BUILT,
    ELSEWHERE,
    MOBILEFACENET,
    RTMDET,
    YUNET,
    Internet,
    files,
    moved,
    serve,
)

FIRST, SECOND, _ = (source.url for source in RTMDET.sources)


@pytest.fixture(scope="module")
def content(models_mirror: Path) -> dict[str, bytes]:
    return files(models_mirror)


@pytest.fixture
async def internet(
    content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Internet]:
    """Every public address, and a manifest that leads there."""
    monkeypatch.setattr(transfer, "PAUSE_S", 0.0)
    internet = Internet(content)
    runner = await serve(internet)
    manifest = moved(runner.addresses[0][1], content)
    monkeypatch.setattr(install, "load", lambda: manifest)
    yield internet
    await runner.cleanup()


async def installed(
    folder: Path, *slots: str, mirror: Path | None = None
) -> tuple[tuple[Prepared, ...], str]:
    """Fill those folders of a model repository; of no name: all."""
    stream = io.StringIO()
    at = Places(folder / "repository", folder / "store", mirror)
    made = await ensure_models(at, Console(file=stream, width=300), folders=slots or None)
    return made, stream.getvalue()


async def embedder(folder: Path, *, mirror: Path | None = None) -> Prepared:
    (made,), _ = await installed(folder, "face_embedder", mirror=mirror)
    return made


async def test_everything_that_the_demo_serves_comes_from_public_addresses(
    internet: Internet, content: dict[str, bytes], tmp_path: Path
) -> None:
    made, shown = await installed(tmp_path)
    objects, faces, vectors = made
    assert (objects.sha256, faces.sha256) == (RTMDET.prepared_sha256, YUNET.prepared_sha256)
    note = provenance(vectors.path)
    assert note is not None
    assert (note.model, note.source_file) == (BUILT.name, "mobilefacenet.pt")
    assert note.source_sha256 == hashlib.sha256(content[BUILT.sources[0].url]).hexdigest()
    for words in (
        "rtmdet_nano_person_320.onnx  licence Apache-2.0  https://github.com/open-mmlab",
        "mobilefacenet.pt  licence Apache-2.0  https://github.com/foamliu/MobileFaceNet",
    ):
        assert words in shown
    # Three files side by side, in any order; one of them is given elsewhere.
    assert [path.startswith(ELSEWHERE) for path in internet.asked].count(True) == 1
    assert len(internet.asked) == 4


async def test_events_and_galleries_tell_it_from_the_file_in_the_mirror(
    internet: Internet, tmp_path: Path
) -> None:
    made = await embedder(tmp_path)
    config = (made.path.parents[1] / "config.pbtxt").read_text()
    assert f'key: "embedding_model" value: {{ string_value: "{BUILT.name}" }}' in config
    assert MOBILEFACENET.require_sha256() not in config
    assert 'key: "match_threshold" value: { string_value: "0.55" }' in config


async def test_a_second_time_nothing_is_asked_for(internet: Internet, tmp_path: Path) -> None:
    await installed(tmp_path)
    internet.asked.clear()
    made, shown = await installed(tmp_path)
    assert ([each.changed for each in made], shown, internet.asked) == ([False] * 3, "", [])


async def test_the_same_weights_make_the_same_file(internet: Internet, tmp_path: Path) -> None:
    first, second = await embedder(tmp_path / "first"), await embedder(tmp_path / "second")
    assert first.sha256 == second.sha256


async def test_the_second_address_is_asked_as_it_is_written_when_the_first_gives_nothing(
    internet: Internet, tmp_path: Path
) -> None:
    internet.gone.add(FIRST)
    await installed(tmp_path, "object_detector")
    assert internet.asked[-1] == "/" + SECOND.removeprefix("https://")


async def test_when_no_address_gives_the_file_the_reason_of_each_is_told(
    internet: Internet, tmp_path: Path
) -> None:
    internet.gone |= {FIRST, SECOND}
    with pytest.raises(ModelError) as failure:
        await installed(tmp_path, "object_detector")
    told = str(failure.value)
    assert told.startswith("rtmdet_nano_person_320.onnx: cannot be fetched: http://127.0.0.1")
    assert told.count("404, message='Not Found'") == 2
    assert "has no verified digest (another export of the same network" in told
    assert told.endswith("then run `fess models fetch`")


async def test_a_machine_without_network_and_mirror_is_told_what_to_do(
    internet: Internet,
    content: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(install, "load", lambda: moved(1, content))
    with pytest.raises(
        ModelError, match=r"(?s)rtmdet_nano.*Cannot connect.*set FESS_MODELS_MIRROR to a folder"
    ):
        await installed(tmp_path)


async def test_other_weights_are_refused_by_their_digest(
    internet: Internet, tmp_path: Path
) -> None:
    url = BUILT.sources[0].url
    internet.content = {**internet.content, url: internet.content[url][::-1]}
    with pytest.raises(ModelError, match=r"mobilefacenet\.pt: cannot be fetched: .*wrong digest"):
        await embedder(tmp_path)


async def test_with_a_mirror_that_has_it_the_onnx_file_is_used_as_before(
    internet: Internet, models_mirror: Path, tmp_path: Path
) -> None:
    made = await embedder(tmp_path, mirror=models_mirror)
    assert made.sha256 == MOBILEFACENET.prepared_sha256
    assert internet.asked == []


@pytest.mark.parametrize("order", [1, -1], ids=["the mirror goes", "a mirror comes"])
async def test_a_folder_keeps_the_one_of_the_two_that_it_holds(
    order: int, internet: Internet, models_mirror: Path, tmp_path: Path
) -> None:
    before, after = [models_mirror, None][::order]
    first = await embedder(tmp_path, mirror=before)
    again = await embedder(tmp_path, mirror=after)
    assert (again.path, again.sha256, again.changed) == (first.path, first.sha256, False)


async def test_what_was_fetched_from_a_mirror_is_used_when_the_mirror_is_gone(
    internet: Internet, models_mirror: Path, tmp_path: Path
) -> None:
    await embedder(tmp_path, mirror=models_mirror)
    shutil.rmtree(tmp_path / "repository")
    assert (await embedder(tmp_path)).sha256 == MOBILEFACENET.prepared_sha256
    assert internet.asked == []


async def test_a_mirror_may_have_the_published_weights_instead(
    internet: Internet, content: dict[str, bytes], tmp_path: Path
) -> None:
    weights, mirror = content[BUILT.sources[0].url], tmp_path / "mirror"
    mirror.mkdir()
    (mirror / BUILT.file).write_bytes(weights)
    digest = hashlib.sha256(weights).hexdigest()
    (mirror / "SHA256SUMS").write_text(f"{digest}  {BUILT.file}\n")
    note = provenance((await embedder(tmp_path, mirror=mirror)).path)
    assert note is not None
    assert (note.model, note.source_sha256) == (BUILT.name, digest)
