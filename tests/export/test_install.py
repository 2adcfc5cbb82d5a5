"""Installing: a model repository is filled from the manifest, and what somebody chose to serve is respected."""

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from export.install import Places, ensure_clips, ensure_models, wanted
from export.manifest import load
from export.prepare import Prepared
from orchestrator.errors import ModelError


def places(folder: Path, mirror: Path) -> Places:
    return Places(folder / "repository", folder / "store", mirror)


async def installed(
    at: Places, *, folders: Sequence[str] | None = None
) -> tuple[tuple[Prepared, ...], str]:
    stream = io.StringIO()
    made = await ensure_models(at, Console(file=stream, width=200), folders=folders)
    return made, stream.getvalue()


async def test_an_empty_folder_becomes_a_model_repository(
    tmp_path: Path, models_mirror: Path
) -> None:
    at = places(tmp_path, models_mirror)
    made, shown = await installed(at)
    assert all(each.changed for each in made)
    files = {str(path.relative_to(at.repository)) for path in at.repository.rglob("*.*")}
    assert files == {
        f"{slot}/{name}"
        for slot in ("object_detector", "face_detector", "face_embedder")
        for name in ("config.pbtxt", "1/model.onnx", "1/provenance.json")
    } | {"object_detector/labels.txt"}
    assert "licence MIT" in shown


async def test_a_second_time_nothing_is_read_from_the_mirror_and_nothing_said(
    tmp_path: Path, models_mirror: Path
) -> None:
    await installed(places(tmp_path, models_mirror))
    shutil.rmtree(tmp_path / "store")
    made, shown = await installed(places(tmp_path, tmp_path / "no mirror"))
    assert [each.changed for each in made] == [False] * 3
    assert shown == ""


async def test_only_the_wanted_folders_are_filled(tmp_path: Path, models_mirror: Path) -> None:
    at = places(tmp_path, models_mirror)
    await installed(at, folders=["face_detector"])
    assert [path.name for path in at.repository.iterdir()] == ["face_detector"]


async def test_weights_of_the_operator_are_left_alone(tmp_path: Path, models_mirror: Path) -> None:
    at = places(tmp_path, models_mirror)
    own = at.repository / "face_detector" / "1" / "model.onnx"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    await installed(at, folders=["face_detector"])
    assert own.read_bytes() == b"mine"


async def test_a_folder_keeps_the_model_of_the_manifest_that_it_holds(
    tmp_path: Path, models_mirror: Path
) -> None:
    at = places(tmp_path, models_mirror)
    (made,), _ = await installed(at, folders=["face_embedder"])
    note = made.path.with_name("provenance.json")
    other = json.loads(note.read_text()) | {"model": "auraface_v1_glintr100"}
    note.write_text(json.dumps(other))
    chosen = wanted(load(), at, ["face_embedder"], ())
    assert [model.name for model in chosen] == ["auraface_v1_glintr100"]


def test_models_can_be_chosen_by_name_but_only_one_for_a_folder(tmp_path: Path) -> None:
    at = places(tmp_path, tmp_path)
    (chosen,) = wanted(load(), at, None, ["auraface_v1_glintr100"])
    assert chosen.slot == "face_embedder"
    with pytest.raises(ModelError, match="two of them would fill the same folder"):
        wanted(load(), at, None, ["auraface_v1_glintr100", "mobilefacenet_foamliu_112"])


async def test_clips_are_fetched_by_file_name(tmp_path: Path, clips: Path) -> None:
    at = places(tmp_path, clips)
    names = ["face_milk.mkv", "face_bird.mkv"]
    paths = await ensure_clips(names, at, Console(file=io.StringIO()))
    assert list(paths) == names
    assert paths["face_milk.mkv"].read_bytes() == (clips / "face_milk.mkv").read_bytes()


async def test_an_unknown_clip_is_told_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nobody\.mkv: not among the sample clips one-by-one"):
        await ensure_clips(["nobody.mkv"], places(tmp_path, tmp_path), Console(file=io.StringIO()))
