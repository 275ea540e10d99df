"""A configuration file becomes the plan that it says, with the defaults of the design."""

import json
from pathlib import Path

import pytest

from leakguard import plugins
from leakguard.config import load
from leakguard.core.codec import from_plain, to_plain
from leakguard.core.events import Severity
from leakguard.core.plan import ErrandPlan, HealthSpec, HookSpec, Plan, PluginSpec, Question
from leakguard.core.policy import (
    CatchUp,
    ForecastRule,
    GuardRules,
    LeaveRules,
    Mode,
    Pacing,
    Policy,
    Respawn,
    RestartRules,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
)
from leakguard.core.sample import Measure
from leakguard.core.units import MIB, Amount, Secret
from leakguard.testing.settings import WORKER, load_service, load_text

FULL = """
services:
  worker:
    mode: act
    target: {cmdline: my-worker}
    measure: rss
    limit: 900MiB
    timezone: Europe/Berlin
    sample_every: 2s
    sample_floor: 50ms
    restart:
      driver: {signal: {stop: [{signal: TERM, wait: 5s}, KILL], respawned_by: runit}}
      forecast: {risk: 10%, lead: 10m}
      threshold: {above: 80%, for: 2m}
      schedule: {cron: "0 3 * * *", skip_below: 300MiB, catch_up: skip}
      max_age: 7d
      grace: 1m
      max_restarts: {count: 2, per: 1h}
      deadline: 90s
      health: {http: "http://127.0.0.1:8080/healthz", within: 30s, every: 1s}
"""


def test_a_name_and_a_target_are_a_complete_service(tmp_path: Path) -> None:
    """The rest follows: observe, the target's driver, forecast on, grace 5m, 4 restarts per 6h."""
    service = load_service(tmp_path, "services: {worker: {target: {child: {argv: [sleep, '9']}}}}")
    assert service.rules == ServiceRules(
        name="worker",
        policy=Policy(forecast=ForecastRule(risk=0.05, lead_s=None)),
        guards=GuardRules(grace_s=300.0, max_restarts=4, per_s=21600.0),
        restart=RestartRules(driver="child", starts=True),
    )
    assert service.target == PluginSpec(key="child", options={"argv": ["sleep", "9"]})
    assert service.where == "config.yaml:1"


def test_every_setting_reaches_the_plan(tmp_path: Path) -> None:
    """What is written under a service is what the engine is given."""
    service = load_service(tmp_path, FULL)
    assert service.rules == ServiceRules(
        name="worker",
        mode=Mode.ACT,
        measure=Measure.RSS,
        limit=Amount(size_bytes=900 * MIB),
        policy=Policy(
            threshold=ThresholdRule(above=Amount(share=0.8), for_s=120.0),
            forecast=ForecastRule(risk=0.1, lead_s=600.0),
            schedules=(
                ScheduleRule(
                    cron="0 3 * * *",
                    timezone="Europe/Berlin",
                    skip_below=Amount(size_bytes=300 * MIB),
                    catch_up=CatchUp.SKIP,
                ),
            ),
            max_age_s=604800.0,
        ),
        guards=GuardRules(grace_s=60.0, max_restarts=2, per_s=3600.0),
        pacing=Pacing(idle_s=2.0, floor_s=0.05),
        restart=RestartRules(driver="signal", deadline_s=90.0, health_within_s=30.0),
    )
    assert service.driver is not None
    assert service.driver.options == {
        "stop": [{"signal": "TERM", "wait": 5.0}, {"signal": "KILL"}],
        "respawned_by": "runit",
    }
    assert service.health == HealthSpec(
        http="http://127.0.0.1:8080/healthz", within_s=30.0, every_s=1.0
    )


def test_services_inherit_mapping_by_mapping(tmp_path: Path) -> None:
    """A service that writes one key of a mapping keeps the other keys of the defaults."""
    text = """
defaults: {mode: act, restart: {threshold: {above: 80%, for: 2m}, max_age: 7d}}
services:
  a: {target: {cmdline: a}, restart: {threshold: {above: 90%}}}
  b: {target: {cmdline: b}, mode: observe, restart: {threshold: false, max_age: false}}
"""
    a, b = load_text(tmp_path, text).plan.services
    assert a.rules.policy.threshold == ThresholdRule(above=Amount(share=0.9), for_s=120.0)
    assert (a.rules.mode, a.rules.policy.max_age_s) == (Mode.ACT, 604800.0)
    assert (b.rules.policy.threshold, b.rules.policy.max_age_s) == (None, None)
    assert b.rules.mode == Mode.OBSERVE


def test_drain_and_hooks_become_a_plan_and_the_deadline_covers_them(tmp_path: Path) -> None:
    """Left out, it is a minute beyond what they may take; one hook needs no list."""
    text = """
defaults: {restart: {drain: {http: "http://127.0.0.1/drain", wait: 9s}}}
services:
  a:
    target: {cmdline: a}
    restart:
      drain: {command: [drain-it, a]}
      before: {command: [jcmd, "{pid}", Thread.print], within: 5s, keep: 2MiB}
      after: [{command: [smoke]}, {command: [tell]}]
"""
    service = load_service(tmp_path, text)
    assert service.errands == ErrandPlan(
        drain=Question(command=("drain-it", "a")),
        drain_wait_s=9.0,
        before=(
            HookSpec(command=("jcmd", "{pid}", "Thread.print"), within_s=5.0, keep_bytes=2 * MIB),
        ),
        after=(HookSpec(command=("smoke",)), HookSpec(command=("tell",))),
    )
    rules = service.rules.restart
    assert (rules.deadline_s, rules.prelude_s, rules.after) == (74.0, 14.0, True)


def test_whom_to_ask_becomes_a_plan_and_its_bounds_become_rules(tmp_path: Path) -> None:
    """The engine needs the times, the shell whom to ask."""
    text = "services: {a: {target: {cmdline: a}, restart: {ask: {command: [busy], at_most: 2h}}}}"
    service = load_service(tmp_path, text)
    assert service.errands.ask == Question(command=("busy",))
    assert service.rules.restart.leave == LeaveRules(within_s=5.0, at_most_s=7200.0)


def test_a_plain_url_is_a_drain(tmp_path: Path) -> None:
    """The shortest form; a written deadline stays."""
    text = "services: {a: {target: {cmdline: a}, restart: {drain: 'http://x/d', deadline: 2m}}}"
    service = load_service(tmp_path, text)
    assert service.errands.drain == Question(http="http://x/d")
    assert service.rules.restart.deadline_s == 120.0


def test_a_health_gate_of_its_own_replaces_the_inherited_one(tmp_path: Path) -> None:
    """Only one gate can be asked; the times of the defaults stay."""
    text = """
defaults: {restart: {health: {http: "http://a/", within: 9s}}}
services: {a: {target: {cmdline: a}, restart: {health: {tcp: "127.0.0.1:80"}}}}
"""
    assert load_service(tmp_path, text).health == HealthSpec(tcp="127.0.0.1:80", within_s=9.0)


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        ("threshold: 80%", Policy(threshold=ThresholdRule(above=Amount(share=0.8)))),
        ("forecast: 10%", Policy(forecast=ForecastRule(risk=0.1))),
        ("forecast: true", Policy()),
        ("forecast:", Policy()),
        ("forecast: false, max_age: 1d", Policy(forecast=None, max_age_s=86400.0)),
        ("threshold: 1GiB", Policy(threshold=ThresholdRule(above=Amount(size_bytes=1 << 30)))),
    ],
)  # fmt: skip
def test_short_forms(tmp_path: Path, written: str, policy: Policy) -> None:
    """One plain value stands for the first key, and false switches a trigger off."""
    text = f"services: {{a: {{target: {{cmdline: a}}, restart: {{{written}}}}}}}"
    assert load_service(tmp_path, text).rules.policy == policy


def test_several_schedules_and_aliases(tmp_path: Path) -> None:
    """A schedule is one or a list, each short or long; aliases are expanded."""
    text = """
defaults: {timezone: UTC}
services: {a: {target: {cmdline: a}, restart: {schedule: ["@daily", {cron: "5 4 * * sun"}]}}}
"""
    assert load_service(tmp_path, text).rules.policy.schedules == (
        ScheduleRule(cron="0 0 * * *"),
        ScheduleRule(cron="5 4 * * sun"),
    )


@pytest.mark.parametrize(
    "written",
    ["target: {cmdline: a, each: true}", "target: {cmdline: a}, each: true"],
)
def test_each_is_written_in_the_target_or_beside_it(tmp_path: Path, written: str) -> None:
    """Both places mean one guarded service per match."""
    assert load_service(tmp_path, f"services: {{a: {{{written}}}}}").each is True


def test_a_driver_of_the_defaults_goes_before_the_targets_usual_one(tmp_path: Path) -> None:
    """Only a child keeps its own driver, since nobody else can start it."""
    text = """
defaults: {restart: {driver: {command: [/bin/restart]}}}
services:
  a: {target: {cmdline: a}}
  b: {target: {child: [sleep, "9"]}, restart: {respawn: never}}
"""
    a, b = load_text(tmp_path, text).plan.services
    assert a.driver == PluginSpec(key="command", options={"argv": ["/bin/restart"]})
    assert b.driver == PluginSpec(key="child")
    assert b.rules.restart.respawn == Respawn.NEVER


def test_parts_in_conf_d_are_merged_in_order(tmp_path: Path) -> None:
    """The same service in two files has the keys of both; the later file wins."""
    parts = tmp_path / "conf.d"
    parts.mkdir()
    (parts / "20-b.yaml").write_text("services: {worker: {mode: act, measure: pss}}")
    (parts / "10-a.yaml").write_text("services: {worker: {mode: observe, limit: 1GiB}}")
    (parts / "notes.txt").write_text("no YAML: [")
    loaded = load_text(tmp_path, WORKER)
    (service,) = loaded.plan.services
    assert (service.rules.mode, service.rules.measure) == (Mode.ACT, Measure.PSS)
    assert service.rules.limit == Amount(size_bytes=1 << 30)
    assert service.where == "config.yaml:1"
    assert [Path(file).name for file in loaded.plan.sources] == [
        "config.yaml",
        "10-a.yaml",
        "20-b.yaml",
    ]
    assert loaded.origins["services.worker.measure"] == "conf.d/20-b.yaml:1"


def test_alerts_reach_the_plan(tmp_path: Path) -> None:
    """Channels keep their order and their place, secrets from files are read and masked."""
    (tmp_path / "slack").write_text("https://hooks.example/T/B/x\n")
    text = (
        WORKER
        + """
host: web-1
alerts:
  channels: {ops: {slack: {webhook_url_file: slack}}, out: log}
  routes: [{to: out}, {severity: critical, to: [ops, out], remind: 4h}]
"""
    )
    plan = load_text(tmp_path, text).plan
    ops, out = plan.channels
    assert ops.notifier.options == {"webhook_url": Secret("https://hooks.example/T/B/x")}
    assert "hooks.example" not in repr(plan)
    assert (ops.where, out.notifier) == ("config.yaml:5", PluginSpec(key="log"))
    first, second = plan.alerts.routes
    assert (first.severity, first.to, first.remind_s) == (Severity.WARNING, ("out",), None)
    assert (second.severity, second.to, second.remind_s) == (
        Severity.CRITICAL,
        ("ops", "out"),
        14400.0,
    )
    assert (plan.host, plan.alerts.host, plan.alerts.channels) == ("web-1", "web-1", ("ops", "out"))


@pytest.mark.parametrize("written", ["off", '"off"', "false"])
def test_the_listener_can_be_switched_off(tmp_path: Path, written: str) -> None:
    """YAML reads off as false; both mean no listener."""
    plan = load_text(tmp_path, WORKER + f"http: {{listen: {written}}}").plan
    assert plan.http.listen == ""


def test_a_token_comes_from_its_file(tmp_path: Path) -> None:
    """One trailing newline does not belong to a secret."""
    (tmp_path / "token").write_text("s3cret\n")
    text = WORKER + 'http: {listen: "0.0.0.0:9847", token_file: token, open_metrics: true}'
    http = load_text(tmp_path, text).plan.http
    assert (http.listen, http.token, http.open_metrics) == ("0.0.0.0:9847", Secret("s3cret"), True)


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.9.9.9:0", "localhost:80", "[::1]:80"])
def test_this_machine_needs_no_token(tmp_path: Path, listen: str) -> None:
    """Loopback in any spelling is not reachable from elsewhere."""
    assert load_text(tmp_path, WORKER + f'http: {{listen: "{listen}"}}').plan.http.listen == listen


def test_the_plan_survives_the_hand_over_to_the_daemon(tmp_path: Path) -> None:
    """As JSON with its secrets it reads back equal, and plug-ins take their options from it."""
    text = (
        FULL
        + """
alerts: {channels: {ops: {slack: {webhook_url: "https://hooks.example/x"}}}}
http: {token: s3cret}
"""
    )
    plan = load_text(tmp_path, text).plan
    there = from_plain(Plan, json.loads(json.dumps(to_plain(plan, secrets=True))))
    assert (there.services, there.http, there.state) == (plan.services, plan.http, plan.state)
    slack = plugins.load("notifiers", "slack")
    options = [
        from_plain(slack.options, dict(one.channels[0].notifier.options)) for one in (plan, there)
    ]
    assert options[0] == options[1]


def test_paths_become_absolute(tmp_path: Path) -> None:
    """The daemon may stand elsewhere than the person who wrote the file."""
    text = WORKER + "state: {path: a/state.db, keep: 1h}\nsocket: run/sock"
    plan = load_text(tmp_path, text).plan
    assert (plan.state.path, plan.socket_path) == (
        f"{tmp_path}/a/state.db",
        f"{tmp_path}/run/sock",
    )
    assert (plan.state.keep_s, plan.state.raw_keep_s) == (3600.0, 3600.0)


def test_empty_path_keeps_state_in_memory(tmp_path: Path) -> None:
    """An empty text is not the usual place."""
    assert load_text(tmp_path, WORKER + 'state: {path: ""}').plan.state.path == ""


def test_systemd_says_where_state_belongs(tmp_path: Path) -> None:
    """StateDirectory= of a unit is used when the file is silent."""
    plan = load_text(tmp_path, WORKER, {"STATE_DIRECTORY": "/var/lib/private/leakguard"}).plan
    assert plan.state.path == "/var/lib/private/leakguard/state.db"


def test_the_time_zone_of_the_machine_is_used(tmp_path: Path) -> None:
    """A schedule without a zone keeps to the machine's clock."""
    text = "services: {a: {target: {cmdline: a}, restart: {schedule: '@daily'}}}"
    service = load_service(tmp_path, text, {"TZ": ":Asia/Tokyo"})
    assert service.rules.policy.schedules[0].timezone == "Asia/Tokyo"


def test_usual_places_are_searched_in_order(tmp_path: Path) -> None:
    """A variable goes before the user's own file."""
    own = tmp_path / "xdg" / "leakguard"
    own.mkdir(parents=True)
    (own / "config.yaml").write_text(WORKER)
    (tmp_path / "named.yaml").write_text(WORKER.replace("worker:", "named:"))
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    by_place = load(None, environ=environ, cwd=tmp_path, secrets="").plan
    environ["LEAKGUARD_CONFIG"] = "named.yaml"
    by_name = load(None, environ=environ, cwd=tmp_path, secrets="").plan
    assert [by_place.services[0].rules.name, by_name.services[0].rules.name] == ["worker", "named"]


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    """YAML's own way to say something once is understood; own keys go before merged ones."""
    text = """
defaults: &all {mode: act, limit: 1GiB}
services:
  a: {<<: *all, mode: observe, target: {cmdline: a}}
"""
    rules = load_service(tmp_path, text).rules
    assert (rules.mode, rules.limit) == (Mode.OBSERVE, Amount(size_bytes=1 << 30))


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "services: {a: {target: {cmdline: a}, restart: {forecast: false}}}",
            (
                "config.yaml:1: services.a: nothing here ever restarts it - "
                "set restart.forecast, threshold, schedule or max_age"
            ),
        ),
        (
            "services: {a: {target: {cmdline: a}, restart: {max_age: 1m}}}",
            (
                "config.yaml:1: services.a.restart.max_age: is shorter than grace (5m), "
                "which holds it back - make one of them fit"
            ),
        ),
        (
            WORKER + "alerts: {channels: {a: log, b: log}, routes: [{to: a}]}",
            "config.yaml:2: alerts.channels.b: no route leads here - add one, or leave it out",
        ),
    ],
)
def test_what_is_odd_but_not_wrong_is_a_warning(tmp_path: Path, text: str, warning: str) -> None:
    """The guard starts all the same."""
    assert load_text(tmp_path, text).warnings == (warning,)
