"""What the two acts came to: one document for programs, one table for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from leakguard.cli._demo.tally import Tally
from leakguard.core.units import format_bytes, format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class ActResult:
    """The figures of one act. `restarts`: graceful ones by leakguard; `respawns`: after a death."""

    guarded: bool
    oom_kills: int
    crashes: int
    restarts: int
    respawns: int
    tally: Tally
    limit_bytes: int
    peak_bytes: int
    history: tuple[int, ...]
    lasted_s: float

    def to_plain(self) -> dict[str, Any]:
        """Give the object that `--json` prints."""
        return {
            "guarded": self.guarded,
            "oom_kills": self.oom_kills,
            "restarts": self.restarts,
            "requests": {"sent": self.tally.sent, "lost": self.tally.lost},
            "longest_outage_s": self.tally.longest_outage_s,
            "lost_outside_restart": self.tally.lost_outside_restart,
            "cut_off": self.tally.cut_off,
            "crashes": self.crashes,
            "respawns": self.respawns,
            "peak_bytes": self.peak_bytes,
            "lasted_s": round(self.lasted_s, 1),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Both acts, the alerts that arrived (channel → count), and whether a cgroup was used."""

    acts: Sequence[ActResult]
    alerts: dict[str, int]
    cgroup: bool

    @property
    def failed(self) -> bool:
        """Whether the guarded service died although it was guarded."""
        return any(act.guarded and (act.oom_kills or act.crashes) for act in self.acts)

    def to_plain(self) -> dict[str, Any]:
        """Give the one document of `--json`."""
        acts = [act.to_plain() for act in self.acts]
        return {"acts": acts, "alerts": self.alerts, "cgroup": self.cgroup}

    def rows(self) -> list[tuple[str, ...]]:
        """Give the table: a label, then a cell for each act."""
        acts = self.acts
        rows: list[tuple[str, ...]] = [
            ("kernel OOM kills", *(str(act.oom_kills) for act in acts)),
            ("graceful restarts", *(str(act.restarts) for act in acts)),
            ("requests sent", *(str(act.tally.sent) for act in acts)),
            ("requests lost", *(str(act.tally.lost) for act in acts)),
            ("  cut off in the middle", *(str(act.tally.cut_off) for act in acts)),
            ("  refused while it was down", *(str(act.tally.refused) for act in acts)),
            ("  lost outside a restart", *(str(act.tally.lost_outside_restart) for act in acts)),
            ("longest outage", *(format_duration(act.tally.longest_outage_s) for act in acts)),
            ("most memory used", *(format_bytes(act.peak_bytes) for act in acts)),
            ("alerts sent", *(str(sum(self.alerts.values()) if a.guarded else 0) for a in acts)),
        ]
        crashes = ("crashes", *(str(act.crashes) for act in acts))
        return rows if self.cgroup else [rows[0], crashes, *rows[1:]]

    def verdict(self) -> str:
        """Say in plain words what the table means."""
        if self.failed:
            return "The guarded service died although it was guarded: leakguard failed here."
        if not self.cgroup:
            end = "No cgroup could be made here, so the kernel was not involved: the service met "
            return f"{end}MemoryError at its address space limit, where a cgroup would kill it."
        return (
            "Same leak, same limit. Unguarded, the kernel took the service in the middle of its "
            "work and told nobody. Guarded, it was stopped in time, finished what it had in hand, "
            "and people were told why. While a single process restarts, its callers are refused "
            "at once; with two of them in one group, the other one answers."
        )
