"""`fess demo`: placeholder until written below."""


def demo() -> None:
    """Watch sample clips."""
