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


_ADDRESS = re.compile(r"(?:\[[^\s\[\],]+\]|[^\s:/@\[\],]+)(?::([0-9]{1,5}))?")


def _is_address(text: str, *, port: int = 0) -> bool:
    """host:port, an IPv6 host in brackets. port: taken where none is named."""
    found = _ADDRESS.fullmatch(text)
    return found is not None and 0 < int(found[1] or port) <= 65535


def _address(text: str) -> str:
    if text and not _is_address(text):
        raise ValueError("not host:port")
    return text


def _brokers(text: str) -> str:
    if not all(_is_address(each.strip(), port=9092) for each in text.split(",")):
        raise ValueError("not addresses of brokers")
    return text


HostPort = Annotated[str, AfterValidator(_address), Field(examples=["triton:8001"])]
Brokers = Annotated[str, AfterValidator(_brokers), Field(examples=["kafka-1:9092,kafka-2:9092"])]
# As Kafka has it, with room for `.dlq`.
TopicName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,244}$", examples=["alert.events"])
]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address to listen on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
