"""What kind of source a camera's URL names, and how FFmpeg is told to open it."""

from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote, urlsplit

from orchestrator.camera import Camera
from orchestrator.errors import CameraUnreachable
from orchestrator.settings import CaptureSettings


class Kind(Enum):
    RTSP = "rtsp"
    HTTP = "http"
    FILE = "file"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Address:
    """`url` may hold a password: it goes to FFmpeg and nowhere else."""

    kind: Kind
    url: str
    options: dict[str, str]
    format: str | None = None


# Containers that may be recognised. Playlists of other files (concat, sdp, image sequences) are not among them.
_FILE_FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,h264,hevc,mjpeg,m4v,mpegvideo,gif,ivf"
)
_HTTP_FORMATS = f"{_FILE_FORMATS},hls,mpjpeg"
# What an HLS playlist may name; `file` and `concat` are left out on purpose.
_HTTP_PROTOCOLS = "http,https,tcp,tls,crypto,httpproxy"
_RTSP_PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls"


def is_file(camera: Camera) -> bool:
    url = camera.url.get_secret_value()
    return url.startswith("file:") or not ("://" in url or url.startswith("/dev/video"))


def locate(camera: Camera, settings: CaptureSettings) -> Address:
    """Raises CameraUnreachable for a scheme that is not supported."""
    url = camera.url.get_secret_value()
    scheme = urlsplit(url).scheme.lower()
    # FFmpeg knows one time-out for a connection's whole life; the watchdog enforces each of ours exactly.
    timeout_us = str(int(max(settings.connect_timeout, settings.read_timeout) * 1_000_000))
    if scheme in ("rtsp", "rtsps"):
        return Address(Kind.RTSP, url, _rtsp(camera.transport, timeout_us))
    if scheme in ("http", "https"):
        return Address(Kind.HTTP, url, _http(timeout_us))
    if scheme == "file":
        return _file(unquote(urlsplit(url).path))
    if url.startswith("/dev/video"):
        return Address(Kind.DEVICE, url, {}, format="video4linux2")
    if "://" in url:
        raise CameraUnreachable(
            camera.camera_id,
            f"{scheme}:// is not supported; use rtsp://, http(s)://, a file or /dev/videoN",
            lasting=True,
        )
    return _file(url)


def _rtsp(transport: str, timeout_us: str) -> dict[str, str]:
    return {
        "rtsp_transport": transport,
        "timeout": timeout_us,
        "allowed_media_types": "video",
        "protocol_whitelist": _RTSP_PROTOCOLS,
        # The session description already names the codec. With FFmpeg's default probing the first picture
        # comes after one to two seconds, with these after the first keyframe. `nobuffer` would throw that
        # keyframe away.
        "probesize": "65536",
        "analyzeduration": "100000",
        "fpsprobesize": "0",
        "buffer_size": "1048576",  # UDP: room for the keyframe of a large picture
    }


def _http(timeout_us: str) -> dict[str, str]:
    return {
        "timeout": timeout_us,
        "rw_timeout": timeout_us,  # the only one of the two that reaches the segments of HLS
        "protocol_whitelist": _HTTP_PROTOCOLS,
        "format_whitelist": _HTTP_FORMATS,
        "probesize": "1000000",
        "analyzeduration": "500000",
        "fpsprobesize": "0",
    }


def _file(path: str) -> Address:
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": _FILE_FORMATS,
        "probesize": "2000000",
        "analyzeduration": "1000000",
    }
    # The prefix keeps FFmpeg from reading a protocol such as `concat:` into the name.
    return Address(Kind.FILE, f"file:{path}", options)
