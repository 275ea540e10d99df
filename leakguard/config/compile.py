"""Settings become the plan: plain values for the daemon, without pydantic."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leakguard.config import together
from leakguard.config.choices import Choices
from leakguard.config.environment import local_timezone, read_secret_file, state_file
from leakguard.config.fields import is_loopback, is_timezone
from leakguard.config.lines import Origins, below, mapping
from leakguard.config.problems import Problem, nearest
from leakguard.config.schema import Alerts, Http, Settings
from leakguard.config.service import ServiceCompiler
from leakguard.core.alerts import AlertRules, Route
from leakguard.core.plan import ChannelPlan, HttpPlan, Plan, ServicePlan, StatePlan
from leakguard.core.units import Secret


@dataclass(slots=True, kw_only=True)
class Compiler:
    """Turns settings into a plan; what is wrong goes to `problems`, what is odd to `warnings`."""

    settings: Settings
    choices: Choices
    origins: Origins
    environ: Mapping[str, str]
    cwd: Path
    data: dict[str, Any]
    """The merged data as written, also what has problems of its own."""
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def compile(self, files: tuple[str, ...]) -> Plan:
        """Give the plan; it is complete only when there are no problems."""
        settings, host = self.settings, self.settings.host or os.uname().nodename
        channels = self._channels()
        return Plan(
            host=host,
            services=self._services(host),
            groups=tuple(together.group_rules(settings.groups).values()),
            channels=channels,
            alerts=self._alerts(settings.alerts, host),
            http=self._http(settings.http),
            state=self._state(),
            socket_path=str(self.cwd / settings.socket) if settings.socket else "",
            shutdown_grace_s=settings.shutdown_grace,
            sources=files,
        )

    def _services(self, host: str) -> tuple[ServicePlan, ...]:
        zone = local_timezone(self.environ)
        compiler = ServiceCompiler(
            defaults=self.settings.defaults,
            choices=self.choices,
            origins=self.origins,
            timezone=zone if is_timezone(zone) else "UTC",
            host=host,
            groups=together.group_rules(self.settings.groups),
            budget=together.budget_rules(self.settings.max_restarts),
            problems=self.problems,
            warnings=self.warnings,
        )
        if not self.settings.services:
            self._problem("services", text="there is nothing to guard - add a service")
        plans = [compiler.compile(*item) for item in self.settings.services.items()]
        if None not in plans:
            self._compare(tuple(plan for plan in plans if plan is not None))
        return tuple(plan for plan in plans if plan is not None)

    def _compare(self, plans: tuple[ServicePlan, ...]) -> None:
        """Find what only shows between services."""
        self.problems += together.wrong_groups(self.settings.groups, plans)
        self.problems += together.wrong_dependencies(plans)
        for name in together.empty_groups(self.settings.groups, plans):
            place = self.origins.place(("groups", name))
            self.warnings.append(
                f"{place}: groups.{name}: no service is in it - add restart.group: {name} to some"
            )

    def _channels(self) -> tuple[ChannelPlan, ...]:
        locs = {name: ("alerts", "channels", name) for name in self.settings.alerts.channels}
        return tuple(
            ChannelPlan(
                name=name, notifier=self.choices.found[loc].spec, where=self.origins.place(loc)
            )
            for name, loc in locs.items()
            if loc in self.choices.found
        )

    def _alerts(self, alerts: Alerts, host: str) -> AlertRules:
        written = tuple(mapping(below(self.data, "alerts", "channels")))
        for i, route in enumerate(alerts.routes):
            for name in route.to:
                if name not in written:
                    hint = nearest(name, written)
                    self._problem("alerts", "routes", i, "to", text=f"no channel {name!r} - {hint}")
        used = {name for route in alerts.routes for name in route.to}
        for name in sorted(set(written) - used if alerts.routes else ()):
            place = self.origins.place(("alerts", "channels", name))
            self.warnings.append(
                f"{place}: alerts.channels.{name}: no route leads here - add one, or leave it out"
            )
        routes = (
            Route(severity=route.severity, to=route.to, remind_s=route.remind)
            for route in alerts.routes
        )
        return AlertRules(
            host=host,
            channels=tuple(alerts.channels),
            routes=tuple(routes),
            restarts_singly=alerts.restarts_singly,
        )

    def _http(self, http: Http) -> HttpPlan:
        token = self._token(http)
        has_token = not {"token", "token_file"}.isdisjoint(mapping(below(self.data, "http")))
        if http.listen and not is_loopback(http.listen) and not (has_token or http.allow_no_token):
            text = "can be reached from other machines, and there is no token - "
            fix = "add http.token_file: PATH, or listen on 127.0.0.1"
            self._problem("http", "listen", text=text + fix)
        return HttpPlan(
            listen=http.listen,
            token=token,
            open_metrics=http.open_metrics,
            allow_no_token=http.allow_no_token,
        )

    def _token(self, http: Http) -> Secret | None:
        if http.token_file is None or http.token is not None:
            if http.token_file is not None:
                self._problem("http", "token_file", text="token is there too - keep one of the two")
            return http.token
        try:
            return Secret(read_secret_file(str(self.cwd / http.token_file)))
        except ValueError as error:
            self._problem("http", "token_file", text=str(error))
            return None

    def _state(self) -> StatePlan:
        state = self.settings.state
        path = state.path
        if path is None:
            path = state_file(self.environ, is_root=os.geteuid() == 0)
        # A month of single samples is in order, single samples of what is long forgotten are not.
        if state.raw_keep > state.keep and "raw_keep" in state.model_fields_set:
            self._problem("state", "raw_keep", text="is longer than state.keep - make it shorter")
        return StatePlan(
            path=str(self.cwd / path) if path else "",
            keep_s=state.keep,
            raw_keep_s=min(state.raw_keep, state.keep),
            hook_output_bytes=state.hook_output,
        )

    def _problem(self, *loc: str | int, text: str) -> None:
        self.problems.append(Problem(loc, text))
