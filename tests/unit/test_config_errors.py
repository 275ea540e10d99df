"""What the file alone shows to be wrong is one line each: file, line, key, what and the fix."""

import os
from pathlib import Path

import pytest

from leakguard.config import load
from leakguard.core.errors import ConfigError
from leakguard.testing.settings import WORKER, problems

# ruff: noqa: E501  the cases are a table


def service(line: str) -> str:
    """Put one line into a service."""
    return f"services:\n  w:\n    target: {{cmdline: w}}\n    {line}\n"


def restart(line: str) -> str:
    """Put settings into `restart` of a service."""
    return service(f"restart: {{{line}}}")


def top(line: str) -> str:
    """Put one line beside a service that is right."""
    return f"{WORKER}{line}\n"


ONE_PROBLEM = [
    # -- the text itself
    ("services: [", "config.yaml:1: not YAML: while parsing a flow node"),
    ("a: b: c", "config.yaml:1: not YAML: mapping values are not allowed here"),
    ("- a\n- b", "config.yaml:1: this must be a mapping - begin with `services:`"),
    ("&a [*a]", "config.yaml: it nests too deeply, or contains itself - unfold it"),
    ("services: !!python/name:os.system x", "config.yaml:1: services: the tag "),
    (
        "http: {}\nstate: {}\nhttp: {}",
        "config.yaml:3: http: is written twice (first in line 1) - keep one of them",
    ),
    ("", "config.yaml: services: there is nothing to guard - add a service"),
    # -- names
    (
        top("sevices: {}"),
        "config.yaml:2: sevices: is not known here - did you mean 'services'?",
    ),
    (
        restart("trehshold: 80%"),
        ("config.yaml:4: services.w.restart.trehshold: is not known here - "
        "did you mean 'threshold'?"),
    ),
    (
        restart("windows_only: true"),
        ("config.yaml:4: services.w.restart.windows_only: needs windows - "
        "add restart.windows, or leave it out"),
    ),
    (
        "services:\n  db: {target: {cmdline: d}}\n  web: {target: {child: {argv: [w]}}, restart: {depends_on: dv}}",
        "config.yaml:3: services.web.restart.depends_on: no service 'dv' - there are: db",
    ),
    (
        "services:\n  a: {target: {child: {argv: [a]}}, restart: {depends_on: b}}\n  b: {target: {child: {argv: [b]}}, restart: {depends_on: [c]}}\n  c: {target: {child: {argv: [c]}}, restart: {depends_on: [a]}}",
        "config.yaml:2: services.a.restart.depends_on: goes in a circle: a → b → c → a - take one of them out",
    ),
    (
        "services:\n  a: {target: {child: {argv: [a]}}, restart: {depends_on: a}}",
        "config.yaml:2: services.a.restart.depends_on: goes in a circle: a → a - take one of them out",
    ),
    (
        "services:\n  db: {target: {child: {argv: [d]}}}\n  web: {target: {cmdline: w}, restart: {depends_on: db, driver: {signal: {respawned_by: runit}}}}",
        "config.yaml:3: services.web.restart.depends_on: signal: it cannot stop a service without its being started again - use a driver that can, such as command with stop and start",
    ),
    (
        "services:\n  db: {target: {child: {argv: [d]}}}\n  web: {target: {cmdline: w}, restart: {depends_on: db, driver: {command: {argv: [x]}}}}",
        "config.yaml:3: services.web.restart.depends_on: command: it has no commands for that: give its options stop and start - use a driver that can, such as command with stop and start",
    ),
    (
        "services:\n  db: {target: {child: {argv: [d]}}}\n  web: {target: {pid: 1}, restart: {depends_on: db}}",
        "config.yaml:3: services.web.restart.depends_on: needs a driver that can stop and start it - add restart.driver, or leave it out",
    ),
    (
        "services:\n  db: {mode: act, target: {child: {argv: [d]}}}\n  web: {target: {child: {argv: [w]}}, restart: {depends_on: db}}",
        "config.yaml:3: services.web.restart.depends_on: a restart of db would stop and start web, which is only observed - set mode: act for web, or mode: observe for db",
    ),
    (
        "services:\n  db: {target: {child: {argv: [d]}}}\n  a: {target: {child: {argv: [w]}}, restart: {depends_on: db, group: g}}\n  b: {target: {child: {argv: [w]}}, restart: {depends_on: db, group: g}}\ngroups: {g: {min_healthy: 1}}",
        "config.yaml:5: groups.g.min_healthy: a restart of db stops a, b, and only 0 of the group would be left - make it smaller",
    ),
    (
        restart("driver: {command: {argv: [x], stop: [y]}}"),
        "config.yaml:4: services.w.restart.driver.command: stop and start belong together: give both, or neither",
    ),
    (
        restart("group: workers") + "groups: {worker: {}}",
        "config.yaml:4: services.w.restart.group: no group 'workers' - did you mean 'worker'?",
    ),
    (
        f"{WORKER}defaults: {{restart: {{group: workers}}}}",
        "config.yaml:2: defaults.restart.group: no group 'workers' - there are: none",
    ),
    (
        restart("group: ws") + "groups: {ws: {min_healthy: 1}}",
        ("config.yaml:5: groups.ws.min_healthy: 1 of 1 member must stay healthy, so none could "
        "ever be restarted - make it smaller"),
    ),
    (
        top("groups: {ws: {max_parallel: 0}}"),
        "config.yaml:2: groups.ws.max_parallel: must be 1 or more",
    ),
    (
        top("groups: {ws: {stagger: 30}}"),
        "config.yaml:2: groups.ws.stagger: a bare number has no unit - write 30s",
    ),
    (
        "services: {a:b: {target: {cmdline: w}}}",
        "config.yaml:1: services.a:b: is not a name - use letters, digits and _ . @ - only",
    ),
    (service("mode: atc"), "config.yaml:4: services.w.mode: must be one of observe, act - did you mean 'act'?"),
    # -- units
    (
        service("limit: 900"),
        "config.yaml:4: services.w.limit: a bare number has no unit - write 900MiB or 900KiB",
    ),
    (service("limit: -1"), "config.yaml:4: services.w.limit: must be a size such as 900MiB"),
    (
        restart("threshold: 80"),
        ("config.yaml:4: services.w.restart.threshold.above: a bare number has no unit - "
        "write 80MiB or 80%"),
    ),
    (
        restart("threshold: 900"),
        ("config.yaml:4: services.w.restart.threshold.above: a bare number has no unit - "
        "write 900MiB or 900KiB"),
    ),
    (
        restart("threshold: 943718400"),
        ("config.yaml:4: services.w.restart.threshold.above: a bare number has no unit - "
        "write 943718400B"),
    ),
    (
        service("sample_every: 10"),
        ("config.yaml:4: services.w.sample_every: a bare number has no unit - "
        "write 10s, 10m or 10h"),
    ),
    (
        service("sample_every: 1:30"),
        ("config.yaml:4: services.w.sample_every: '1:30' is not a duration: "
        "write a number and a unit, such as 20m"),
    ),
    (
        restart("threshold: 120%"),
        ("config.yaml:4: services.w.restart.threshold.above: '120%' is not a percentage: "
        "write a number from 0 to 100 and %"),
    ),
    (
        restart("threshold: -5MiB"),
        ("config.yaml:4: services.w.restart.threshold.above: '-5MiB' is not a size: "
        "write a number and a unit, such as 900MiB"),
    ),
    (restart("threshold: 0%"), "config.yaml:4: services.w.restart.threshold.above: must be above 0 - "),
    (restart("forecast: {risk: 0.05}"), "config.yaml:4: services.w.restart.forecast.risk: a bare number has no unit - write 5%"),
    (restart("forecast: {risk: 5}"), "config.yaml:4: services.w.restart.forecast.risk: a bare number has no unit - write 5%"),
    (restart("forecast: {risk: 100%}"), "config.yaml:4: services.w.restart.forecast.risk: must lie between 0% and 100% - 5% is usual"),
    (service("limit: 80%"), "config.yaml:4: services.w.limit: a limit cannot be a share of itself - "),
    (restart("deadline: 0s"), "config.yaml:4: services.w.restart.deadline: must be longer than 0s"),
    (restart("max_restarts: {count: 0}"), "config.yaml:4: services.w.restart.max_restarts.count: must be 1 or more"),
    (restart("max_restarts: {count: many}"), "config.yaml:4: services.w.restart.max_restarts.count: must be a whole number"),
    # -- what only shows across settings
    (
        service("limit: 100MiB\n    restart: {threshold: 200MiB}"),
        ("config.yaml:5: services.w.restart.threshold.above: 200 MiB is not below the limit 100 MiB - "
        "make it smaller"),
    ),
    (restart("threshold: {for: 2m}"), "config.yaml:4: services.w.restart.threshold.above: is missing - add a size "),
    (
        restart('threshold: 1GiB, schedule: {cron: "@daily", skip_below: 2GiB}'),
        "config.yaml:4: services.w.restart.schedule.skip_below: 2.00 GiB is above the threshold",
    ),
    (service("sample_floor: 1m"), "config.yaml:4: services.w.sample_floor: is longer than sample_every (10s) - make it shorter"),
    (restart('health: {http: "http://x/", tcp: "x:1"}'), "config.yaml:4: services.w.restart.health: must have exactly one of http, tcp and command, found http, tcp"),
    (restart("health: {within: 1s}"), "config.yaml:4: services.w.restart.health: must have exactly one of "),
    (restart('health: {tcp: "x:1", every: 2m}'), "config.yaml:4: services.w.restart.health.every: is longer than within - make it shorter"),
    (restart("drain: {wait: 1s}"), "config.yaml:4: services.w.restart.drain: must have exactly one of http and command, found none"),
    (restart('drain: {http: "http://x/", command: [a]}'), "config.yaml:4: services.w.restart.drain: must have exactly one of http and command, found http, command"),
    (restart("ask: {within: 1s}"), "config.yaml:4: services.w.restart.ask: must have exactly one of http and command, found none"),
    (restart('ask: {http: "http://x/", within: 9s}'), "config.yaml:4: services.w.restart.ask.within: is more than 8s - a person waits for it"),
    (restart("drain: {command: []}"), "config.yaml:4: services.w.restart.drain.command: must not be empty - "),
    (restart('drain: {http: "http://x/", wait: 1m}, deadline: 1m'), "config.yaml:4: services.w.restart.deadline: drain and hooks before the restart may take 1m - make it at least 1m 10s, or leave it out"),
    (restart("before: {command: [x], within: 2m}, deadline: 1m"), "config.yaml:4: services.w.restart.deadline: drain and hooks before the restart may take 2m - make it at least 2m 10s, or leave it out"),
    (restart("before: {command: [x], keep: 1GiB}"), "config.yaml:4: services.w.restart.before.keep: is more than 16.0 MiB - let the hook write a file into {output_dir}"),
    (restart('after: {command: "x y"}'), "config.yaml:4: services.w.restart.after.command: must be a list - "),
    (restart("after: {command: []}"), "config.yaml:4: services.w.restart.after.command: "),
    (restart("health: {command: []}"), "config.yaml:4: services.w.restart.health.command: must not be empty - "),
    (restart('health: {command: "curl x"}'), "config.yaml:4: services.w.restart.health.command: must be a list - "),
    (restart('health: {tcp: "x:99999"}'), "config.yaml:4: services.w.restart.health.tcp: '99999' is not a port - "),
    (
        restart('health: {http: "htps://x/"}'),
        ("config.yaml:4: services.w.restart.health.http: htps:// is not a scheme that works here - "
        "did you mean https://?"),
    ),
    # -- calendars
    (restart('schedule: {cron: "0 0 30 2 *"}'), "config.yaml:4: services.w.restart.schedule.cron: '0 0 30 2 *' never fires: no month has such a day"),
    (restart('schedule: "0 25 * * *"'), "config.yaml:4: services.w.restart.schedule.cron: '0 25 * * *' is not a cron expression: its hour cannot be read"),
    (restart('schedule: ["@daily", {crom: x}]'), "config.yaml:4: services.w.restart.schedule[1].cr"),
    (service("timezone: Europe/Berlni"), "config.yaml:4: services.w.timezone: 'Europe/Berlni' is not a time zone - did you mean Europe/Berlin?"),
    (service("timezone: ../../etc/passwd"), "config.yaml:4: services.w.timezone: '../../etc/passwd' is not a time zone - "),
    # -- plug-ins
    ("services: {w: {mode: act}}", "config.yaml:1: services.w.target: is missing - add it"),
    ("services: {w: {target: {cmdlin: x}}}", "config.yaml:1: services.w.target: no target named 'cmdlin', did you mean 'cmdline'?"),
    ("services: {w: {target: {cmdline: x, pid: 3}}}", "config.yaml:1: services.w.target: must name exactly one target, found cmdline, pid - "),
    ("services: {w: {target: {}}}", "config.yaml:1: services.w.target: must name one target - "),
    ("services: {w: {target: {cmdline: {patern: x}}}}", "config.yaml:1: services.w.target.cmdline.pat"),
    ("services: {w: {target: {cmdline: '('}}}", "config.yaml:1: services.w.target.cmdline: "),
    ("services: {w: {target: {pidfile: 3}}}", "config.yaml:1: services.w.target.pidfile.path: must be text - put it in quotes"),
    (restart("driver: singal"), "config.yaml:4: services.w.restart.driver: no driver named 'singal', did you mean 'signal'?"),
    (restart("driver: {signal: {stop: [HALT]}}"), "config.yaml:4: services.w.restart.driver.signal.stop[0]: 'HALT' is not a signal"),
    (restart("driver: {signal: {stop: [KILL, TERM]}}"), "config.yaml:4: services.w.restart.driver.signal: a step after KILL never comes: put KILL last"),
    (restart("driver: {signal: {stop: [{signal: TERM, wait: 5}]}}"), "config.yaml:4: services.w.restart.driver.signal.stop[0].wait: a bare number has no unit - "),
    (restart("driver: child"), "config.yaml:4: services.w.restart.driver: starts the service itself - use it with the target child alone"),
    ("services: {w: {target: {child: [x]}, restart: {driver: signal}}}", "config.yaml:1: services.w.restart.driver: leakguard itself starts the target child - leave driver out"),
    ("services: {w: {target: {child: [x]}, each: true}}", "config.yaml:1: services.w.each: the target child is always one process - leave each out"),
    ("services: {w: {target: {pid: 3}, mode: act}}", "config.yaml:1: services.w.mode: act needs a driver, and the target pid has none of its own - "),
    ("services: {w: {target: {pid: 3}, restart: {driver: signal}}}", "config.yaml:1: services.w.restart.driver: signal ends the process, and no new run is ever found by a pid - "),
    (restart("respawn: never"), "config.yaml:4: services.w.restart.respawn: signal starts nothing by itself - leave respawn out"),
    (service("detector: envelop"), "config.yaml:4: services.w.detector: no detector named 'envelop', did you mean 'envelope'?"),
    # -- alerts
    (top("alerts: {channels: {ops: {slak: x}}}"), "config.yaml:2: alerts.channels.ops: no notifier named 'slak', did you mean 'slack'?"),
    (top("alerts: {channels: {ops: {slack: {}}}}"), "config.yaml:2: alerts.channels.ops.slack: webhook_url is missing - add webhook_url_file: PATH, or webhook_url: TEXT"),
    (top("alerts: {channels: {ops: {slack: {webhook_url_file: nowhere}}}}"), "config.yaml:2: alerts.channels.ops.slack.webhook_url_file: cannot read "),
    (top("alerts: {channels: {ops: {webhook: {url: htps://h/}}}}"), "config.yaml:2: alerts.channels.ops.webhook.url: htps:// is not a scheme that works here - did you mean https://?"),
    (top("alerts: {channels: {ops: log}, routes: [{to: opps}]}"), "config.yaml:2: alerts.routes[0].to: no channel 'opps' - did you mean 'ops'?"),
    (top("alerts: {channels: {ops: log}, routes: [{to: []}]}"), "config.yaml:2: alerts.routes[0].to: must not be empty - add one"),
    (top("alerts: {channels: {ops: log}, routes: {severity: bad, to: ops}}"), "config.yaml:2: alerts.routes.severity: must be one of info, warning, critical - "),
    (top("alerts: {restarts_singly: -1}"), "config.yaml:2: alerts.restarts_singly: "),
    # -- buying time
    (restart("windows: {cron: '0 3 * * *', length: 1h}, buy_time: {}"), "config.yaml:4: services.w.restart.buy_time: bends nothing - add raise_by, at_most or throttle_below"),
    (restart("buy_time: {raise_by: 20%}"), "config.yaml:4: services.w.restart.buy_time: has nothing to last until - add windows, a schedule or blackouts"),
    # -- http and state
    (top('http: {listen: "0.0.0.0:9847"}'), "config.yaml:2: http.listen: can be reached from other machines, and there is no token - "),
    (top('http: {listen: ":9847"}'), "config.yaml:2: http.listen: ':9847' is not an address - "),
    (top('http: {listen: ""}'), "config.yaml:2: http.listen: is empty - write host:port, such as 127.0.0.1:9847, or off"),
    (top("http: {listen: 9847}"), "config.yaml:2: http.listen: must be host:port in quotes, "),
    (top("http: {token_file: nowhere}"), "config.yaml:2: http.token_file: cannot read "),
    (top("http: {token: a, token_file: b}"), "config.yaml:2: http.token_file: token is there too - keep one of the two"),
    (top("state: {keep: 1h, raw_keep: 2h}"), "config.yaml:2: state.raw_keep: is longer than state.keep - make it shorter"),
    (top("state: 3"), "config.yaml:2: state: must be a mapping - "),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), ONE_PROBLEM)
def test_one_line_names_place_and_fix(tmp_path: Path, text: str, line: str) -> None:
    """Each mistake gives exactly one line, which begins as said here."""
    found = problems(tmp_path, text)
    assert [one[: len(line)] for one in found] == [line]


def test_everything_wrong_is_said_at_once_in_reading_order(tmp_path: Path) -> None:
    """One run shows all mistakes of all kinds, without any that only follow from others."""
    text = """
services:
  worker:
    target: {cmdlin: x}
    restart:
      timeuot: 3
      schedule: {cron: "0 0 30 2 *"}
      driver: singal
  cache:
    limit: 100MiB
    target: {pidfile: /x}
    restart: {threshold: 200MiB}
alerts:
  channels: {ops: {slack: {webhook_url: "htps://secret/"}}}
  routes: [{to: [opss]}]
http: {listen: "0.0.0.0:80"}
"""
    places = [line.split(": ")[:2] for line in problems(tmp_path, text)]
    assert places == [
        ["config.yaml:4", "services.worker.target"],
        ["config.yaml:6", "services.worker.restart.timeuot"],
        ["config.yaml:7", "services.worker.restart.schedule.cron"],
        ["config.yaml:8", "services.worker.restart.driver"],
        ["config.yaml:12", "services.cache.restart.threshold.above"],
        ["config.yaml:14", "alerts.channels.ops.slack.webhook_url"],
        ["config.yaml:15", "alerts.routes[0].to"],
        ["config.yaml:16", "http.listen"],
    ]


def test_everything_wrong_in_a_plug_in_is_said_at_once(tmp_path: Path) -> None:
    """What has the wrong type hides neither a wrong signal beside it nor the next step's."""
    stop = "[{signal: FOO, wait: 5}, {signal: BAR, wiat: 5s}, {signal: KILL}]"
    assert problems(tmp_path, restart(f"driver: {{signal: {{stop: {stop}}}}}")) == [
        f"config.yaml:4: services.w.restart.driver.signal.stop{text}"
        for text in (
            "[0].wait: a bare number has no unit - write 5s, 5m or 5h",
            "[0]: 'FOO' is not a signal: write TERM, INT, QUIT, HUP or KILL",
            "[1].wiat: is not known here - did you mean 'wait'?",
            "[1]: 'BAR' is not a signal: write TERM, INT, QUIT, HUP or KILL",
        )
    ]


def test_a_wrong_option_does_not_make_a_secret_missing(tmp_path: Path) -> None:
    """The secret comes from its file; only the wrong option is said."""
    (tmp_path / "url").write_text("https://hooks.example.org/x")
    text = top("alerts: {channels: {o: {slack: {webhook_url_file: url, mention: [x]}}}}")
    assert problems(tmp_path, text) == [
        "config.yaml:2: alerts.channels.o.slack.mention: must be text - put it in quotes"
    ]


def test_a_directory_in_place_of_a_file_names_the_file(tmp_path: Path) -> None:
    """For `-c` the file that lies in it, for a part of conf.d that it is in the way."""
    (tmp_path / "etc" / "conf.d" / "x.yaml").mkdir(parents=True)
    (tmp_path / "etc" / "main.yml").write_text(WORKER)
    found: list[str] = []
    for path in ("etc", "etc/main.yml"):
        with pytest.raises(ConfigError) as caught:
            load(path, environ={}, cwd=tmp_path, secrets="")
        found += caught.value.problems
    assert found == [
        "etc: is a directory - name the file in it, such as etc/main.yml",
        "etc/conf.d/x.yaml: is a directory - write a file of that name, or rename it",
    ]


@pytest.mark.parametrize("key", ["stop_signal", "signal", "kill"])
def test_signals_of_a_manager_are_explained(tmp_path: Path, key: str) -> None:
    """A stop sequence in a driver that has none says why it has none."""
    text = restart(f"driver: {{command: {{argv: [/bin/x], {key}: [TERM]}}}}")
    assert problems(tmp_path, text) == [
        (
            f"config.yaml:4: services.w.restart.driver.command.{key}: signals belong to the drivers "
            "signal and child; with command it is not leakguard that stops the service, and a signal "
            "of ours would restart it twice - leave it out"
        )
    ]


def test_signals_of_systemd_are_explained(tmp_path: Path) -> None:
    """A TERM of ours under Restart=always would restart it twice."""
    (found,) = problems(tmp_path, restart("driver: {systemd: {stop: [{signal: TERM}]}}"))
    assert "with systemd it is not leakguard that stops the service" in found


@pytest.mark.parametrize(
    "text",
    [
        top("alerts: {channels: {o: {slack: {webhook_url: hunter2}}}}"),
        top("alerts: {channels: {o: {slack: {webhook_url: [hunter2]}}}}"),
        top("alerts: {channels: {o: {webhook: {url: 'http://h', secret: {a: hunter2}}}}}"),
        top("http: {token: [hunter2]}"),
        top("http: {token: hunter2, token_file: x}"),
    ],
)
def test_secrets_are_never_repeated(tmp_path: Path, text: str) -> None:
    """A message about a secret shows nothing of it."""
    found = problems(tmp_path, text)
    assert found != []
    assert [line for line in found if "hunter2" in line] == []


def test_a_problem_names_the_file_that_it_is_in(tmp_path: Path) -> None:
    """The line is that of the part, and of what was really used."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "x.yaml").write_text("\nservices:\n  worker: {mode: atc}\n")
    assert problems(tmp_path, WORKER) == [
        "conf.d/x.yaml:3: services.worker.mode: must be one of observe, act - did you mean 'act'?"
    ]


def test_broken_files_are_all_named(tmp_path: Path) -> None:
    """Every file that cannot be read is said in the same run."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "x.yaml").write_bytes(b"a: 1\nb: \xff\n")
    (tmp_path / "conf.d" / "y.yaml").write_text("a: [")
    found = problems(tmp_path, WORKER)
    assert [line.split(": ")[0] for line in found] == ["conf.d/x.yaml:2", "conf.d/y.yaml:1"]


@pytest.mark.parametrize(
    ("path", "environ", "line"),
    [
        ("no.yaml", {}, "no.yaml: no such file - correct -c, or write the file"),
        (None, {"LEAKGUARD_CONFIG": "no.yaml"}, "no.yaml: no such file - correct $LEAKGUARD_CONFIG, "),
        (".", {}, ".: is a directory - name the file in it, such as ./config.yaml"),
        (None, {"XDG_CONFIG_HOME": "/nowhere"}, "no configuration: there is no /nowhere/leakguard/config.yaml and no "),
    ],
)  # fmt: skip
def test_a_missing_file_is_an_error(
    tmp_path: Path, path: str | None, environ: dict[str, str], line: str
) -> None:
    """A file that was named must be there; without any, the message shows how to begin."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ=environ, cwd=tmp_path, secrets="")
    assert [one[: len(line)] for one in caught.value.problems] == [line]


def test_a_home_that_is_hidden_holds_no_configuration(hidden: Path) -> None:
    """`ProtectHome=yes` of a unit: other places count; where there is none, it is said why."""
    place = f"{hidden}/leakguard/config.yaml"
    environ = {"XDG_CONFIG_HOME": str(hidden)}
    by_variables = environ | {"LEAKGUARD_SERVICES__WORKER__TARGET__CMDLINE": "x"}
    assert len(load(None, environ=by_variables, cwd=Path("/"), secrets="").plan.services) == 1
    with pytest.raises(ConfigError) as caught:
        load(None, environ=environ, cwd=Path("/"), secrets="")
    (line,) = caught.value.problems
    assert f"(uid {os.geteuid()} may not look for {place})" in line


def test_a_named_file_that_is_hidden_cannot_be_read(hidden: Path) -> None:
    """It may well be there: the message names the right that is missing."""
    place = f"{hidden}/leakguard/config.yaml"
    with pytest.raises(ConfigError) as caught:
        load(place, environ={}, cwd=Path("/"), secrets="")
    assert caught.value.problems == (f"{place}: Permission denied - let leakguard read it",)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    """Whatever was named by mistake, memory stays small."""
    assert problems(tmp_path, "#" * ((1 << 20) + 1)) == [
        "config.yaml: larger than 1 MiB - this is not a configuration file"
    ]


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    """Nine lines must not unfold to a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    assert problems(tmp_path, "\n".join(lines)) == [
        "config.yaml: it nests too deeply, or contains itself - unfold it"
    ]


@pytest.mark.parametrize("kind", ["file", "loop"])
def test_a_conf_d_that_cannot_be_listed_is_told(tmp_path: Path, kind: str) -> None:
    """What is in it would be missing without a word."""
    (tmp_path / "config.yaml").write_text("services: {a: {target: {pid: 1}}}")
    if kind == "file":
        (tmp_path / "conf.d").write_text("")
    else:
        (tmp_path / "conf.d").symlink_to("conf.d")
    with pytest.raises(ConfigError, match=r"^conf\.d: .* - let leakguard list it, or remove it$"):
        load("config.yaml", environ={}, cwd=tmp_path, secrets="")
