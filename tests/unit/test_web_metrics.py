"""The metrics say what the status says, hold to their names, and are in the docs."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from leakguard.core.policy import Trigger
from leakguard.core.status import Status, ThrottleStatus
from leakguard.testing.web import CGROUP_LIMIT, MIB, quiet, sample_status, worker
from leakguard.web.metric_table import METRICS
from leakguard.web.metrics import AT_ONCE, OUTCOMES, Metrics

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
OWN = {"service": "worker"}


def scrape(status: Status, accept: str = "") -> list[Sample]:
    """Read the text back as Prometheus does."""
    _, body = Metrics(lambda: status).render(accept)
    families = text_string_to_metric_families(body.decode())
    return [sample for family in families for sample in family.samples]


def values(status: Status, name: str, **labels: str) -> list[float]:
    """Give the values of the samples of `name` that carry at least these labels."""
    return [
        sample.value
        for sample in scrape(status)
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("leakguard_build_info", {"version": "0.1.0"}, 1),
        ("leakguard_ready", {}, 1),
        ("leakguard_config_last_reload_successful", {}, 1),
        ("leakguard_store_ok", {}, 1),
        ("leakguard_memory_bytes", {**OWN, "measure": "auto"}, 812 * MIB),
        ("leakguard_memory_bytes", {**OWN, "measure": "rss"}, 830 * MIB),
        ("leakguard_memory_bytes", {**OWN, "measure": "swap"}, 0),
        ("leakguard_limit_bytes", {**OWN, "kind": "cgroup"}, 1024 * MIB),
        ("leakguard_limit_bytes", {**OWN, "kind": "host"}, 8192 * MIB),
        ("leakguard_headroom_bytes", OWN, 212 * MIB),
        ("leakguard_slope_bytes_per_second", OWN, 21 * MIB / 3600),
        ("leakguard_time_to_limit_seconds", {**OWN, "quantile": "0.05"}, 16800),
        ("leakguard_time_to_limit_seconds", {**OWN, "quantile": "0.5"}, 36342),
        ("leakguard_verdict", {**OWN, "verdict": "leaking"}, 1),
        ("leakguard_verdict", {**OWN, "verdict": "stable"}, 0),
        ("leakguard_breaker_open", OWN, 0),
        ("leakguard_limits_bent", OWN, 0),
        ("leakguard_next_restart_timestamp_seconds", OWN, 1795399200),
        ("leakguard_restarts_total", {**OWN, "reason": "schedule", "outcome": "succeeded"}, 2),
        ("leakguard_restarts_total", {**OWN, "reason": "others", "outcome": "succeeded"}, 1),
        ("leakguard_restarts_total", {**OWN, "reason": "forecast", "outcome": "failed"}, 0),
        ("leakguard_vetoes_total", {**OWN, "guard": "grace"}, 4),
        ("leakguard_vetoes_total", {**OWN, "guard": "breaker"}, 0),
        ("leakguard_sample_errors_total", OWN, 1),
        ("leakguard_oom_kills_total", {**OWN, "cause": "own_limit"}, 2),
        ("leakguard_oom_kills_total", {**OWN, "cause": "host"}, 0),
        ("leakguard_deaths_total", {**OWN, "cause": "crash"}, 1),
        ("leakguard_deaths_total", {**OWN, "cause": "unknown"}, 0),
        ("leakguard_deliveries_total", {"channel": "ops", "result": "ok"}, 5),
        ("leakguard_deliveries_total", {"channel": "ops", "result": "gave_up"}, 0),
        ("leakguard_deliveries_pending", {"channel": "ops"}, 2),
    ],
)
def test_value(name: str, labels: dict[str, str], value: float) -> None:
    """One sample carries these labels, and this is its value."""
    assert values(sample_status(), name, **labels) == [value]


def test_memory_high() -> None:
    """It is shown beside the limits, and whether the service is slowed down there."""
    slowed = ThrottleStatus(
        path="/a", high_bytes=400 * MIB, headroom_bytes=0, limited=True, now=True
    )
    status = sample_status(services=(worker(throttle=slowed),))
    assert values(status, "leakguard_limit_bytes", kind="high") == [400 * MIB]
    assert values(status, "leakguard_throttled", **OWN) == [1]
    assert values(sample_status(), "leakguard_throttled", **OWN) == []


def test_what_is_not_known_is_absent() -> None:
    """A service without a reading has no size, no limit, no slope and no forecast: not zero."""
    status = sample_status(services=(quiet(),))
    seen = {sample.name for sample in scrape(status) if sample.labels.get("service") == "cache"}
    assert seen == {
        "leakguard_verdict",
        "leakguard_breaker_open",
        "leakguard_limits_bent",
        "leakguard_restarts_total",
        "leakguard_vetoes_total",
        "leakguard_sample_errors_total",
        "leakguard_oom_kills_total",
        "leakguard_deaths_total",
    }


def test_a_quantile_beyond_the_horizon_is_absent() -> None:
    """The late edge that is not foreseen has no sample."""
    name = "leakguard_time_to_limit_seconds"
    assert values(sample_status(), name, quantile="0.95") == []


def test_of_two_limits_of_one_kind_the_tighter_counts() -> None:
    """Ancestors with limits of their own give one sample, and never two of one name."""
    wide = {"limit_bytes": 4096 * MIB, "headroom_bytes": 3000 * MIB, "kind": "cgroup"}
    outer = type(CGROUP_LIMIT)(path="/", **wide)  # type: ignore[arg-type]  # of one kind each
    status = sample_status(services=(worker(limits=(outer, CGROUP_LIMIT, outer)),))
    assert values(status, "leakguard_limit_bytes", kind="cgroup") == [1024 * MIB]


def test_a_measure_that_is_a_part_is_given_once() -> None:
    """With `measure: rss` the configured value and the part are one sample."""
    status = sample_status(services=(worker(measure="rss"),))
    assert values(status, "leakguard_memory_bytes", measure="rss") == [812 * MIB]


def test_no_series_is_given_twice() -> None:
    """Prometheus refuses a scrape with the same labels twice."""
    series = [(s.name, tuple(sorted(s.labels.items()))) for s in scrape(sample_status())]
    assert len(series) == len(set(series))


def test_restarts_that_cannot_be_are_not_announced() -> None:
    """Only a service that leakguard itself starts can be respawned."""
    name = "leakguard_restarts_total"
    child = sample_status(services=(worker(driver="child"),))
    assert len(values(child, name, reason="respawn")) == len(OUTCOMES)
    assert values(sample_status(), name, reason="respawn") == []
    assert len(values(child, name)) == len(Trigger) * len(OUTCOMES) + 1


def test_only_the_names_of_the_table_are_used() -> None:
    """Every sample is a metric of the table with its labels, or of the process itself."""
    for sample in scrape(sample_status()):
        if sample.name.startswith("process_"):
            continue
        assert set(sample.labels) == set(METRICS[sample.name].labels)


def test_the_process_is_measured_too() -> None:
    """The guard shows its own weight."""
    assert values(sample_status(), "process_resident_memory_bytes")[0] > 0


def test_names_follow_the_conventions() -> None:
    """Prefix, `_total` on counters and only there, `_info` on infos, a full stop in the help."""
    for name, row in METRICS.items():
        assert re.fullmatch(r"leakguard_[a-z][a-z_]*", name)
        assert name.endswith("_total") == (row.kind == "counter")
        assert name.endswith("_info") == (row.kind == "info")
        assert row.help.endswith(".")


def test_openmetrics_is_spoken() -> None:
    """A scraper that asks for OpenMetrics gets it."""
    content_type, body = Metrics(sample_status).render("application/openmetrics-text")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_the_docs_list_every_metric_and_no_other() -> None:
    """docs/metrics.md and the table name the same metrics with the same labels."""
    pattern = re.compile(r"^\| `(leakguard_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
    rows = pattern.findall(DOCS.read_text())
    told = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert told == {name: (row.kind, row.labels) for name, row in METRICS.items()}


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_many_services_share_one_header_for_each_family(accept: str) -> None:
    """However the samples were gathered, a family is one block: its header, then every service."""
    names = [f"s{number:03}" for number in range(2 * AT_ONCE + 1)]
    status = sample_status(services=tuple(worker(name=name) for name in names))
    _, body = Metrics(lambda: status).render(accept)
    lines = body.decode().splitlines()
    headers = [line for line in lines if line.startswith("# TYPE ")]
    slopes = [i for i, line in enumerate(lines) if line.startswith("leakguard_slope_bytes_per_")]
    assert headers == list(dict.fromkeys(headers))
    assert slopes == list(range(slopes[0], slopes[0] + len(names)))
    assert [i for i, line in enumerate(lines, 1) if line == "# EOF"] == [len(lines)] * bool(accept)
