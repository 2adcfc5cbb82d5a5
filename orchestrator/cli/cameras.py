"""`fess cameras`: look at cameras.yaml and change it. A running `fess run` takes changes up by itself."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from orchestrator.camera import Camera
from orchestrator.configuring.cameras_file import (
    NAME_RULE,
    entry,
    load_cameras,
    save_cameras,
    wrong_address,
)
from orchestrator.errors import SettingsError
from orchestrator.settings import load

app = typer.Typer(
    name="cameras",
    no_args_is_help=True,
    help="List, add, change and remove cameras. A running `fess run` takes changes up by itself.",
)

Name = Annotated[str, typer.Argument(help="Name of the camera, such as lobby.")]
File = Annotated[
    Path | None,
    typer.Option("--file", "-f", "--cameras", help="The cameras' file. Default: CAMERAS_FILE."),
]
Fps = Annotated[
    float | None, typer.Option(help="Frames inspected a second, at most.", show_default="5")
]
Enabled = Annotated[bool | None, typer.Option("--enable/--disable", help="Watch it, or not.")]
Transport = Annotated[str | None, typer.Option(help="How RTSP carries the video: tcp or udp.")]
Pace = Annotated[
    str | None,
    typer.Option(help="For files: live (the clip's speed) or fast (the machine's speed)."),
]
Loop = Annotated[bool | None, typer.Option("--loop/--no-loop", help="For files: begin again.")]
Regions = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        help="Polygon where objects count: 'x,y x,y x,y' in fractions of the picture. "
        "May be repeated; 'none' removes all.",
    ),
]
Masks = Annotated[
    list[str] | None,
    typer.Option("--motion-mask", help="Polygon where motion is ignored; as --region."),
]
Sensitivity = Annotated[
    float | None, typer.Option("--motion-sensitivity", help="0 to 1; overrides the setting.")
]
ADDRESS_HELP = (
    "rtsp://, http(s):// (MJPEG, HLS), a file, or /dev/videoN. "
    "'-' asks for it, so that its password stays out of the shell's history."
)


@app.command("list")
def list_cameras(
    file: File = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the cameras, addresses without their passwords."""
    cameras = load_cameras(_path(file))
    if as_json:
        typer.echo(json.dumps([_harmless(camera) for camera in cameras], indent=2))
        return
    table = Table("camera", "address", "fps", "watched")
    for camera in cameras:
        watched = "yes" if camera.enabled else "no"
        table.add_row(camera.camera_id, camera.address, f"{camera.fps:g}", watched)
    Console().print(table)


@app.command()
def show(name: Name, file: File = None) -> None:
    """Show one camera as JSON, its address without the password."""
    camera = _find(load_cameras(_path(file)), name)
    typer.echo(json.dumps(_harmless(camera), indent=2))


@app.command()
def add(
    name: Name,
    address: Annotated[str, typer.Argument(help=ADDRESS_HELP)],
    fps: Fps = None,
    enabled: Enabled = None,
    transport: Transport = None,
    pace: Pace = None,
    loop: Loop = None,
    region: Regions = None,
    motion_mask: Masks = None,
    motion_sensitivity: Sensitivity = None,
    file: File = None,
) -> None:
    """Add a camera."""
    path = _path(file)
    cameras = load_cameras(path) if path.exists() else ()
    if any(camera.camera_id == name for camera in cameras):
        raise SettingsError(f"{path}: {name} is there already; use `fess cameras change {name}`")
    given = _given(
        url=_asked(address), fps=fps, enabled=enabled, transport=transport, pace=pace, loop=loop,
        regions=region, motion_masks=motion_mask, motion_sensitivity=motion_sensitivity,
    )  # fmt: skip
    camera = _checked({"camera_id": name, **given})
    _save(path, (*cameras, camera), f"{name} added: {camera.address}")


@app.command()
def change(
    name: Name,
    address: Annotated[str | None, typer.Option("--address", help=ADDRESS_HELP)] = None,
    fps: Fps = None,
    enabled: Enabled = None,
    transport: Transport = None,
    pace: Pace = None,
    loop: Loop = None,
    region: Regions = None,
    motion_mask: Masks = None,
    motion_sensitivity: Sensitivity = None,
    file: File = None,
) -> None:
    """Change what is given; the rest stays."""
    path = _path(file)
    cameras = load_cameras(path)
    former = _find(cameras, name)
    given = _given(
        url=_asked(address), fps=fps, enabled=enabled, transport=transport, pace=pace, loop=loop,
        regions=region, motion_masks=motion_mask, motion_sensitivity=motion_sensitivity,
    )  # fmt: skip
    if not given:
        raise SettingsError("nothing to change; see `fess cameras change --help`")
    camera = _checked({"camera_id": name, **entry(former), **given})
    changed = (camera if each is former else each for each in cameras)
    _save(path, tuple(changed), f"{name} changed: {', '.join(given)}")


@app.command()
def remove(name: Name, file: File = None) -> None:
    """Remove a camera from the file."""
    path = _path(file)
    cameras = load_cameras(path)
    gone = _find(cameras, name)
    _save(path, tuple(each for each in cameras if each is not gone), f"{name} removed")


def _path(file: Path | None) -> Path:
    return file or load().cameras_file


def _save(path: Path, cameras: tuple[Camera, ...], done: str) -> None:
    save_cameras(path, cameras)
    typer.echo(f"{done}. A running `fess run` with {path} takes it up by itself.")


def _find(cameras: tuple[Camera, ...], name: str) -> Camera:
    for camera in cameras:
        if camera.camera_id == name:
            return camera
    there = ", ".join(camera.camera_id for camera in cameras) or "none yet"
    raise SettingsError(f"there is no camera {name}; there are: {there}")


def _harmless(camera: Camera) -> dict[str, Any]:
    return camera.model_dump(mode="json") | {"url": camera.address}


def _asked(address: str | None) -> str | None:
    if address == "-":
        return str(typer.prompt("address", hide_input=True))
    return address


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given; polygons read from their text."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in ("regions", "motion_masks"):
        if name in given:
            texts = [each for each in given[name] if each != "none"]
            given[name] = [_polygon(each) for each in texts]
    return given


def _polygon(text: str) -> list[list[str]]:
    return [point.split(",") for point in text.split()]


def _checked(content: dict[str, Any]) -> Camera:
    """Build a camera from options. Raises SettingsError without showing the address."""
    try:
        camera = Camera.model_validate(content)
    except ValidationError as error:
        wrong = {str(each["loc"][0]): each["msg"] for each in error.errors(include_input=False)}
        if "camera_id" in wrong:
            wrong["camera_id"] = f"it cannot be a camera's name; {NAME_RULE}"
        raise SettingsError("\n".join(f"{key}: {what}" for key, what in wrong.items())) from None
    what = wrong_address(camera.url)
    if what:
        raise SettingsError("; ".join(what))
    return camera
