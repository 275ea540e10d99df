"""Every metric of leakguard's own: name, type and the one line that explains it."""

from collections.abc import Mapping
from typing import Literal, NamedTuple


class MetricRow(NamedTuple):
    """Type, labels and help of one metric."""

    kind: Literal["gauge", "counter", "info", "summary"]
    labels: tuple[str, ...]
    help: str


METRICS: Mapping[str, MetricRow] = {
    "leakguard_build_info": MetricRow("info", ("version",), "Version of the running leakguard."),
    "leakguard_ready": MetricRow(
        "gauge", (), "1 when every service was looked at once and the state can be written."
    ),
    "leakguard_config_last_reload_successful": MetricRow(
        "gauge", (), "1 when the last configuration read is in force, 0 when it was refused."
    ),
    "leakguard_store_ok": MetricRow(
        "gauge", (), "1 when the state file is written, 0 when the guard goes on in memory."
    ),
    "leakguard_memory_bytes": MetricRow(
        "gauge",
        ("service", "measure"),
        "Memory of a service; the configured measure is one of the values of `measure`.",
    ),
    "leakguard_limit_bytes": MetricRow(
        "gauge",
        ("service", "kind"),
        "The tightest limit of each kind: configured, cgroup, host, rlimit, commit; and "
        "memory.high (high), which is none.",
    ),
    "leakguard_throttled": MetricRow(
        "gauge",
        ("service",),
        "1 while the kernel slows it down at memory.high, 0 below; absent without memory.high.",
    ),
    "leakguard_headroom_bytes": MetricRow(
        "gauge", ("service",), "Room below the limit that comes first by time."
    ),
    "leakguard_slope_bytes_per_second": MetricRow(
        "gauge", ("service",), "Fitted growth of the configured measure."
    ),
    "leakguard_time_to_limit_seconds": MetricRow(
        "summary",
        ("service", "quantile"),
        "Forecast time until the first limit is reached; absent when nothing is foreseen.",
    ),
    "leakguard_verdict": MetricRow(
        "gauge",
        ("service", "verdict"),
        "1 for the present verdict: warming_up, stable, leaking or unknown; 0 for the others.",
    ),
    "leakguard_breaker_open": MetricRow(
        "gauge", ("service",), "1 while the service had too many restarts and is only watched."
    ),
    "leakguard_limits_bent": MetricRow(
        "gauge", ("service",), "1 while a limit is raised, or `memory.high` set, to buy time."
    ),
    "leakguard_next_restart_timestamp_seconds": MetricRow(
        "gauge", ("service",), "When the next scheduled restart is due."
    ),
    "leakguard_restarts_total": MetricRow(
        "counter",
        ("service", "reason", "outcome"),
        "Restarts by what caused them and how they ended.",
    ),
    "leakguard_vetoes_total": MetricRow(
        "counter", ("service", "guard"), "Restarts that a guard newly held back."
    ),
    "leakguard_sample_errors_total": MetricRow(
        "counter", ("service",), "Times the memory of a running service could not be read."
    ),
    "leakguard_oom_kills_total": MetricRow(
        "counter",
        ("service", "cause"),
        "Kernel kills for memory in the domains that hold the service, by whose memory ran out.",
    ),
    "leakguard_deaths_total": MetricRow(
        "counter", ("service", "cause"), "Times the service died, and why."
    ),
    "leakguard_predictions_total": MetricRow(
        "counter",
        ("result",),
        "Kernel kills by how they compare with the last prediction: its victim, and its time.",
    ),
    "leakguard_forecast_outcomes": MetricRow(
        "gauge",
        ("service", "result"),
        "The newest forecasts of the memory, 32 at most, by where in their range the truth lay.",
    ),
    "leakguard_deliveries_total": MetricRow(
        "counter",
        ("channel", "result"),
        "Alerts by channel: delivered, failed attempts, given up.",
    ),
    "leakguard_deliveries_pending": MetricRow(
        "gauge", ("channel",), "Alerts that still wait for their channel."
    ),
}
