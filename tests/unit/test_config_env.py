"""Variables and secret files set what a file can set, and say which of them is wrong."""

from pathlib import Path

import pytest

from leakguard.config import load
from leakguard.config.environment import local_timezone, state_file
from leakguard.core.errors import ConfigError
from leakguard.core.plan import PluginSpec
from leakguard.core.policy import Mode, ScheduleRule, ThresholdRule
from leakguard.core.units import Amount, Secret
from leakguard.testing.settings import WORKER, load_service, load_text, problems

# ruff: noqa: E501  the cases are a table

P = "LEAKGUARD_SERVICES__"


def test_a_sidecar_needs_no_file(tmp_path: Path) -> None:
    """Variables alone make a complete configuration."""
    environ = {
        f"{P}APP__MODE": "act",
        f"{P}APP__TARGET__CMDLINE": "python3 app.py",
        f"{P}APP__TIMEZONE": "UTC",
        f"{P}APP__RESTART__DRIVER": "{signal: {stop: [{signal: INT, wait: 3s}], respawned_by: me}}",
        f"{P}APP__RESTART__THRESHOLD": "80%",
        f"{P}APP__RESTART__SCHEDULE": '["@daily"]',
        f"{P}APP__RESTART__MAX_RESTARTS__COUNT": "2",
        f"{P}APP__RESTART__FORECAST": "false",
        "LEAKGUARD_HTTP__LISTEN": "off",
        "LEAKGUARD_HTTP__OPEN_METRICS": "true",
        "LEAKGUARD_ALERTS__CHANNELS__OUT": "log",
        "LEAKGUARD_SOCKET": "/run/lg.sock",
        "LEAKGUARD_SHUTDOWN_GRACE": "5s",
    }
    plan = load(None, environ=environ, cwd=tmp_path, secrets="").plan
    (service,) = plan.services
    assert (service.rules.name, service.rules.mode) == ("app", Mode.ACT)
    assert service.rules.policy.threshold == ThresholdRule(above=Amount(share=0.8))
    assert service.rules.policy.schedules == (ScheduleRule(cron="0 0 * * *"),)
    assert service.rules.policy.forecast is None
    assert service.rules.guards.max_restarts == 2
    assert service.driver is not None
    assert service.driver.options == {
        "stop": [{"signal": "INT", "wait": 3.0}],
        "respawned_by": "me",
    }
    assert (plan.http.listen, plan.http.open_metrics) == ("", True)
    assert (plan.socket_path, plan.shutdown_grace_s, plan.sources) == ("/run/lg.sock", 5.0, ())
    assert plan.channels[0].notifier == PluginSpec(key="log")


def test_a_pattern_that_begins_like_a_list_stays_text(tmp_path: Path) -> None:
    """`[p]ython` is the usual trick in a pattern, and no YAML list."""
    environ = {f"{P}APP__TARGET__CMDLINE": "[p]ython"}
    plan = load(None, environ=environ, cwd=tmp_path, secrets="").plan
    assert plan.services[0].target.options == {"pattern": "[p]ython"}


@pytest.mark.parametrize("name", ["My-Api", "my.api", "my_api", "my@api"])
def test_names_that_shells_cannot_write_are_found(tmp_path: Path, name: str) -> None:
    """Small letters and `_` stand for the name that the file has."""
    text = WORKER.replace("worker", name, 1)
    assert load_service(tmp_path, text, {f"{P}MY_API__MODE": "act"}).rules.name == name


def test_a_name_that_may_be_two_is_refused(tmp_path: Path) -> None:
    """Guessing would set the wrong service."""
    text = "services: {a-b: {target: {cmdline: a}}, a.b: {target: {cmdline: b}}}"
    assert problems(tmp_path, text, {f"{P}A_B__MODE": "act"}) == [
        "$LEAKGUARD_SERVICES__A_B__MODE: 'a_b' may mean a-b or a.b - rename one of them"
    ]


def test_a_short_variable_is_refined_by_a_longer_one(tmp_path: Path) -> None:
    """Order in the environment has no meaning, length has."""
    environ = {
        "LEAKGUARD_STATE": "{keep: 1d, raw_keep: 1h}",
        "LEAKGUARD_STATE__KEEP": "2d",
    }
    state = load_text(tmp_path, WORKER, environ).plan.state
    assert (state.keep_s, state.raw_keep_s) == (172800.0, 3600.0)


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("HTTP__LISTN", "x", "$LEAKGUARD_HTTP__LISTN: http.listn: is not known here - did you mean 'listen'?"),
        ("SERVICES__WORKER__MODE", "atc", "$LEAKGUARD_SERVICES__WORKER__MODE: services.worker.mode: must be one of "),
        ("SERVICES__WORKER__LIMIT", "900", "$LEAKGUARD_SERVICES__WORKER__LIMIT: services.worker.limit: '900' is not a size"),
        ("SERVICES__WORKER__RESTART__MAX_RESTARTS__COUNT", "x", "$LEAKGUARD_SERVICES__WORKER__RESTART__MAX_RESTARTS__COUNT: services.worker.restart.max_restarts.count: must be a whole number"),
        ("GROUPS__WORKERS__MAX_PARALEL", "1", "$LEAKGUARD_GROUPS__WORKERS__MAX_PARALEL: groups.workers.max_paralel: is not known here - did you mean 'max_parallel'?"),
        ("HTTP____LISTEN", "x", "$LEAKGUARD_HTTP____LISTEN: an empty name between __ - "),
        ("ALERTS__ROUTES", "[{to: [", "$LEAKGUARD_ALERTS__ROUTES: alerts.routes: this is not YAML - "),
        ("HTTP__TOKEN_FILE", "/nowhere", "$LEAKGUARD_HTTP__TOKEN_FILE: http.token_file: cannot read /nowhere: No such file"),
        ("SERVICES__WORKER__TARGET__PID", "3", "config.yaml:1: services.worker.target: must name exactly one target, "),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, value: str, line: str) -> None:
    """Its name stands where file and line stand otherwise."""
    found = problems(tmp_path, WORKER, {f"LEAKGUARD_{variable}": value})
    assert [one[: len(line)] for one in found] == [line]


def test_plain_and_deeper_variables_exclude_each_other(tmp_path: Path) -> None:
    """One setting cannot be a text and a mapping."""
    environ = {f"{P}WORKER__RESTART__GRACE": "5m", f"{P}WORKER__RESTART__GRACE__X": "1"}
    assert problems(tmp_path, WORKER, environ) == [
        (
            "$LEAKGUARD_SERVICES__WORKER__RESTART__GRACE__X: another variable sets what is above it "
            "to a plain value - unset one"
        )
    ]


@pytest.mark.parametrize(
    ("variable", "warnings"),
    [
        ("SERVICE_HOST", ()),
        ("SERVICE_PORT_HTTP", ()),
        ("PORT", ()),
        ("PORT_9847_TCP_ADDR", ()),
        ("CONFIG", ()),
        ("HTTP_LISTEN", ("did you mean LEAKGUARD_HTTP__LISTEN?",)),
        ("SERVICE__WORKER__MODE", ("did you mean LEAKGUARD_SERVICES__WORKER__MODE?",)),
        ("QUIET", ("unset it, or correct its name",)),
    ],
)
def test_other_variables_are_warned_about_or_left_alone(
    tmp_path: Path, variable: str, warnings: tuple[str, ...]
) -> None:
    """Kubernetes' own are silent, the rest gives a hint."""
    text = f"LEAKGUARD_{variable}"
    environ = {text: "config.yaml"}
    expected = tuple(
        f"${text}: no setting begins like this, it is ignored - {hint}" for hint in warnings
    )
    assert load_text(tmp_path, WORKER, environ).warnings == expected


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    """Compose files pass on variables that are not set as empty ones."""
    environ = {"LEAKGUARD_HTTP__TOKEN": "", f"{P}WORKER__MODE": ""}
    assert load_text(tmp_path, WORKER, environ).plan.http.token is None


def test_secret_files_are_named_like_settings(tmp_path: Path) -> None:
    """Docker's and systemd's secrets need no key in the file; others in the folder are not ours."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "postgres_password").write_text("x")
    (tmp_path / "secrets" / "other__thing").write_text("x")
    (tmp_path / "secrets" / "http__token").write_text("from-docker\n")
    systemd = tmp_path / "credentials"
    systemd.mkdir()
    (systemd / "alerts__channels__ops__slack__webhook_url").write_text("https://h.example/x\n")
    environ = {"CREDENTIALS_DIRECTORY": str(systemd)}
    plan = load_text(tmp_path, WORKER, environ).plan
    assert plan.http.token == Secret("from-docker")
    assert plan.channels[0].notifier.options == {"webhook_url": Secret("https://h.example/x")}


def test_a_variable_goes_before_a_secret_file(tmp_path: Path) -> None:
    """The strongest source is what a person sets at the start."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "http__token").write_text("weak")
    environ = {"LEAKGUARD_HTTP__TOKEN": "strong"}
    assert load_text(tmp_path, WORKER, environ).plan.http.token == Secret("strong")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty - write the secret into it"),
        (b"\xff", "is not text - store the secret as UTF-8"),
    ],
)
def test_an_unusable_secret_file_is_named(tmp_path: Path, content: bytes, text: str) -> None:
    """What is in it is not shown."""
    (tmp_path / "token").write_bytes(content)
    found = problems(tmp_path, WORKER + "http: {token_file: token}")
    assert found == [f"config.yaml:2: http.token_file: {tmp_path}/token {text}"]


def test_wrong_secret_file_names_itself(tmp_path: Path) -> None:
    """A setting that does not exist is found by the file's path."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "http__tokn").write_text("x")
    assert problems(tmp_path, WORKER) == [
        f"{tmp_path}/secrets/http__tokn: http.tokn: is not known here - did you mean 'token'?"
    ]


@pytest.mark.parametrize(
    ("environ", "is_root", "path"),
    [
        ({"HOME": "/home/a"}, False, "/home/a/.local/state/leakguard/state.db"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "/s"}, False, "/s/leakguard/state.db"),
        ({}, False, "/var/lib/leakguard/state.db"),
        ({"HOME": "/home/r"}, True, "/var/lib/leakguard/state.db"),
        ({"STATE_DIRECTORY": "/a:/b"}, True, "/a/state.db"),
    ],
)
def test_usual_place_of_the_state(environ: dict[str, str], is_root: bool, path: str) -> None:
    """systemd's folder first, then the machine's for root and the user's for others."""
    assert state_file(environ, is_root=is_root) == path


@pytest.mark.parametrize(
    ("environ", "zone"),
    [({"TZ": "Asia/Tokyo"}, "Asia/Tokyo"), ({"TZ": ":UTC"}, "UTC"), ({}, "UTC")],
)
def test_time_zone_of_the_machine(tmp_path: Path, environ: dict[str, str], zone: str) -> None:
    """TZ first, then /etc/localtime; a machine without either is in UTC."""
    assert local_timezone(environ, str(tmp_path / "localtime")) == zone


def test_time_zone_by_localtime(tmp_path: Path) -> None:
    """The name is what the link points to."""
    link = tmp_path / "localtime"
    link.symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    assert local_timezone({}, str(link)) == "Europe/Berlin"


def test_without_anything_the_message_shows_how_to_begin(tmp_path: Path) -> None:
    """The line that it gives is a complete configuration."""
    with pytest.raises(ConfigError) as caught:
        load(None, environ={"XDG_CONFIG_HOME": "/nowhere"}, cwd=tmp_path, secrets="")
    shortest = caught.value.problems[0].partition("this line: ")[2]
    assert problems(tmp_path, shortest) == []
