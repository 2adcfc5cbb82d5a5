"""Reads /metrics of a running `fess`."""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """(name, sorted labels) -> value."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(found: Samples, name: str, **labels: str) -> float:
    """The sum over every series of this name that has these labels."""
    wanted = labels.items()
    return sum(
        value for (each, having), value in found.items() if each == name and wanted <= set(having)
    )


def mean_ms(before: Samples, after: Samples, name: str, **labels: str) -> tuple[float, float]:
    """Of a histogram of seconds between two readings: mean in milliseconds, and how many were observed."""
    count = total(after, f"{name}_count", **labels) - total(before, f"{name}_count", **labels)
    seconds = total(after, f"{name}_sum", **labels) - total(before, f"{name}_sum", **labels)
    return (seconds / count * 1000 if count else float("nan")), count
