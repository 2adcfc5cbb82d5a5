"""FFmpeg's errors in the words of this system: what happened to the camera, and how to mend it."""

import errno

import av.error

from orchestrator.camera import Camera
from orchestrator.errors import CameraError, CameraStalled, CameraUnreachable, StreamEnded

# The first that fits: FFmpeg's error, what to tell the operator, and whether it will pass by itself.
_REASONS: tuple[tuple[type[av.error.FFmpegError], str, bool], ...] = (
    (
        av.error.HTTPUnauthorizedError,
        "refused the user or password (401); set them in the camera's url",
        True,
    ),
    (av.error.HTTPForbiddenError, "denied access (403); give the user the right to view", True),
    (
        av.error.HTTPNotFoundError,
        "has no stream at this path (404); look the path up in the camera's manual",
        True,
    ),
    (
        av.error.HTTPError,
        "answered with a server error; restart the camera if it lasts",
        False,
    ),
    (
        av.error.HTTPClientError,
        "refused the request; check the path and the transport (tcp or udp)",
        True,
    ),
    (
        av.error.ConnectionRefusedError,
        "refused the connection; check that it is on and that the port is right",
        False,
    ),
    (av.error.TimeoutError, "did not answer in time; check its address and the network", False),
    (
        av.error.EOFError,
        "closed the connection before it sent a picture; restart it if it lasts",
        False,
    ),
    (av.error.FileNotFoundError, "does not exist; check the path", False),
    (av.error.IsADirectoryError, "is a folder; name a video file in it", True),
    (av.error.PermissionError, "may not be read; give the user of this process the right", False),
    (
        av.error.InvalidDataError,
        "does not send video that can be read; open the address in a player to see what it is",
        True,
    ),
    (
        av.error.ArgumentError,  # of a container that is not on our list
        "is not video of a kind that is read, but perhaps a still picture or a playlist;"
        " open it in a player to see what it is",
        True,
    ),
    (
        av.error.ProtocolNotFoundError,
        "points to an address that is not allowed, such as a playlist that names a local file",
        True,
    ),
    (
        av.error.DecoderNotFoundError,
        "sends a codec that cannot be decoded; set it to H.264 or H.265",
        True,
    ),
)


def unreachable(camera: Camera, error: av.error.FFmpegError) -> CameraUnreachable:
    """An error while opening. FFmpeg's own text is never shown: it holds the URL with its password."""
    for kind, reason, lasting in _REASONS:
        if isinstance(error, kind):
            return CameraUnreachable(
                camera.camera_id, f"{camera.address} {reason}", lasting=lasting
            )
    if error.errno == errno.EIO and "://" in camera.address:
        # What FFmpeg makes of a name that cannot be resolved, and of a server that does not encrypt.
        encrypted = (
            ", and that the camera encrypts" if camera.address[:6] in ("https:", "rtsps:") else ""
        )
        return CameraUnreachable(
            camera.camera_id,
            f"{camera.address} was not found; check its host name and the network{encrypted}",
        )
    mend = (
        "check the address and the network"
        if "://" in camera.address
        else "open it in a player to see what it is"
    )
    return CameraUnreachable(
        camera.camera_id, f"{camera.address} cannot be opened ({error.strerror}); {mend}"
    )


def lost(camera: Camera, error: av.error.FFmpegError) -> CameraError:
    """An error while reading a stream that had been opened."""
    if isinstance(error, av.error.TimeoutError):
        return CameraStalled(camera.camera_id, f"{camera.address} stopped sending")
    return StreamEnded(camera.camera_id, f"{camera.address} broke off ({error.strerror})")
