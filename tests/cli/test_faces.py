"""`fess faces`, with a real Triton and a real Redis: what people type, and what they are told."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from orchestrator.cli.faces import app
from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.errors import GalleryError
from tests.recognition.footage import frames
from tests.recognition.redis import FACES_DB

pytestmark = pytest.mark.xdist_group("triton")


class Desk:
    """Types a command and reads what is said."""

    def __init__(self, clips: Path, folder: Path) -> None:
        self.clips = clips
        self.folder = folder

    def type(self, *words: str | Path) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    def said(self, *words: str | Path) -> str:
        result = self.type(*words)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        assert result.exit_code == 0, result.output
        return result.output

    def clip(self, name: str) -> Path:
        return self.clips / f"face_{name}.mkv"

    def photo(self, clip: str, name: str = "") -> Path:
        """The first frame of a clip as a JPEG."""
        shown = next(iter(frames(self.clip(clip))))
        path = self.folder / (name or f"{clip}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shown.picture.region(0, 0, 640, 480)).save(path, quality=95)
        return path

    def people(self) -> dict[str, dict[str, object]]:
        listed = json.loads(self.said("list", "--json"))
        return {person["person_name"]: person for person in listed}


@pytest.fixture
def desk(
    triton: EmbeddedTriton,
    redis_server: EmbeddedRedis,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRITON_URL", triton.grpc_url)
    monkeypatch.setenv("REDIS_HOST", redis_server.host)
    monkeypatch.setenv("REDIS_PORT", str(redis_server.port))
    monkeypatch.setenv("REDIS_PASSWORD", redis_server.password)
    monkeypatch.setenv("REDIS_DB", str(FACES_DB))
    desk = Desk(clips, tmp_path)
    for person in desk.people().values():
        desk.said("remove", str(person["face_id"]), "--yes")
    return desk


def test_a_person_is_enrolled_from_a_picture_and_a_video(desk: Desk) -> None:
    said = desk.said("enrol", "Ada", desk.photo("again"), desk.clip("brother"), "--authorized")
    assert "again.jpg" in said
    assert "Enrolled" in said
    ada = desk.people()["Ada"]
    assert ada["is_authorized"] is True
    assert ada["dimension"] == 128
    assert isinstance(ada["faces"], list)
    assert len(ada["faces"]) >= 2


def test_nobody_is_authorised_unless_it_is_said(desk: Desk) -> None:
    desk.said("enrol", "Ben", desk.photo("bird"))
    assert desk.people()["Ben"]["is_authorized"] is False
    desk.said("enrol", "ben", "--authorized")
    assert desk.people()["Ben"]["is_authorized"] is True


def test_a_person_is_shown_without_the_vectors_and_removed(desk: Desk) -> None:
    desk.said("enrol", "Ben", desk.photo("bird"))
    shown = json.loads(desk.said("show", "BEN"))
    assert shown["person_name"] == "Ben"
    assert "encoding" not in json.dumps(shown)
    assert "Removed" in desk.said("remove", "Ben", "--yes")
    assert desk.people() == {}
    assert isinstance(desk.type("show", "Ben").exception, GalleryError)


def test_removal_asks_first_and_only_about_somebody(desk: Desk) -> None:
    desk.said("enrol", "Ben", desk.photo("bird"))
    assert "--yes" in str(desk.type("remove", "Ben").exception)  # nobody is there to be asked
    assert "Ben" in desk.people()
    assert "nobody called Bean" in str(desk.type("remove", "Bean").exception)


def test_every_unfit_file_is_refused_with_its_reason_and_nobody_is_enrolled(desk: Desk) -> None:
    empty = desk.folder / "empty.png"
    empty.touch()
    text = desk.folder / "text.jpg"
    text.write_text("not a picture")
    grey = desk.folder / "grey.png"
    Image.fromarray(np.full((200, 200, 3), 128, np.uint8)).save(grey)
    pair = desk.folder / "pair.png"
    halves = [
        next(iter(frames(desk.clip(clip)))).picture.region(80, 0, 560, 480)
        for clip in ("again", "bird")
    ]
    Image.fromarray(np.hstack(halves)).save(pair)
    broken = desk.folder / "broken.mp4"
    broken.write_bytes(b"\0" * 999)
    result = desk.type("enrol", "Eve", empty, text, grey, pair, broken, desk.folder / "nowhere.jpg")
    assert result.exit_code == 1
    for reason in (
        r"empty\.png: the file is empty \(0 bytes\)",
        r"text\.jpg: is not a picture that can be read",
        r"grey\.png: there is no face in it",
        r"pair\.png: shows 2 people",
        r"broken\.mp4: cannot be read",
        r"nowhere\.jpg: cannot be opened",
    ):
        assert re.search(reason, result.output), result.output
    assert desk.people() == {}


def test_a_picture_that_is_enrolled_already_is_refused(desk: Desk) -> None:
    photo = desk.photo("bird")
    desk.said("enrol", "Ben", photo)
    result = desk.type("enrol", "Ben", photo)
    assert result.exit_code == 1
    assert "is enrolled" in result.output


def test_somebody_who_could_be_taken_for_another_is_enrolled_only_on_demand(desk: Desk) -> None:
    desk.said("enrol", "Ben", desk.photo("bird"))
    result = desk.type("enrol", "Bob", desk.photo("milk"))
    assert result.exit_code == 1
    assert "Bob and Ben would be named as each other" in result.output
    assert set(desk.people()) == {"Ben"}
    desk.said("enrol", "Bob", desk.photo("milk"), "--yes")
    assert set(desk.people()) == {"Ben", "Bob"}


def test_a_folder_a_person_is_imported(desk: Desk) -> None:
    desk.photo("again", "staff/Ada Lovelace/1.jpg")
    desk.photo("bird", "staff/Ben/1.jpg")
    desk.photo("book", "staff/Cy/1.jpg")
    (desk.folder / "staff" / "readme.txt").write_text("not a person")
    (desk.folder / "staff" / "Cy" / ".DS_Store").write_text("hidden")
    desk.said("import", desk.folder / "staff", "--authorized")
    assert set(desk.people()) == {"Ada Lovelace", "Ben", "Cy"}


@pytest.mark.parametrize("name", ["", "   ", "a\nb\x07", "x" * 200])
def test_what_is_no_name_is_refused(desk: Desk, name: str) -> None:
    assert isinstance(desk.type("enrol", name, desk.clip("again")).exception, GalleryError)


def test_a_folder_that_is_not_laid_out_is_refused_with_the_mend(desk: Desk) -> None:
    result = desk.type("import", desk.folder)
    assert isinstance(result.exception, GalleryError)
    assert "Ada Lovelace/1.jpg" in str(result.exception)


def test_without_a_picture_it_says_what_is_missing(desk: Desk) -> None:
    result = desk.type("enrol", "Ada")
    assert result.exit_code == 2
    assert "picture or video" in result.output
