"""What the embedded Triton needs before it can start, and what is said when it is not there."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.embedded.triton import check_repository, check_shared_memory
from orchestrator.embedded.triton_files import TritonFiles, _python_library_folder
from orchestrator.errors import ServerError


def write_config(repository: Path, model: str, backend: str) -> None:
    (repository / model).mkdir(parents=True)
    (repository / model / "config.pbtxt").write_text(f'backend: "{backend}"\n')


def test_a_repository_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"holds no models: .*TRITON_MODEL_REPOSITORY"):
        check_repository(tmp_path)


def test_models_without_their_file_are_all_named_with_the_mend(tmp_path: Path) -> None:
    for model in ("face_detector", "object_detector"):
        write_config(tmp_path, model, "onnxruntime")
    with pytest.raises(
        ServerError, match=r"face_detector, object_detector in .*: run `fess models fetch`"
    ):
        check_repository(tmp_path)


def test_any_version_will_do(tmp_path: Path) -> None:
    write_config(tmp_path, "object_detector", "onnxruntime")
    (tmp_path / "object_detector" / "12").mkdir()
    (tmp_path / "object_detector" / "12" / "model.onnx").touch()
    check_repository(tmp_path)


def test_models_of_other_backends_need_no_onnx_file(tmp_path: Path) -> None:
    write_config(tmp_path, "scripted", "python")
    check_repository(tmp_path)


def test_a_missing_wheel_is_told_with_the_ways_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ServerError,
        match=r"`make setup`.*pip install --no-deps -r requirements/triton\.txt.*TRITON_URL",
    ):
        TritonFiles.find()


def test_a_python_without_a_shared_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_config_var", lambda name: None)
    with pytest.raises(ServerError, match=r"no shared library.*libpython3.11"):
        _python_library_folder()


def test_the_stubs_meet_this_pythons_interpreter_first(triton_files: TritonFiles) -> None:
    environment = triton_files.environment()
    folder = environment["PATH"].split(":")[0]
    assert (Path(folder) / "python3").exists()


def test_the_backend_folder_holds_copies_that_triton_accepts(
    triton_files: TritonFiles, tmp_path: Path
) -> None:
    triton_files.assemble(tmp_path / "backends")
    triton_files.assemble(tmp_path / "backends")
    files = {file.name: file for file in (tmp_path / "backends").glob("*/*")}
    assert files.keys() >= {"libtriton_python.so", "triton_python_backend_stub", "model.py"}
    assert not any(file.is_symlink() for file in files.values())


def test_a_folder_that_cannot_be_written_is_named(
    triton_files: TritonFiles, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match="file/backends cannot be written"):
        triton_files.assemble(tmp_path / "file" / "backends")


def test_too_little_shared_memory_is_told_before_a_backend_dies_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_shared_memory(tmp_path)
    left = SimpleNamespace(f_bavail=2048, f_frsize=4096)
    monkeypatch.setattr("orchestrator.embedded.triton.os.statvfs", lambda _: left)
    with pytest.raises(ServerError, match=r"8 MB free.*need 32.*--shm-size=256m"):
        check_shared_memory(tmp_path)
