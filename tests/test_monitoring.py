"""The monitoring guide: what it names exists."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from orchestrator.board import Board
from orchestrator.configuring.variables import variables_of
from orchestrator.health import Components, SystemHealth
from orchestrator.ledger import Skip
from orchestrator.metrics import Metrics
from orchestrator.settings import Settings
from orchestrator.telemetry import LedgerCollector

DOCS = Path(__file__).resolve().parents[1] / "docs"
GUIDE = (DOCS / "monitoring.md").read_text()
REFERENCE = (DOCS / "metrics.md").read_text()
SERIES = ("_total", "_bucket", "_sum", "_count", "")


def exported() -> set[str]:
    metrics = vars(Metrics(CollectorRegistry())).values()
    wrapped = [metric for metric in metrics if isinstance(metric, MetricWrapperBase)]
    families = [family for metric in wrapped for family in metric.describe()]
    return {family.name for family in [*families, *LedgerCollector(Board()).describe()]}


def test_every_metric_that_is_exported_is_documented() -> None:
    documented = re.findall(r"^\| `(fess_\w+?)(?:_total)?` \|", REFERENCE, re.MULTILINE)
    assert set(documented) == exported()


def test_every_metric_that_the_guide_asks_for_is_exported() -> None:
    series = {name + suffix for name in exported() for suffix in SERIES}
    asked = set(re.findall(r"\bfess_\w*[a-z]\b", GUIDE))
    assert len(asked) > 8
    assert asked <= series


def test_every_setting_that_the_guide_names_exists() -> None:
    settings = {variable.name for variable in variables_of(Settings)}
    named = set(re.findall(r"\b(?:HTTP|EVENTS|CAPTURE|MOTION|LOG)_[A-Z_]+\b", GUIDE))
    assert named
    assert named <= settings


def test_every_cause_of_the_ledger_and_every_part_of_health_is_explained() -> None:
    for cause in Skip:
        assert f"| `{cause}` |" in GUIDE
    for name in (*Components.model_fields, *SystemHealth.model_fields):
        assert f'"{name}"' in GUIDE
