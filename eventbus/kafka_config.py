"""How Kafka is reached, and what to say when it is not."""

import asyncio
import logging
import ssl
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaError
from aiokafka.helpers import create_ssl_context

Security = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True)
class KafkaConfig:
    """acks: `all` also makes the producer idempotent. linger_ms: see docs/decisions/0005-event-delivery.md.

    request_timeout_s   for one answer of a broker
    delivery_timeout_s  for all records of one call to be acknowledged
    """

    bootstrap_servers: str
    acks: Literal["all", "1", "0"] = "all"
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    linger_ms: float = 10.0
    batch_size: int = 131_072
    max_request_size: int = 1_048_576
    security_protocol: Security = "PLAINTEXT"
    sasl_mechanism: Mechanism = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    request_timeout_s: float = 5.0
    delivery_timeout_s: float = 10.0
    session_timeout_s: float = 10.0

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext | None:
        if self.security_protocol not in ("SSL", "SASL_SSL"):
            return None
        files = (self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile)
        try:
            context: ssl.SSLContext = create_ssl_context(
                cafile=self.ssl_cafile,
                certfile=self.ssl_certfile,
                keyfile=self.ssl_keyfile,
                password="",  # else a locked key would make OpenSSL ask on the terminal
            )
        except OSError as error:
            named = ", ".join(str(file) for file in files if file is not None)
            raise OSError(
                f"{named}: cannot be used ({describe(error)}); give certificates and key as PEM, the key unlocked"
            ) from error
        return context

    def connection(self) -> dict[str, Any]:  # Any: aiokafka is untyped
        """Arguments that every client of aiokafka takes. Raises OSError for unreadable certificates."""
        _calm_the_client()
        login: dict[str, Any] = {}
        if self.security_protocol.startswith("SASL"):
            login = {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username or "",
                "sasl_plain_password": self.sasl_password or "",
            }
        return {
            "security_protocol": self.security_protocol,
            "ssl_context": self._ssl_context,
            "request_timeout_ms": int(self.request_timeout_s * 1000),
            **login,
        }

    async def explain(self, error: BaseException) -> str:
        """Why no broker could be used. The client logs that but does not say it, so we ask each once more."""
        reasons = []
        for host, port, _ in collect_hosts(self.bootstrap_servers):
            try:
                async with asyncio.timeout(self.request_timeout_s):
                    connection = await create_conn(host, port, **self.connection())
            except (KafkaError, OSError) as reason:
                reasons.append(f"{host}:{port}: {self._login_hint(reason)}")
            else:
                connection.close()
                reasons.append(f"{host}:{port}: {describe(error)}")
        return f"kafka at {'; '.join(reasons)}"

    def _login_hint(self, error: BaseException) -> str:
        said = describe(error)
        if "Authentication" in said or "Sasl" in said:
            return f"login as {self.sasl_username!r} with {self.sasl_mechanism} refused ({said})"
        if "CERTIFICATE_VERIFY_FAILED" in said:
            return (
                f"its certificate is vouched for by nobody we know; set KAFKA_SSL_CAFILE ({said})"
            )
        return said


def _calm_the_client() -> None:
    """It logs each failure ten times a second as an error; we tell it once, with its reason.

    Who wants to hear it all sets the level of `aiokafka` before. Never its logins: at DEBUG it writes
    out its requests, the one with the password too.
    """
    logger = logging.getLogger("aiokafka")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
    logging.getLogger("aiokafka.conn").addFilter(_keeps_secrets)


def _keeps_secrets(entry: logging.LogRecord) -> bool:
    return entry.levelno > logging.DEBUG or "Sasl" not in entry.getMessage()


def describe(error: BaseException) -> str:
    """What the client said, without its number codes; never a credential."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
