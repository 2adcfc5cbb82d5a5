"""cameras.yaml: which cameras there are. Every mistake in it is told at once; it is never half written."""

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.camera import Camera
from orchestrator.configuring.problem import Problem, did_you_mean, refuse, shown
from orchestrator.configuring.refusal import allowed
from orchestrator.configuring.yaml_file import YamlFile, read_yaml
from orchestrator.errors import SettingsError

SCHEMES = ("rtsp", "rtsps", "http", "https", "file")
FIELDS = tuple(name for name in Camera.model_fields if name != "camera_id")
NAME_RULE = "begin with a letter or digit; then letters, digits, '_', '.' and '-', 64 at most"
IN_A_PASSWORD = (
    "in a password write @ as %40, / as %2F, : as %3A, # as %23, ? as %3F, a space as %20"
)
HEADER = """\
# The cameras. `fess cameras` edits this file, and a running `fess run` takes changes up by itself.
# Addresses may hold passwords: keep it readable by its owner only.
"""


def load_cameras(path: Path) -> tuple[Camera, ...]:
    """Read every camera, in the file's order. Raises SettingsError, which tells all mistakes."""
    if not path.exists():
        mend = "make it with `fess cameras add NAME ADDRESS`, or name another with CAMERAS_FILE"
        raise SettingsError(str(Problem(str(path), "there is no such file", mend)))
    file = read_yaml(path)
    problems = list(file.problems)
    for key in file.content:
        if key != "cameras":
            mend = did_you_mean(key, ["cameras"])
            problems.append(Problem(file.where(key), f"{key} is not known here", mend))
    entries = file.content.get("cameras") or {}
    if not isinstance(entries, Mapping):
        mend = "write each camera's name below it, indented, as in cameras.example.yaml"
        problems.append(Problem(file.where("cameras"), "cameras is not a mapping", mend))
        entries = {}
    cameras: list[Camera] = []
    for name, entry in entries.items():
        camera, wrong = _camera(file, name, entry)
        problems += wrong
        if camera is not None:
            cameras.append(camera)
    refuse(problems)
    return tuple(cameras)


def _camera(file: YamlFile, name: str, entry: object) -> tuple[Camera | None, list[Problem]]:
    if not isinstance(entry, Mapping):
        problem = Problem(
            file.where("cameras", name), f"{name} has no settings", "write `url: ...` below it"
        )
        return None, [problem]
    problems = [
        Problem(
            file.where("cameras", name, key),
            f"{name}: {key} is not a setting of a camera",
            did_you_mean(key, FIELDS),
        )
        for key in entry
        if key not in FIELDS
    ]
    known = {key: value for key, value in entry.items() if key in FIELDS}
    try:
        camera = Camera.model_validate({"camera_id": name, **known})
    except ValidationError as error:
        details = error.errors(include_url=False)
        return None, [*problems, *(_problem(file, name, detail) for detail in details)]
    what = wrong_address(camera.url)
    if what:
        problems.append(Problem(file.where("cameras", name, "url"), f"{name}: {what[0]}", what[1]))
    return (None if problems else camera), problems


def _problem(file: YamlFile, name: str, detail: ErrorDetails) -> Problem:
    key, *inner = map(str, detail["loc"])
    where = file.where("cameras", name, key)
    if key == "camera_id":
        return Problem(where, f"{shown(name)} cannot be a camera's name", NAME_RULE)
    part = key + "".join(f"[{each}]" for each in inner)
    if detail["type"] == "missing":
        return Problem(where, f"{name}: {part} is missing", "say where the video comes from")
    if key == "url":
        return Problem(where, f"{name}: the address is not text", "put it in quotes")
    if key in ("regions", "motion_masks"):
        mend = "a polygon is three or more points [x, y], in fractions of the picture from 0 to 1"
        return Problem(where, f"{name}: {part} is wrong", mend)
    what = f"{name}: {shown(detail['input'])} as {part} is not {allowed(Camera.model_fields[key])}"
    return Problem(where, what, "mend it, or leave it out")


def wrong_address(url: SecretStr) -> tuple[str, str] | None:
    """What is wrong with a camera's address and how to mend it, without showing it."""
    text = url.get_secret_value()
    if not text.strip() or "\0" in text:
        return "the address is empty", "say where the video comes from"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return "the address is not a URL", f"check its port and brackets; {IN_A_PASSWORD}"
    if not parts.scheme:
        return None
    if parts.scheme not in SCHEMES:
        offer = f"use {', '.join(SCHEMES)}, a file or /dev/videoN"
        return f"{shown(parts.scheme)} is not an address a camera can have", offer
    if "@" in parts.fragment or " " in parts.netloc:
        return "the address is not a URL", IN_A_PASSWORD
    if parts.scheme != "file" and not parts.hostname:
        return "the address names no host", "write it as rtsp://host/path"
    return None


def save_cameras(path: Path, cameras: Iterable[Camera]) -> None:
    """Replace the file in one step, readable by its owner only. Raises SettingsError if it cannot be written.

    Comments of the former file are not kept.
    """
    entries = {camera.camera_id: entry(camera) for camera in cameras}
    text = HEADER + yaml.safe_dump({"cameras": entries}, sort_keys=False, allow_unicode=True)
    target = path.resolve()  # a link stays a link
    try:
        _replace(target, text.encode())
    except OSError as error:
        reason = error.strerror or "it cannot be written"
        raise SettingsError(f"{path}: {reason}; the former file is unchanged") from error


def entry(camera: Camera) -> dict[str, Any]:
    """A camera as it stands in the file, with what differs from the defaults. Holds the whole address."""
    differing = camera.model_dump(mode="json", exclude={"camera_id", "url"}, exclude_defaults=True)
    return {"url": camera.url.get_secret_value(), **differing}


def _replace(target: Path, content: bytes) -> None:
    # mkstemp gives mode 0600 from the start: the passwords are never readable by others.
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else the rename may be lost with the power
    finally:
        os.close(folder)
