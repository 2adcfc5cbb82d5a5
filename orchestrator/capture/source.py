"""Opens one camera with FFmpeg and decodes it. Everything here blocks: it runs in the camera's own thread."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av
from av.codec import Codec
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from orchestrator.camera import Camera
from orchestrator.capture.address import Address, Kind, locate
from orchestrator.capture.failure import lost, unreachable
from orchestrator.errors import CameraUnreachable, StreamEnded
from orchestrator.settings import CaptureSettings

# 8192 x 8192: a damaged or hostile header cannot ask for more memory than such a picture takes.
MAX_PIXELS = 1 << 26
# Pictures to wait for a keyframe: at the start (a camera that only refreshes slice by slice never sends
# one), and after damage, which fades from the following pictures.
START_PATIENCE = 250
DAMAGE_PATIENCE = 50
# Packets in a row that give no picture, after there were some: the codec changed within the stream. Before the
# first picture a long wait for a keyframe is usual, and the watchdog limits it.
BARREN_PACKETS = 50
# What carries no times; FFmpeg makes some up, 25 a second.
TIMELESS = ("mjpeg", "mpjpeg", "h264", "hevc", "m4v", "mpegvideo")


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture.

    stamp_s   the stream's own time, if it has one
    sound     whole, and decoded from a keyframe on
    waited_s  how long the decoder waited for it to come in
    """

    frame: av.VideoFrame
    stamp_s: float | None
    sound: bool
    waited_s: float


class KeyframeGate:
    """Lets pictures pass from a keyframe on, and none that was decoded from damaged data."""

    def __init__(self) -> None:
        self._patience = START_PATIENCE

    def damage(self) -> None:
        # Not prolonged by further damage: a camera whose every keyframe is damaged is still seen at times.
        if self._patience == 0:
            self._patience = DAMAGE_PATIENCE

    def admits(self, *, key_frame: bool, corrupt: bool) -> bool:
        if corrupt:
            self.damage()
            return False
        if key_frame:
            self._patience = 0
        elif self._patience > 0:
            self._patience -= 1
            return False
        return True


class Source:
    """A camera that has been opened."""

    def __init__(
        self, camera: Camera, address: Address, container: InputContainer, stream: VideoStream
    ) -> None:
        self._camera = camera
        self._container = container
        self._stream = stream
        self._gate = KeyframeGate()
        self._waited_s = 0.0
        form = container.format.name
        is_hls = address.kind is Kind.HTTP and "hls" in form
        is_recording = address.kind is Kind.HTTP and container.duration is not None
        self.ends = address.kind is Kind.FILE
        # A file, a recording and HLS come faster than they are to be shown, and so are slowed down.
        self.comes_in_bursts = is_hls or is_recording or self.ends
        self.has_stamps = self.ends or form not in TIMELESS

    def decode(
        self, on_packet: Callable[[], None], on_error: Callable[[], None]
    ) -> Iterator[Decoded]:
        """Until the stream ends. Raises CameraStalled and StreamEnded."""
        packets = self._container.demux(self._stream)
        barren, fruitful = 0, False
        while True:
            asked_s = time.monotonic()
            try:
                packet = next(packets, None)
            except FFmpegError as error:
                raise lost(self._camera, error) from None
            self._waited_s += time.monotonic() - asked_s
            if packet is None:
                return
            on_packet()
            frames = self._decode(packet, on_error)
            fruitful = fruitful or bool(frames)
            barren = 0 if frames else barren + 1
            if fruitful and barren > BARREN_PACKETS:
                raise StreamEnded(
                    self._camera.camera_id,
                    f"{self._camera.address} sends no picture that can be decoded any more",
                )
            yield from frames

    def _decode(
        self, packet: "av.Packet[VideoStream]", on_error: Callable[[], None]
    ) -> list[Decoded]:
        if packet.is_corrupt:
            self._gate.damage()
            on_error()
        try:
            frames = self._stream.decode(packet)
        except FFmpegError:
            self._gate.damage()
            on_error()
            return []
        return [self._judge(frame, on_error) for frame in frames]

    def _judge(self, frame: av.VideoFrame, on_error: Callable[[], None]) -> Decoded:
        if frame.is_corrupt:
            on_error()
        sound = self._gate.admits(key_frame=frame.key_frame, corrupt=frame.is_corrupt)
        waited_s, self._waited_s = self._waited_s, 0.0
        return Decoded(frame, frame.time, sound, waited_s)


@contextmanager
def open_source(camera: Camera, settings: CaptureSettings) -> Iterator[Source]:
    """Raises CameraUnreachable. Closing may block as long as reading does."""
    address = locate(camera, settings)
    accelerator = _accelerator(camera, settings)
    try:
        container = av.open(
            address.url,
            "r",
            format=address.format,
            # No `timeout` here: PyAV's own takes the GIL at every poll, and many cameras slow each other.
            options={**address.options, "max_pixels": str(MAX_PIXELS)},
            hwaccel=accelerator,
            metadata_errors="replace",
        )
    except FFmpegError as error:
        if accelerator is not None and not _works(accelerator):
            raise _no_hardware(camera, settings, "does not work on this machine") from None
        raise unreachable(camera, error) from None
    except NotImplementedError:
        raise _no_hardware(camera, settings, "cannot decode this camera's codec") from None
    try:
        yield Source(camera, address, container, _video(camera, container))
    finally:
        container.close()


def _video(camera: Camera, container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.codec_context is None:
        raise CameraUnreachable(
            camera.camera_id,
            f"{camera.address} holds no video that can be decoded; check the address",
            lasting=True,
        )
    # One thread a camera costs less and delays less than frame threading.
    stream.codec_context.thread_count = 1
    stream.codec_context.thread_type = "SLICE"
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def _accelerator(camera: Camera, settings: CaptureSettings) -> HWAccel | None:
    if settings.hwaccel is None:
        return None
    if settings.hwaccel not in hwdevices_available():
        raise _no_hardware(camera, settings, "is not known to this build of FFmpeg")
    return HWAccel(settings.hwaccel, allow_software_fallback=True)


def _works(accelerator: HWAccel) -> bool:
    """Whether its device can be opened at all, so that the camera is not blamed."""
    try:
        accelerator.create(Codec("h264", "r"))
    except (FFmpegError, NotImplementedError):
        return False
    return True


def _no_hardware(camera: Camera, settings: CaptureSettings, why: str) -> CameraUnreachable:
    known = ", ".join(hwdevices_available())
    return CameraUnreachable(
        camera.camera_id,
        f"the hardware decoder {settings.hwaccel} {why};"
        f" unset CAPTURE_HWACCEL, or set it to what this machine has (built in: {known})",
        lasting=True,
    )
