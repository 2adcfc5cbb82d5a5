"""What a machine lacks is skipped with its reason; where FESS_REQUIRE_SERVICES=1 it is a failure."""

import os
from typing import NoReturn

import pytest


def lacking(service: str, reason: str) -> NoReturn:
    """Skip the test, or fail it where the service is required."""
    message = f"{service}: {reason}"
    if os.environ.get("FESS_REQUIRE_SERVICES") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
