"""The manifest: every file that may be fetched has a licence, an origin, and an honest word about its digest."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from export.fetch import checksums
from export.manifest import Source, load
from orchestrator.errors import ModelError

MANIFEST = load()
EVERYTHING = (*MANIFEST.models, *MANIFEST.clips)


def test_the_default_models_fill_one_folder_each() -> None:
    slots = [model.slot for model in MANIFEST.defaults()]
    assert sorted(slots) == ["face_detector", "face_embedder", "object_detector"]


def test_larger_models_for_production_are_listed() -> None:
    others = {model.name for model in MANIFEST.models if not model.default}
    others -= {model.name for model in map(MANIFEST.stand_in, MANIFEST.defaults()) if model}
    assert others == {
        "rtmdet_tiny_coco_640",
        "rtmdet_s_coco_640",
        "rtmdet_m_coco_640",
        "auraface_v1_glintr100",
    }


def test_names_and_files_are_used_once() -> None:
    assert len({item.name for item in EVERYTHING}) == len(EVERYTHING)
    assert len({item.file for item in EVERYTHING}) == len(EVERYTHING)


@pytest.mark.parametrize("item", EVERYTHING, ids=lambda item: item.name)
def test_no_licence_forbids_commercial_use(item: object) -> None:
    assert getattr(item, "licence") in {"Apache-2.0", "MIT", "CC-BY-4.0"}  # noqa: B009


@pytest.mark.parametrize("model", MANIFEST.defaults(), ids=lambda model: model.name)
def test_a_default_model_has_a_digest_a_size_and_a_recorded_result(model: object) -> None:
    for field in ("sha256", "size", "prepared_sha256"):
        assert getattr(model, field) is not None


def test_only_embedders_recommend_a_threshold_and_only_detectors_have_labels() -> None:
    for model in MANIFEST.models:
        assert model.match_threshold is None or model.slot == "face_embedder"
        assert not model.labels or model.slot == "object_detector"


def test_a_source_claims_no_digest_but_that_of_the_file() -> None:
    for item in EVERYTHING:
        for source in item.sources:
            assert source.sha256 in {None, item.sha256}
            assert source.member is None or source.sha256 is None


def test_digests_agree_with_the_mirrors(models_mirror: Path, clips: Path) -> None:
    listed = checksums(models_mirror) | checksums(clips)
    known = {item.file: item.sha256 for item in EVERYTHING if item.file in listed}
    assert {name: listed[name] for name in known} == known
    assert {clip.file for clip in MANIFEST.clips} <= set(listed)


def test_an_unverified_file_says_what_would_make_it_usable() -> None:
    unverified = MANIFEST.model("rtmdet_m_coco_640").model_copy(update={"sha256": None})
    with pytest.raises(ModelError, match=r"no verified digest of rtmdet_m.* is known"):
        unverified.require_sha256()


def test_a_checkpoint_of_openmmlab_carries_the_beginning_of_its_digest_in_its_name() -> None:
    checkpoints = [item for item in MANIFEST.models if item.format == "pytorch"]
    assert len(checkpoints) == 3
    for item in checkpoints:
        assert item.require_sha256().startswith(item.file.removesuffix(".pth").rpartition("-")[2])


def test_an_unknown_model_is_told_with_those_that_are_known() -> None:
    with pytest.raises(ModelError, match="yolo: not in the manifest, which knows rtmdet_nano"):
        MANIFEST.model("yolo")


@pytest.mark.parametrize("url", ["http://example.org/m.onnx", "file:///etc/passwd", "ftp://a/b"])
def test_an_address_is_encrypted_or_on_this_machine(url: str) -> None:
    with pytest.raises(ValidationError):
        Source(url=url)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("models = [", "manifest"),
        ("models = []\nextra = 1", "extra"),
        ('[[models]]\nname = "a"', "preprocessing"),
        ('[[clips]]\nname = "a"\nfile = "../a"\n[[models]]', "clips.0.file"),
    ],
)
def test_mistakes_in_a_manifest_are_told_with_their_place(
    tmp_path: Path, text: str, word: str
) -> None:
    path = tmp_path / "manifest.toml"
    path.write_text(text)
    with pytest.raises(ModelError, match=word):
        load(path)
