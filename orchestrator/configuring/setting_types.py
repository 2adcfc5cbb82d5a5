"""Kinds of values that settings have, as operators write them in an environment or in YAML."""

import ipaddress
import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from alerting.hours import Hours

Unit = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(gt=0.0)]
Port = Annotated[int, Field(ge=0, le=65535)]


def _names(value: Any) -> Any:
    """Let a list be written with commas, which is what people type in an environment."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [each.strip() for each in value.split(",") if each.strip()]


def _digit(value: Any) -> Any:
    """YAML reads `acks: 1` as a number; some words are digits."""
    return str(value) if type(value) is int else value


Names = Annotated[tuple[str, ...], BeforeValidator(_names), NoDecode]
WORD_OR_DIGIT = BeforeValidator(_digit)


def _hours(text: str) -> str:
    Hours.parse(text)
    return text


HoursText = Annotated[str, AfterValidator(_hours)]


_HOST_PORT = re.compile(r"(\[[^\s\[\]]+\]|[^\s:/@\[\]]+):([0-9]{1,5})")


def _host_port(text: str) -> str:
    found = _HOST_PORT.fullmatch(text)
    if text and (found is None or not 0 < int(found[2]) <= 65535):
        raise ValueError("not host:port")
    return text


HostPort = Annotated[str, AfterValidator(_host_port)]
"""An address to connect to, an IPv6 one in brackets; or nothing."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address to listen on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
