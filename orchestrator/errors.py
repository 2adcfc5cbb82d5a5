"""Every failure we name, and who recovers from it.

FessError
├── SettingsError          the operator            mends what the message names
├── CameraError            one camera is lost      its supervisor reconnects
│   ├── CameraUnreachable    could not be opened: refused, silent, wrong password, not video
│   ├── CameraStalled        opened, then nothing came in time
│   └── StreamEnded          the source closed, or its file ended
├── InferenceError         one request failed      the frame is skipped and counted
│   ├── InferenceStale       refused or answered after its deadline
│   ├── InferenceUnavailable the server is down, or the breaker is open
│   ├── InferenceOutdated    the version asked for is not served any more; asked again of the one that is
│   └── InferenceInvalid     the answer has a wrong shape, NaN or impossible values
├── GalleryError           faces cannot be used    the operator mends it; matching goes on with what is loaded
│   ├── GalleryMismatch      embeddings of another model or dimension
│   └── EnrolmentRefused     the picture is not fit to be enrolled
├── CacheError             Redis did not answer    the gallery in memory goes on; health is degraded
├── ModelError             a model file is refused the operator fetches or exports it anew
│   └── ModelRefused         Triton cannot load it     what was served before goes on
└── ServerError            an embedded server did not start, or died   its supervisor restarts it

Failures of the event bus are in `eventbus.bus`: the outbox retries them.
"""


class FessError(Exception):
    """Root of the tree. Its message says what, where and how to mend; the command line prints it."""


class SettingsError(FessError): ...


class CameraError(FessError):
    """lasting: it will not pass by itself (wrong password, not video), so that it is tried again seldom."""

    def __init__(self, camera_id: str, reason: str, *, lasting: bool = False) -> None:
        super().__init__(f"camera {camera_id}: {reason}")
        self.camera_id = camera_id
        self.reason = reason
        self.lasting = lasting


class CameraUnreachable(CameraError): ...


class CameraStalled(CameraError): ...


class StreamEnded(CameraError): ...


class InferenceError(FessError): ...


class InferenceStale(InferenceError): ...


class InferenceUnavailable(InferenceError): ...


class InferenceOutdated(InferenceError): ...


class InferenceInvalid(InferenceError): ...


class GalleryError(FessError): ...


class GalleryMismatch(GalleryError): ...


class EnrolmentRefused(GalleryError): ...


class CacheError(FessError): ...


class ModelError(FessError): ...


class ModelRefused(ModelError): ...


class ServerError(FessError): ...
