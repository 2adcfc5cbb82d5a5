"""Everything an operator may change. `REDIS_PORT` sets `settings.redis.port`; docs/configuration.md lists all.

Precedence: command line, environment, .env, secrets directory, fess.yaml, defaults.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, FilePath, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from orchestrator.configuring.loading import Configured, loaded
from orchestrator.configuring.problem import Contradiction
from orchestrator.configuring.setting_types import (
    WORD_OR_DIGIT,
    Brokers,
    HostPort,
    HoursText,
    Names,
    Port,
    Seconds,
    TopicName,
    Unit,
    is_loopback,
)

MIN_TOKEN = 16  # characters


class Section(BaseModel):
    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # it may be a password
    )


class RedisSettings(Section):
    host: str = ""
    """Address of Redis. Empty: the embedded Redis is started, loopback only."""
    port: Port = 6379
    """Port of that Redis."""
    db: int = Field(default=0, ge=0)
    """Number of the database in it."""
    password: SecretStr | None = None
    """Best given as a file of the secrets directory."""
    max_connections: int = Field(default=50, ge=1)
    """Connections to Redis, at most; who needs one more waits."""
    socket_timeout: Seconds = 5.0
    """Seconds to wait for a reply."""


class TritonSettings(Section):
    url: HostPort = ""
    """gRPC address of Triton, host:port. Empty: the embedded Triton is started, loopback only."""
    model_repository: Path = Path("model_repository")
    """What the embedded Triton serves; also where the models' labels and digests are read."""
    timeout: Seconds = 1.0
    """Seconds a request may take; a later answer is never applied."""
    max_in_flight: int = Field(default=32, ge=1)
    """Most requests on their way at once, over all cameras of a process; fewer while Triton takes long."""
    shared_memory: Literal["auto", "on", "off"] = "auto"
    """Whether pixels go to Triton through shared memory. auto: where Triton can open it. on: else a problem."""
    breaker_failures: int = Field(default=5, ge=1)
    """Failures in a row after which requests are held back."""
    breaker_reset: Seconds = 1.0
    """Seconds until one request is let through to try again."""


class DetectorSettings(Section):
    model: str = "object_detector"
    """Name of the folder in the model repository."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where the embedded Triton runs its models."""
    score_threshold: Unit = 0.5
    """Least confidence of a detection that is reported."""
    nms_threshold: Unit = 0.45
    """Intersection over union above which the weaker of two boxes of a class is dropped."""
    classes: Names = ()
    """Labels to report, as in labels.txt. Empty: all."""


class FacesSettings(Section):
    enabled: bool = True
    """Whether faces are looked for at all."""
    detector_model: str = "face_detector"
    """Name of the folder in the model repository."""
    embedder_model: str = "face_embedder"
    """Name of the folder in the model repository."""
    detector_threshold: Unit = 0.7
    """Least confidence of a face that is looked at."""
    match_threshold: float | None = Field(default=None, ge=-1.0, le=1.0)
    """Least cosine similarity of a match. Unset: the value the embedder's manifest recommends."""
    match_margin: float = Field(default=0.05, ge=0.0, le=2.0)
    """Least lead over the second-best person."""
    agreement: int = Field(default=2, ge=1)
    """Good faces that must name the same person before a name is given."""
    max_faces: int = Field(default=8, ge=1)
    """Good faces of a track after which, at the latest, it is called a stranger."""
    min_size: float = Field(default=20.0, gt=0.0)
    """Least distance between the eyes, in source pixels."""
    min_sharpness: float = Field(default=20.0, ge=0.0)
    """Least sharpness of a face, as docs/faces.md defines it."""
    max_yaw: float = Field(default=35.0, gt=0.0, le=90.0)
    """Degrees away from frontal."""
    max_pitch: float = Field(default=35.0, gt=0.0, le=90.0)
    """Degrees up or down."""


class CacheSettings(Section):
    face_ttl: int = Field(default=3600, ge=1)
    """Seconds a cached face stays in Redis."""
    detection_ttl: int = Field(default=300, ge=1)
    """Seconds the detections of a frame stay in Redis."""
    max_faces: int = Field(default=10000, ge=1)
    """Faces held in the cache at once; the oldest leave first."""


class KafkaSettings(Section):
    bootstrap_servers: Brokers = "localhost:9092"
    """Brokers to begin with: host:port, several separated by commas."""
    topic_motion: TopicName = "motion.detection.events"
    """Topic of motion.detected."""
    topic_faces: TopicName = "face.recognition.events"
    """Topic of face.recognized."""
    topic_alerts: TopicName = "alert.events"
    """Topic of alert.triggered."""
    topic_status: TopicName = "system.status.events"
    """Topic of system.status."""
    acks: Annotated[Literal["all", "1", "0"], WORD_OR_DIGIT] = "all"
    """Replicas that must have an event before it counts as sent."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    """How batches are compressed."""
    linger_ms: float = Field(default=10.0, ge=0.0)
    """Milliseconds a batch may wait for more events; the outbox closes its batches itself, so it is a bound only."""
    batch_size: int = Field(default=131072, ge=1)
    """Bytes of a batch, at most."""
    max_request_size: int = Field(default=1048576, ge=1024)
    """Bytes of a request, at most."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How the broker is spoken to."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How the user is proved, where the protocol is SASL."""
    sasl_username: str | None = None
    """User at the broker."""
    sasl_password: SecretStr | None = None
    """Best given as a file of the secrets directory."""
    ssl_cafile: FilePath | None = None
    """Certificates (PEM) that vouch for the brokers, where the protocol is SSL. Unset: those of the system."""
    ssl_certfile: FilePath | None = None
    """Our own certificate (PEM), where the brokers ask for one."""
    ssl_keyfile: FilePath | None = None
    """The key of that certificate (PEM, without a password)."""

    @model_validator(mode="after")
    def _sasl_has_a_user(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (
            self.sasl_username and self.sasl_password
        ):
            raise Contradiction(
                "security_protocol",
                f"{self.security_protocol} needs a user and a password",
                "set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD",
            )
        return self


class EventsSettings(Section):
    bus: Literal["redis", "kafka", "memory"] = "redis"
    """Which event bus: Redis Streams, Kafka, or none that outlives the process."""
    motion_interval: float = Field(default=0.0, ge=0.0)
    """Least seconds between two motion events of a camera. 0: one for every inspected frame with detections."""
    outbox: Path = Path(".fess/outbox")
    """Folder for events the bus does not take at the moment."""
    outbox_max_bytes: int = Field(default=268435456, ge=65536)
    """Size of that folder at most; beyond it the least important events are dropped, and counted."""
    stream_max_length: int = Field(default=250000, ge=1)
    """Events kept in each Redis stream, roughly; one that shows one person takes about 0.9 kB of Redis' memory."""


class AlertsSettings(Section):
    enabled: bool = True
    """Whether alerts are raised at all."""
    strangers: bool = True
    """Raise a WARNING for a person who is not enrolled."""
    unauthorized: bool = True
    """Raise a CRITICAL for an enrolled person without authorisation."""
    cameras: Names = ()
    """Cameras whose sightings raise alerts. Empty: all."""
    hours: HoursText = Field(default="00:00-24:00", examples=["22:00-06:00"])
    """Local times of day in which sightings raise alerts; several as 08:00-12:00, 13:00-17:00."""
    cooldown: float = Field(default=60.0, ge=0.0)
    """Seconds in which the same person at the same camera raises no second alert."""


class CaptureSettings(Section):
    connect_timeout: Seconds = 5.0
    """Seconds to open a camera."""
    read_timeout: Seconds = 5.0
    """Seconds without a packet after which a stream counts as lost."""
    max_opening: int = Field(default=8, ge=1)
    """Cameras being opened at once."""
    backoff_base: Seconds = 0.5
    """Seconds until a lost camera is tried again; doubled at each failure."""
    backoff_cap: Seconds = 30.0
    """Seconds between two tries, at most."""
    max_frame_age: Seconds = 0.5
    """A frame older than this is not inspected any more, and counted as stale."""
    hwaccel: str | None = None
    """Hardware decoder, as FFmpeg names it: cuda, vaapi, qsv. Unset: software."""

    @model_validator(mode="after")
    def _backoff_grows(self) -> Self:
        if self.backoff_base > self.backoff_cap:
            raise Contradiction(
                "backoff_base",
                f"it is above the cap of {self.backoff_cap:g} s",
                "lower it, or raise CAPTURE_BACKOFF_CAP",
            )
        return self


class MotionSettings(Section):
    enabled: bool = True
    """Whether frames without motion are skipped."""
    sensitivity: Unit = 0.5
    """0 sees only large changes, 1 the smallest."""
    forced_interval: Seconds = 3.0
    """Seconds after which a frame is inspected although nothing moved."""


class HttpSettings(Section):
    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs HTTP_TOKEN."""
    port: Port = 8080
    """Port of the page, /health and /metrics. 0: any free one."""
    token: SecretStr | None = None
    """Bearer token for the page and its pictures, 16 characters or more."""


class Settings(Configured, Section):
    """All sections. `load` builds it once, for the command line to pass in; `Settings()` is the defaults."""

    environment: Literal["development", "production"] = "development"
    """production logs JSON; development logs for people."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level that is logged."""
    cameras_file: Path = Path("cameras.yaml")
    """The cameras; changes are taken up while running."""
    state_dir: Path = Path(".fess")
    """Where embedded servers keep data and logs, and where fetched models are kept."""
    models_mirror: Path | None = Field(default=None, alias="FESS_MODELS_MIRROR")
    """Folder with model files and a SHA256SUMS, used instead of the models' public addresses."""
    videos_mirror: Path | None = Field(default=None, alias="FESS_VIDEOS_MIRROR")
    """Folder with the sample clips and a SHA256SUMS, used instead of their public addresses."""

    redis: RedisSettings = RedisSettings()
    triton: TritonSettings = TritonSettings()
    detector: DetectorSettings = DetectorSettings()
    faces: FacesSettings = FacesSettings()
    cache: CacheSettings = CacheSettings()
    kafka: KafkaSettings = KafkaSettings()
    events: EventsSettings = EventsSettings()
    alerts: AlertsSettings = AlertsSettings()
    capture: CaptureSettings = CaptureSettings()
    motion: MotionSettings = MotionSettings()
    http: HttpSettings = HttpSettings()

    @field_validator("http")
    @classmethod
    def _open_pages_are_guarded(cls, http: HttpSettings) -> HttpSettings:
        if is_loopback(http.host):
            return http
        if http.token is None:
            mend = f"set HTTP_TOKEN ({MIN_TOKEN} characters or more), or listen on 127.0.0.1"
            raise Contradiction("host", "the page would be open to everyone", mend)
        if len(http.token.get_secret_value()) < MIN_TOKEN:
            mend = f"use {MIN_TOKEN} characters or more, at random (openssl rand -hex 32)"
            raise Contradiction("token", "it is too short", mend)
        return http


def load(config: Path | None = None, **overrides: object) -> Settings:
    """Read all layers of the running process.

    Args:
        config: the YAML file, which then must exist; else FESS_CONFIG, else fess.yaml if there is one.
        overrides: from the command line, such as `http_port=8080`; None means not given.

    Raises:
        SettingsError: tells every mistake of every layer, with its place and its mend.
    """
    return loaded(Settings, config, overrides)
