"""What a unit is, from D-Bus values and from the words of systemctl."""

from dataclasses import replace

import pytest

from leakguard.linux.systemd_unit import PROPERTIES, Unit, full_name, is_in, unit_of
from leakguard.linux.systemd_units import show_argv, show_blocks
from leakguard.linux.systemd_words import problem

WORKER = Unit(
    name="worker.service",
    active_state="active",
    sub_state="running",
    file_state="enabled",
    kind="notify",
    main_pid=4711,
    control_group="/system.slice/worker.service",
    result="success",
    restart="always",
    restarts=3,
    started_us=36862571939,
    began_us=36862571900,
    start_s=None,
    stop_s=90.0,
    burst=5,
    interval_s=10.0,
    oom_policy="stop",
    max_bytes=104857600,
    held_by=("web.service", "api.service"),
)
BUS: dict[str, object] = {
    "Id": "worker.service",
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "Transient": False,
    "Type": "notify",
    "MainPID": 4711,
    "ControlGroup": "/system.slice/worker.service",
    "Result": "success",
    "Restart": "always",
    "NRestarts": 3,
    "ExecMainStartTimestampMonotonic": 36862571939,
    "InactiveExitTimestampMonotonic": 36862571900,
    "TimeoutStartUSec": 2**64 - 1,
    "TimeoutStopUSec": 90000000,
    "StartLimitBurst": 5,
    "StartLimitIntervalUSec": 10000000,
    "RefuseManualStart": False,
    "RefuseManualStop": False,
    "OOMPolicy": "stop",
    "MemoryHigh": 2**64 - 1,
    "MemoryMax": 104857600,
    "RequiredBy": ["web.service", "multi-user.target"],
    "BoundBy": [],
    "ConsistsOf": ["api.service", "web.service"],
}
SHOW = """\
Id=worker.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
InactiveExitTimestampMonotonic=36862571900
RefuseManualStart=no
RefuseManualStop=no
StartLimitBurst=5
StartLimitIntervalUSec=10s
Transient=no
RequiredBy=web.service multi-user.target
ConsistsOf=api.service web.service
Type=notify
MainPID=4711
ControlGroup=/system.slice/worker.service
ExecMainStartTimestampMonotonic=36862571939
NRestarts=3
Restart=always
Result=success
OOMPolicy=stop
TimeoutStartUSec=infinity
TimeoutStopUSec=1min 30s
MemoryHigh=infinity
MemoryMax=104857600
"""


def test_both_ways_give_the_same_unit() -> None:
    """Numbers over D-Bus, words by systemctl."""
    (block,) = show_blocks(SHOW)
    assert (unit_of(BUS), unit_of(block)) == (WORKER, WORKER)


def test_all_that_is_read_is_asked_for() -> None:
    """A property that is not asked for would always be at its default."""
    asked = {key for keys in PROPERTIES.values() for key in keys}
    assert asked == BUS.keys()


def test_what_is_not_said_is_at_its_default() -> None:
    """Older and newer managers lack some properties; rubbish is no number."""
    unit = unit_of({"Id": "a.service", "MainPID": "x", "MemoryMax": "[not set]", "Restart": 7})
    assert unit == replace(Unit(name="a.service", load_state=""), interval_s=0.0)


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("1min 30s", 90.0),
        ("100ms", 0.1),
        ("2h 3min 4.5s", 7384.5),
        ("1d", 86400.0),
        ("1w 2d", 777600.0),
        ("0", 0.0),
        ("infinity", None),
        ("soon", None),
    ],
)
def test_spans_in_words(words: str, seconds: float | None) -> None:
    """As systemctl prints them."""
    assert unit_of({"TimeoutStopUSec": words}).stop_s == seconds


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        (WORKER, "active (running)"),
        (replace(WORKER, active_state="failed", result="oom-kill"), "failed (oom-kill)"),
        (replace(WORKER, active_state="activating", sub_state=""), "activating"),
    ],
)
def test_the_state_in_words(unit: Unit, said: str) -> None:
    """A failed unit says why."""
    assert unit.state == said


def test_the_suffix_may_be_left_out() -> None:
    """A dot in an instance is none of a suffix with capitals or digits."""
    names = ["worker", "worker.service", "w@1.2", "w@a.b:1", "x.slice"]
    found = [full_name(name) for name in names]
    assert found == [
        "worker.service",
        "worker.service",
        "w@1.2.service",
        "w@a.b:1.service",
        "x.slice",
    ]


@pytest.mark.parametrize(
    ("paths", "inside"),
    [
        ({"": "/system.slice/w.service"}, True),
        ({"": "/system.slice/w.service/payload"}, True),
        ({"name=systemd": "/a/w.service", "memory": "/", "": "/"}, True),
        ({"name=systemd": "/a/x.service", "memory": "/w.service"}, False),
        ({"": "/system.slice/w.service.d"}, False),
        ({"": "/system.slice/_w.service"}, True),
        ({}, False),
    ],
)
def test_whether_a_process_is_in_a_unit(paths: dict[str, str], inside: bool) -> None:
    """By systemd's own hierarchy where there is one, whole names only."""
    assert is_in(paths, "w.service") is inside


def test_names_come_behind_two_dashes() -> None:
    """None is taken for an option."""
    argv = show_argv("systemctl", ["-x.service"], ["Id", "Type"], user=True)
    assert argv == ("systemctl", "--user", "show", "--property=Id,Type", "--", "-x.service")


@pytest.mark.parametrize(
    ("kind", "text", "permanent"),
    [
        ("org.freedesktop.systemd1.NoSuchUnit", "Unit w.service not found.", True),
        ("org.freedesktop.systemd1.UnitMasked", "Unit w.service is masked.", True),
        ("", "Failed to restart w.service: Unit w.service not found.", True),
        ("org.freedesktop.systemd1.TransactionIsDestructive", "is destructive", False),
        ("", "Failed to restart w.service: Connection timed out", False),
    ],
)
def test_what_a_refusal_means(kind: str, text: str, permanent: bool) -> None:
    """Whether it will be the same the next time."""
    said, for_good = problem("w.service", kind, text)
    assert (text in said, for_good) == (True, permanent)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("org.freedesktop.DBus.Error.AccessDenied", "Permission denied"),
        ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", ""),
        ("", "Failed to restart w.service: Interactive authentication required."),
        ("", "Failed to restart w.service: Access denied\nSee system logs"),
    ],
)
def test_a_missing_right_is_named(kind: str, text: str) -> None:
    """With polkit's name of it, who lacks it, and the rule that gives it."""
    said, permanent = problem("w.service", kind, text)
    assert permanent is True
    for words in (
        "uid ",
        "w.service",
        "org.freedesktop.systemd1.manage-units",
        "50-leakguard.rules",
    ):
        assert words in said
