"""The driver's one request: what supervisord is asked, and what its answers are called."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from leakguard import plugins
from leakguard.core.errors import DriverError
from leakguard.core.plan import PluginSpec
from leakguard.core.sample import Incarnation, Location
from leakguard.drivers.base import Driver, DriverContext, Ending, RestartOrder
from leakguard.linux.children import Children, run_here
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.clock import SystemClock
from leakguard.testing.files import BOOT_ID, ProcFiles
from leakguard.testing.supervisord import FakeProgram, FakeSupervisord

WEB = Incarnation(boot_id=BOOT_ID, pid=21, start_ticks=5)


class Site:
    """A supervisord of files with site:web as pid 21, which has a child 31; and a driver for it."""

    def __init__(self, folder: Path) -> None:
        self.files = ProcFiles(folder / "proc")
        self.files.add(21, "pidproxy", start=5)
        self.files.add(31, "web", parent=21, start=6)
        self.files.add(41, "stranger", start=6)
        self.web = FakeProgram("site", "web", 21)
        self.server = FakeSupervisord(folder / "s", self.web, FakeProgram("site", "api", 22))
        self.place = str(folder / "s")
        self.clock = SystemClock()
        self.proc = ProcFs()
        self.context = DriverContext(
            service="app",
            proc=ProcFs(str(self.files.root)),
            children=Children(run_here, self.clock),
            clock=self.clock,
            locate=lambda: None,
            target=self.target("site:web"),
            deadline_s=60.0,
        )

    def target(self, name: str) -> PluginSpec:
        """Give the target as the configuration names it."""
        return PluginSpec(key="supervisord", options={"name": name, "socket": self.place})

    def driver(self, **options: Any) -> Driver:
        """Make the driver."""
        plugin = plugins.load("drivers", "supervisord")
        made: Driver = plugin.make(options, self.context)
        return made

    def reaped(self) -> bool:
        """Tell whether nothing is left that held a request."""
        self.context.children.reap_orphans()
        return not self.proc.tree(os.getpid())[1:]

    def refusal(self, incarnation: Incarnation | None) -> DriverError:
        """Give the error of a restart."""
        with pytest.raises(DriverError) as caught:
            self.driver().restart(order(incarnation))
        return caught.value


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give a supervisord, ended afterwards."""
    made = Site(tmp_path)
    with made.server:
        yield made
    assert any(made.reaped() or Event().wait(0.02) for _ in range(500))


def order(incarnation: Incarnation | None, deadline_s: float = 30.0) -> RestartOrder:
    """Make an order."""
    return RestartOrder(
        incarnation=incarnation, reason="a test", deadline_s=deadline_s, cancelled=Event()
    )


def test_a_restart_is_one_stop_and_one_start(site: Site) -> None:
    """Of the program that the target named; its neighbour in the group is not touched."""
    driver = site.driver()
    stopped = driver.restart(order(WEB))
    assert stopped.message == "supervisord stopped and started site:web"
    assert site.server.calls == [("stop", "site:web"), ("start", "site:web")]
    assert (driver.managed, driver.stops, driver.starts) == (True, True, False)


def test_what_does_not_run_is_only_started(site: Site) -> None:
    """A person asked for it, or `depends_on`."""
    site.web.state = "FATAL"
    assert site.driver().restart(order(None)).message == "supervisord started site:web"
    assert site.server.calls == [("start", "site:web")]


def test_a_stop_and_a_start_at_another_time(site: Site) -> None:
    """What is stopped already is no failure, nor is what runs already."""
    driver = site.driver()
    driver.stop(order(WEB))
    driver.stop(order(None))
    driver.start(order(None))
    driver.start(order(None))
    assert [call for call, _ in site.server.calls] == ["stop", "stop", "start", "start"]
    assert site.web.pid == 22


def test_the_process_behind_a_proxy_is_its_program_s(site: Site) -> None:
    """What is seen may be below the process that supervisord started."""
    site.driver().restart(order(Incarnation(boot_id=BOOT_ID, pid=31, start_ticks=6)))
    assert len(site.server.calls) == 2


@pytest.mark.parametrize(
    ("state", "meant", "said"),
    [
        ("RUNNING", 41, "nothing was done: site:web runs as pid 21, pid 41 was meant"),
        ("EXITED", 21, "nothing was done: site:web is EXITED, pid 21 was meant"),
        ("RUNNING", None, "nothing was done: site:web runs as pid 21"),
        ("STOPPING", 21, "nothing was done: somebody is stopping site:web"),
        ("BACKOFF", None, "nothing was done: supervisord is trying to start site:web (BACKOFF"),
    ],
)
def test_what_is_not_meant_is_left_alone(
    site: Site, state: str, meant: int | None, said: str
) -> None:
    """Another run, one that somebody else stops, one that supervisord itself is starting."""
    site.web.state = state
    seen = None if meant is None else Incarnation(boot_id=BOOT_ID, pid=meant, start_ticks=6)
    error = site.refusal(seen)
    assert str(error).startswith(f"app: {said}")
    assert (error.permanent, site.server.calls) == (False, [])


@pytest.mark.parametrize(
    ("method", "fault", "said", "permanent"),
    [
        ("startProcess", (40, "ABNORMAL_TERMINATION"), "of 1s: supervisord tries 3 times", False),
        ("startProcess", (50, "SPAWN_ERROR: web"), "could not start site:web: SPAWN_ERROR", False),
        ("startProcess", (20, "NO_FILE: web"), "could not start site:web: NO_FILE", True),
        ("startProcess", (21, "NOT_EXECUTABLE"), "could not start site:web: NOT_EXEC", True),
        ("stopProcess", (30, "FAILED: no right"), "could not stop site:web: FAILED", False),
        ("stopProcess", (6, "SHUTDOWN_STATE"), "could not stop site:web: SHUTDOWN_STATE", False),
    ],
)  # fmt: skip
def test_a_refusal_of_supervisord_is_a_driver_error(
    site: Site, method: str, fault: tuple[int, str], said: str, permanent: bool
) -> None:
    """With its words, and whether trying again can help."""
    site.web.refusals[method] = fault
    error = site.refusal(WEB)
    assert said in str(error)
    assert error.permanent is permanent


def test_a_program_that_crashed_meanwhile_is_started_all_the_same(site: Site) -> None:
    """That there was nothing to stop any more is no failure."""
    site.web.refusals["stopProcess"] = (70, "NOT_RUNNING")
    site.web.state = "RUNNING"
    assert "started" in site.driver().restart(order(WEB)).message


def test_a_supervisord_that_goes_away_in_the_middle(site: Site) -> None:
    """How the restart ended is not known; trying again may help."""
    driver, caught = site.driver(), list[DriverError]()
    site.server.hold.clear()

    def restart() -> None:
        try:
            driver.restart(order(WEB))
        except DriverError as error:
            caught.append(error)

    thread = Thread(target=restart)
    thread.start()
    assert site.server.stopping.wait(10.0)
    site.server.cut = 30
    site.server.hold.set()
    thread.join(10.0)
    assert [str(error).split(" at ")[0] for error in caught] == ["app: supervisord"]
    assert "went away in the middle" in str(caught[0])
    assert caught[0].permanent is False


def test_a_leakguard_that_ends_leaves_the_rest_to_supervisord(site: Site) -> None:
    """It does not wait, and the request goes on: the program is started without it."""
    site.server.hold.clear()
    hurried, errors = order(WEB), list[str]()

    def restart() -> None:
        try:
            site.driver().restart(hurried)
        except DriverError as error:
            errors.append(str(error))

    thread = Thread(target=restart)
    thread.start()
    assert site.server.stopping.wait(10.0)
    hurried.cancelled.set()
    thread.join(10.0)
    assert errors == ["app: leakguard is ending: supervisord completes the restart by itself"]
    site.server.hold.set()
    assert any(len(site.server.calls) == 2 or Event().wait(0.02) for _ in range(500))


def test_no_answer_in_time_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait is longer than what supervisord may take, and than the deadline of the order."""
    monkeypatch.setattr("leakguard.drivers.supervisord.SLACK_S", 0.2)
    site.web.stop_wait_s = site.web.start_s = 0
    site.server.hold.clear()
    with pytest.raises(DriverError, match=r"did not answer within 300ms"):
        site.driver().restart(order(WEB, deadline_s=0.1))


def test_a_rehearsal_asks_all_that_a_restart_will_ask(site: Site) -> None:
    """Nothing is wrong, and nothing was done."""
    assert site.driver().rehearse(Location(root=WEB)) == ()
    assert site.server.calls == []


def test_a_dry_run_tells_the_stopwaitsecs(site: Site) -> None:
    """How long the program has before supervisord kills it; nothing was done."""
    site.web.stop_wait_s = 45
    assert site.driver().ending(Location(root=WEB)) == Ending(within_s=45.0)
    assert site.server.calls == []


def test_a_rehearsal_finds_what_would_go_wrong(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop longer than the deadline, another program, no holder: each with its fix."""
    site.web.stop_wait_s, site.web.start_s = 120, 5
    other = Location(root=Incarnation(boot_id=BOOT_ID, pid=41, start_ticks=6))
    monkeypatch.setenv("PATH", "")
    holder, strange, slow = site.driver().rehearse(other)
    assert holder.startswith("no cat: install what holds a restart")
    assert strange.startswith("pid 41 is not what supervisord runs as site:web (pid 21): correct")
    assert slow.endswith("a restart fails after 1m: set restart.deadline to 2m 15s")
    assert "install what holds a restart" in str(site.refusal(WEB))


def test_a_rehearsal_names_a_wrong_program(site: Site) -> None:
    """With the nearest right one."""
    assert site.driver(name="site:wep").rehearse(None) == (
        "supervisord has no program site:wep: did you mean site:web?",
    )


def test_who_starts_it_again_and_how_often_it_tries(site: Site) -> None:
    """The manager's own budget is read, not guessed."""
    site.web.start_retries = 5
    assert "gives up after 5 failed starts more" in site.driver().who_starts()
    site.server.close()
    assert site.driver().who_starts() == "supervisord"


def test_one_member_of_a_pattern_is_restarted(site: Site) -> None:
    """The driver of a match goes by the match's own name, not by the pattern."""
    site.context = replace(site.context, member="site:web", target=site.target("site:*"))
    site.driver().restart(order(WEB))
    assert site.server.calls == [("stop", "site:web"), ("start", "site:web")]


def test_without_a_name_the_start_is_refused(site: Site) -> None:
    """With a target of another kind the driver must be told which program is meant."""
    site.context = replace(site.context, target=None)
    with pytest.raises(DriverError, match="does not know the program"):
        site.driver()
    with pytest.raises(DriverError, match="is a pattern: name one program"):
        site.driver(name="site:*")
    assert site.driver(name="site:web", socket=site.place).rehearse(None) == ()
