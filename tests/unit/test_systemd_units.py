"""Units out of cgroup paths, and what `systemctl show` says of them."""

import os
from pathlib import Path

import pytest

from leakguard.core.findings.facts import UnitFacts
from leakguard.linux.systemd_units import Holders, SystemdUnits, holders, parse_show

SHOW = """\
Id=nginx.service
OOMPolicy=stop
OOMScoreAdjust=-500
Restart=on-failure
ManagedOOMSwap=auto
ManagedOOMMemoryPressure=kill
ManagedOOMPreference=avoid

Id=system.slice
ManagedOOMSwap=auto
ManagedOOMMemoryPressure=auto
ManagedOOMPreference=none
"""
FAKE = """\
#!/bin/sh
echo "$@" >> {log}
while [ "$1" != -- ]; do shift; done
shift
for unit; do printf 'Id=%s\\nOOMPolicy=stop\\nRestart=no\\n\\n' "$unit"; done
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Give where the systemctl of a test notes how it was called."""
    return tmp_path / "calls"


@pytest.fixture
def units(tmp_path: Path, log: Path) -> SystemdUnits:
    """Give the reader with a systemctl of our own."""
    program = tmp_path / "systemctl"
    program.write_text(FAKE.format(log=log))
    program.chmod(0o755)
    return SystemdUnits(str(program), runs=str(tmp_path))


def test_the_units_above_a_process_come_nearest_first() -> None:
    """The root slice is above them all."""
    assert holders({"": "/system.slice/nginx.service"}) == Holders(
        system=("nginx.service", "system.slice", "-.slice")
    )


def test_v1_is_read_from_systemds_own_hierarchy() -> None:
    """The memory controller's path may differ from it."""
    paths = {"memory": "/other", "name=systemd": "/system.slice/a.service", "": "/"}
    assert holders(paths).system[0] == "a.service"


def test_parts_that_are_no_units_are_left_out() -> None:
    """A service may have cgroups of its own below its unit; names are unescaped."""
    found = holders({"": "/system.slice/_cpu.service/payload"})
    assert found.system == ("cpu.service", "system.slice", "-.slice")
    assert holders({"": "/"}).system == ("-.slice",)
    assert holders({}) == Holders()


def test_units_of_a_users_manager_are_told_apart() -> None:
    """Only that manager knows them."""
    path = "/user.slice/user-1000.slice/user@1000.service/app.slice/app.service"
    assert holders({"": path}) == Holders(
        system=("user@1000.service", "user-1000.slice", "user.slice", "-.slice"),
        user=("app.service", "app.slice"),
        uid=1000,
    )


def test_show_is_read_block_by_block() -> None:
    """A slice has no OOMPolicy, and what is not printed is at its default."""
    service, slice_ = parse_show(SHOW)
    assert service == UnitFacts(
        name="nginx.service",
        oom_policy="stop",
        oom_score_adjust=-500,
        restart="on-failure",
        managed_pressure="kill",
        preference="avoid",
    )
    assert slice_ == UnitFacts(name="system.slice")
    assert (service.watched_by_oomd, slice_.watched_by_oomd) == (True, False)


@pytest.mark.parametrize("text", ["", "\n\n\n", "Failed to connect to bus\n", "Id=\n", "=\n\nx"])
def test_other_output_gives_no_units(text: str) -> None:
    """What systemctl says when it fails is not read as a unit."""
    assert parse_show(text) == ()


def test_systemctl_is_asked_once_for_each_unit(units: SystemdUnits, log: Path) -> None:
    """Names come behind `--`, so that none is taken for an option."""
    first = units.of({"": "/system.slice/a.service"})
    second = units.of({"": "/system.slice/b.service"})
    assert [unit.name for unit in first] == ["a.service", "system.slice", "-.slice"]
    assert [unit.name for unit in second] == ["b.service", "system.slice", "-.slice"]
    calls = [line.partition(" -- ")[2] for line in log.read_text().splitlines()]
    assert calls == ["a.service system.slice -.slice", "b.service"]


def test_units_of_another_users_manager_are_not_asked_for(units: SystemdUnits, log: Path) -> None:
    """The slices above them are."""
    other = os.getuid() + 1
    path = f"/user.slice/user-{other}.slice/user@{other}.service/app.slice/app.service"
    found = units.of({"": path})
    assert [unit.name for unit in found] == [f"user-{other}.slice", "user.slice", "-.slice"]
    assert "--user" not in log.read_text()


def test_units_of_the_own_manager_are_asked_for(units: SystemdUnits, log: Path) -> None:
    """By --user."""
    own = os.getuid()
    path = f"/user.slice/user-{own}.slice/user@{own}.service/app.slice/app.service"
    assert units.of({"": path})[0].name == "app.service"
    assert log.read_text().startswith("--user show ")


def test_without_systemd_nothing_is_known(tmp_path: Path) -> None:
    """It does not run, or its command is missing or fails."""
    paths = {"": "/system.slice/a.service"}
    assert SystemdUnits("/nowhere", runs=str(tmp_path / "none")).of(paths) == ()
    assert SystemdUnits("/nowhere", runs=str(tmp_path)).of(paths) == ()
    assert SystemdUnits("/bin/false", runs=str(tmp_path)).of(paths) == ()
