"""Which rules a series is played with: its own service's, the only service's, or the defaults."""

from collections.abc import Mapping
from dataclasses import field

from leakguard import plugins
from leakguard.core.frozen import dataclass
from leakguard.core.plan import PluginSpec
from leakguard.core.policy import ServiceRules
from leakguard.core.trend import Detector
from leakguard.runtime.backtest.recording import Recording

DETECTOR = PluginSpec(key="envelope")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one series is played with; `source` says where it is from, for people."""

    rules: ServiceRules
    detector: PluginSpec = DETECTOR
    source: str = "defaults"

    def make_detector(self) -> Detector:
        """Build the detector anew."""
        made: Detector = plugins.load("detectors", self.detector.key).make(
            dict(self.detector.options), None
        )
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One configuration under test."""

    config: str
    fallback: Rule
    services: Mapping[str, Rule] = field(default_factory=dict)

    def rule_of(self, series: str) -> Rule:
        """Choose for one series; `worker:2` follows `worker`."""
        for name in (series, series.partition(":")[0]):
            if name in self.services:
                return self.services[name]
        if len(self.services) == 1:
            return next(iter(self.services.values()))
        return self.fallback


def limit_of(recording: Recording, rules: ServiceRules) -> int | None:
    """Give what kills the service: the recording's limit, else the configuration's."""
    if recording.limit_bytes is not None or rules.limit is None:
        return recording.limit_bytes
    return rules.limit.size_bytes
