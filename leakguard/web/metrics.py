"""`/metrics`: a status as Prometheus families. A value that is not known is absent, never 0."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from itertools import product

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from leakguard.core.accuracy import Hit
from leakguard.core.guards import Guard
from leakguard.core.kills import DeathCause, KillCause
from leakguard.core.policy import Trigger
from leakguard.core.status import LimitStatus, ServiceStatus, Status
from leakguard.core.trend import Verdict
from leakguard.web.metric_table import METRICS

OUTCOMES = ("succeeded", "failed", "abandoned", "skipped")
"""How a restart can end; the second half of the keys of `restart_counts`."""

RESULTS = ("ok", "failed", "gave_up")
"""Results of deliveries that only grow; what is pending is a gauge."""

OTHERS = "others"
LEAKGUARD_STARTS = "child"

AT_ONCE = 4
"""Services whose samples exist at one time."""

_END = b"# EOF\n"
"""What OpenMetrics ends with."""

Samples = Iterable[tuple[str, float | None, Mapping[str, str]]]
"""Name in METRICS, value or None when it is not known, labels."""


class Metrics:
    """The registry of one daemon: its services, and the process itself."""

    def __init__(self, status: Callable[[], Status]) -> None:
        """Read `status` at every scrape."""
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_StatusCollector(status))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[str, bytes]:
        """Give content type and text in the format that `accept` asks for."""
        encode, content_type = choose_encoder(accept)
        texts, end = dict[str, bytearray](), b""
        for family in self._registry.collect():
            text = encode(_Single(family))
            end = _END if text.endswith(_END) else b""
            known = texts.setdefault(family.name, bytearray())
            known += (_without_header(text) if known else text).removesuffix(end)
        return content_type, b"".join([*texts.values(), end])


class _Single:
    """A registry of one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        """Give it."""
        return (self._family,)


class _StatusCollector(Collector):
    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """Give one family per metric that has a value, once for every few services.

        All samples of all services at once would take 30 kB a service, and the daemon keeps what
        it once took.
        """
        status = self._status()
        yield from _families(_daemon(status))
        for first in range(0, len(status.services), AT_ONCE):
            few = status.services[first : first + AT_ONCE]
            yield from _families(sample for service in few for sample in _service(service))


def _families(samples: Samples) -> Iterable[Metric]:
    found: dict[str, Metric] = {}
    for name, value, labels in samples:
        if value is None:
            continue
        if name not in found:
            metric = METRICS[name]
            found[name] = Metric(_family(name), metric.help, metric.kind)
        found[name].add_sample(name, dict(labels), value)
    return found.values()


def _family(name: str) -> str:
    kind = METRICS[name].kind
    return name.removesuffix("_total" if kind == "counter" else "_info" if kind == "info" else "")


def _daemon(status: Status) -> Samples:
    yield "leakguard_build_info", 1, {"version": status.version}
    yield "leakguard_config_last_reload_successful", status.config_ok, {}
    yield "leakguard_store_ok", status.store == "ok", {}
    yield "leakguard_ready", status.ready, {}
    for hit in Hit:
        number = status.predictions.get(hit.value, 0)
        yield "leakguard_predictions_total", number, {"result": hit.value}
    for channel, results in status.deliveries.items():
        for result in RESULTS:
            labels = {"channel": channel, "result": result}
            yield "leakguard_deliveries_total", results.get(result, 0), labels
        yield "leakguard_deliveries_pending", results.get("pending", 0), {"channel": channel}


def _service(service: ServiceStatus) -> Samples:
    for some in (_memory, _limits, _state, _restarts, _vetoes, _errors):
        yield from some(service)


def _without_header(text: bytes) -> bytes:
    while text.startswith(b"# "):
        text = text.partition(b"\n")[2]
    return text


def _state(service: ServiceStatus) -> Samples:
    own = _own(service)
    yield "leakguard_slope_bytes_per_second", service.slope_bytes_per_s, own
    for verdict in Verdict:
        labels = {**own, "verdict": verdict.value}
        yield "leakguard_verdict", service.verdict == verdict.value, labels
    yield "leakguard_breaker_open", service.breaker_open, own
    yield "leakguard_limits_bent", bool(service.bent), own
    if service.next_schedule:
        due = _seconds(service.next_schedule)
        yield "leakguard_next_restart_timestamp_seconds", due, own


def _memory(service: ServiceStatus) -> Samples:
    own = _own(service)
    sizes = {
        "rss": service.rss_bytes,
        "anon": service.anon_bytes,
        "file": service.file_bytes,
        "shmem": service.shmem_bytes,
        "swap": service.swap_bytes,
        "tmpfs": service.tmpfs_bytes,
        service.measure: service.value_bytes,
    }
    for measure, size in sizes.items():
        yield "leakguard_memory_bytes", size, {**own, "measure": measure}


def _limits(service: ServiceStatus) -> Samples:
    """Give one limit of each kind: the one with the least room, where there are several."""
    own, tightest = _own(service), dict[str, LimitStatus]()
    for limit in service.limits or ((service.nearest,) if service.nearest else ()):
        known = tightest.get(limit.kind)
        if known is None or limit.headroom_bytes < known.headroom_bytes:
            tightest[limit.kind] = limit
    for kind, limit in tightest.items():
        yield "leakguard_limit_bytes", limit.limit_bytes, {**own, "kind": kind}
    if service.throttle is not None:
        yield "leakguard_limit_bytes", service.throttle.high_bytes, {**own, "kind": "high"}
        yield "leakguard_throttled", service.throttle.now, own
    if service.nearest is None:
        return
    yield "leakguard_headroom_bytes", service.nearest.headroom_bytes, own
    times = service.nearest.time_to_limit
    if times is None:
        return
    for quantile, seconds in (("0.05", times.p05_s), ("0.5", times.p50_s), ("0.95", times.p95_s)):
        yield "leakguard_time_to_limit_seconds", seconds, {**own, "quantile": quantile}


def _restarts(service: ServiceStatus) -> Samples:
    """Give every counter, at 0 where nothing happened yet, so that rates see the first event."""
    for key in sorted({*_known_restarts(service), *service.restart_counts}):
        reason, _, outcome = key.partition("/")
        labels = {**_own(service), "reason": reason, "outcome": outcome}
        yield "leakguard_restarts_total", service.restart_counts.get(key, 0), labels


def _vetoes(service: ServiceStatus) -> Samples:
    """Give every guard's counter, at 0 likewise."""
    for guard in sorted({*(g.value for g in Guard), *service.veto_counts}):
        labels = {**_own(service), "guard": guard}
        yield "leakguard_vetoes_total", service.veto_counts.get(guard, 0), labels


def _errors(service: ServiceStatus) -> Samples:
    own = _own(service)
    yield "leakguard_sample_errors_total", service.sample_errors, own
    for kill in KillCause:
        number = service.oom_causes.get(kill.value, 0)
        yield "leakguard_oom_kills_total", number, {**own, "cause": kill.value}
    for death in DeathCause:
        number = service.deaths.get(death.value, 0)
        yield "leakguard_deaths_total", number, {**own, "cause": death.value}
    for came, number in service.outcomes.items():
        yield "leakguard_forecast_outcomes", number, {**own, "result": came}


def _own(service: ServiceStatus) -> dict[str, str]:
    return {"service": service.name}


def _known_restarts(service: ServiceStatus) -> Iterable[str]:
    starts = service.driver == LEAKGUARD_STARTS
    triggers = (t for t in Trigger if starts or t is not Trigger.RESPAWN)
    yield from (f"{trigger.value}/{end}" for trigger, end in product(triggers, OUTCOMES))
    yield f"{OTHERS}/succeeded"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
