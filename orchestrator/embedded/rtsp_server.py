"""An RTSP camera for tests and the demo: serves files in an endless loop. Runs under the system's Python (gi).

    /usr/bin/python3 rtsp_server.py [--port N] [--user NAME] MOUNT=FILE...

Each MOUNT (such as `door`) becomes rtsp://127.0.0.1:PORT/door. The port is written to standard output as one
line once the server answers. It ends when standard input closes, so that it never outlives who started it.
With --user, the password is read from the environment variable RTSP_PASSWORD.
"""

import argparse
import os
import sys
from dataclasses import dataclass

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstApp, GstRtspServer  # noqa: E402

# Importing GstApp gives appsink and appsrc their methods; naming it keeps the import.
_APP_TYPES = (GstApp.AppSink, GstApp.AppSrc)
DEFAULT_STEP_NS = Gst.SECOND // 25


@dataclass(frozen=True)
class Clip:
    """The encoded pictures of a file, held in memory: (bytes, pts, dts), nanoseconds from the start."""

    codec: str
    units: list[tuple[bytes, int, int]]
    duration_ns: int


def read_clip(path: str) -> Clip:
    """Demultiplex and parse a file once. Raises SystemExit if it holds neither H.264 nor H.265."""
    pipeline = Gst.parse_launch(f'filesrc location="{path}" ! parsebin name=parse')
    sink = Gst.ElementFactory.make("appsink")
    sink.set_property("sync", False)
    pipeline.add(sink)
    codecs: list[str] = []

    def link(_parse: "Gst.Element", pad: "Gst.Pad") -> None:
        codec = pad.get_current_caps().get_structure(0).get_name().removeprefix("video/x-")
        if codec in ("h264", "h265") and not codecs:
            codecs.append(codec)
            chain = Gst.parse_bin_from_description(
                f"{codec}parse config-interval=-1 "
                f"! capsfilter caps=video/x-{codec},stream-format=byte-stream,alignment=au",
                True,
            )
            pipeline.add(chain)
            chain.sync_state_with_parent()
            chain.link(sink)
            pad.link(chain.get_static_pad("sink"))

    pipeline.get_by_name("parse").connect("pad-added", link)
    pipeline.set_state(Gst.State.PLAYING)
    units = _drain(sink)
    pipeline.set_state(Gst.State.NULL)
    if not units:
        sys.exit(f"{path}: neither H.264 nor H.265 can be read from it")
    stamps = sorted(pts for _, pts, _ in units)
    step = (stamps[-1] - stamps[0]) // (len(stamps) - 1) if len(stamps) > 1 else 0
    return Clip(codecs[0], units, stamps[-1] + (step or DEFAULT_STEP_NS))


def _drain(sink: "Gst.Element") -> list[tuple[bytes, int, int]]:
    units: list[tuple[bytes, int, int]] = []
    # Null comes at the end of the file, or when nothing was recognised for this long.
    while (sample := sink.try_pull_sample(3 * Gst.SECOND)) is not None:
        buffer = sample.get_buffer()
        fallback = len(units) * DEFAULT_STEP_NS
        pts = buffer.pts if buffer.pts != Gst.CLOCK_TIME_NONE else fallback
        dts = buffer.dts if buffer.dts != Gst.CLOCK_TIME_NONE else pts
        units.append((buffer.extract_dup(0, buffer.get_size()), pts, dts))
    if units:
        origin = min(dts for _, _, dts in units)
        units = [(data, pts - origin, dts - origin) for data, pts, dts in units]
    return units


class Feed:
    """Pushes a clip into one media pipeline, over and over, with timestamps that only grow."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self._position = 0

    def on_need_data(self, source: "Gst.Element", _length: int) -> None:
        lap, index = divmod(self._position, len(self._clip.units))
        data, pts, dts = self._clip.units[index]
        buffer = Gst.Buffer.new_wrapped(data)
        buffer.pts = pts + lap * self._clip.duration_ns
        buffer.dts = dts + lap * self._clip.duration_ns
        self._position += 1
        source.emit("push-buffer", buffer)


def mount(server: "GstRtspServer.RTSPServer", name: str, clip: Clip, protected: bool) -> None:
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        "( appsrc name=video format=time max-buffers=4 max-bytes=0 "
        f"caps=video/x-{clip.codec},stream-format=byte-stream,alignment=au "
        # Parameter sets are in each keyframe already; the payloader would put them between its slices too.
        f"! {clip.codec}parse ! rtp{clip.codec}pay config-interval=0 name=pay0 pt=96 )"
    )

    def configure(_factory: object, media: "GstRtspServer.RTSPMedia") -> None:
        source = media.get_element().get_by_name_recurse_up("video")
        source.connect("need-data", Feed(clip).on_need_data)

    factory.connect("media-configure", configure)
    if protected:
        permissions = GstRtspServer.RTSPPermissions()
        for right in ("media.factory.access", "media.factory.construct"):
            permissions.add_permission_for_role("viewer", right, True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory(f"/{name}", factory)


def protect(server: "GstRtspServer.RTSPServer", user: str, password: str) -> None:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--user")
    parser.add_argument("mounts", nargs="+", metavar="MOUNT=FILE")
    options = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(options.port))
    if options.user:
        protect(server, options.user, os.environ["RTSP_PASSWORD"])
    clips: dict[str, Clip] = {}
    for pair in options.mounts:
        name, _, path = pair.partition("=")
        clip = clips.setdefault(path, read_clip(path))
        mount(server, name, clip, protected=bool(options.user))
    if not server.attach(None):
        sys.exit(f"port {options.port} is taken")
    loop = GLib.MainLoop()
    GLib.io_add_watch(0, GLib.PRIORITY_DEFAULT, GLib.IO_HUP | GLib.IO_IN, lambda *_: loop.quit())
    # A client that vanishes keeps its session for a minute otherwise.
    GLib.timeout_add_seconds(5, lambda: server.get_session_pool().cleanup() >= 0)
    sys.stdout.write(f"{server.get_bound_port()}\n")
    sys.stdout.flush()
    loop.run()


if __name__ == "__main__":
    main()
