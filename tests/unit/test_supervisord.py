"""supervisord is asked over its socket; what cannot be asked is told with its fix."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leakguard import plugins
from leakguard.core.errors import LeakguardError, ReadingError, TargetError
from leakguard.core.units import Secret
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children, run_here
from leakguard.linux.procfs import ProcFs
from leakguard.linux.supervisord import Address, Program, SupervisordError, Times, nearest
from leakguard.targets.base import Target, TargetContext
from leakguard.testing.clock import FakeClock
from leakguard.testing.files import ProcFiles
from leakguard.testing.supervisord import FakeProgram, FakeSupervisord

OWN_PID = 7


class Site:
    """Two groups on a machine of files: `site` with web and api, and the lone program `cron`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "s"
        self.files = ProcFiles(folder / "proc")
        self.files.add(OWN_PID, "supervisord")
        self.web = FakeProgram("site", "web", 21)
        self.api = FakeProgram("site", "api", 22)
        self.cron = FakeProgram("cron", "cron", 23)
        for pid, start in ((21, 9), (22, 8), (23, 7)):
            self.files.add(pid, "python3", parent=OWN_PID, start=start)
        self.server = FakeSupervisord(self.path, self.web, self.api, self.cron, pid=OWN_PID)
        proc = ProcFs(str(self.files.root))
        self.context = TargetContext(
            service="app",
            proc=proc,
            cgroups=CgroupFs(proc, str(folder / "cgroup")),
            children=Children(run_here, FakeClock(), proc),
        )

    def target(self, name: str, **options: Any) -> Target:
        """Make a target."""
        plugin = plugins.load("targets", "supervisord")
        made: Target = plugin.make(
            {"name": name, "socket": str(self.path), **options}, self.context
        )
        return made

    def found(self, name: str) -> list[tuple[int, str]]:
        """Give pid and member of what a target locates."""
        return [(one.root.pid, one.member) for one in self.target(name).locate()]

    def refusal(self, name: str, **options: Any) -> str:
        """Give the message with which a target finds nothing."""
        with pytest.raises(TargetError) as caught:
            self.target(name, **options).locate()
        return str(caught.value)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give a supervisord with two groups, ended afterwards."""
    made = Site(tmp_path)
    with made.server:
        yield made


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("site:web", [(21, "site:web")]),
        ("cron", [(23, "cron:cron")]),
        ("cron:cron", [(23, "cron:cron")]),
        ("site:*", [(22, "site:api"), (21, "site:web")]),
        ("*:*", [(23, "cron:cron"), (22, "site:api"), (21, "site:web")]),
        ("site:[w]??", [(21, "site:web")]),
        ("cr*", [(23, "cron:cron")]),
    ],
)
def test_names_are_supervisorctl_s(site: Site, name: str, found: list[tuple[int, str]]) -> None:
    """A lone program goes by its name too; matches come oldest first, each with its full name."""
    assert site.found(name) == found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("web", "supervisord has no program web: did you mean site:web?"),
        ("site", "supervisord has no program site: site is a group: write site:web, or site:*"),
        ("site:wbe", "supervisord has no program site:wbe: did you mean site:web?"),
        ("zzz", "supervisord has no program zzz: there are: site:web, site:api, cron:cron"),
        ("shop:*", "supervisord has no program that matches shop:*: there are: site:web, "),
        ("web*", "supervisord has no program that matches web*: did you mean site:web?"),
    ],
)
def test_a_wrong_name_is_told_with_the_nearest_right_one(site: Site, name: str, said: str) -> None:
    """Or with the names there are."""
    assert site.refusal(name).startswith(said)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("STOPPED", "site:web is STOPPED: `supervisorctl start site:web`"),
        ("EXITED", "site:web ended with code 3 (EXITED)"),
        ("BACKOFF", "supervisord is trying to start site:web (BACKOFF, Exited too quickly)"),
        ("FATAL", "supervisord gave up starting site:web (FATAL, Exited too quickly)"),
    ],
)
def test_what_does_not_run_is_told_with_its_state(site: Site, state: str, said: str) -> None:
    """As supervisord calls it, with what it says of the reason."""
    site.web.state, site.web.spawn_error, site.web.exit_status = state, "Exited too quickly", 3
    assert site.refusal("site:web").startswith(said)
    assert site.found("site:*") == [(22, "site:api")]
    site.api.state = state
    assert site.refusal("site:*").startswith("no program that matches site:* runs: ")


@pytest.mark.parametrize("state", ["STARTING", "STOPPING"])
def test_what_begins_or_ends_still_runs(site: Site, state: str) -> None:
    """Its memory counts as long as its process is there."""
    site.web.state = state
    assert site.found("site:web") == [(21, "site:web")]


def test_a_process_of_another_machine_is_no_match(site: Site) -> None:
    """A number means something in its own PID namespace only: the parent must be supervisord."""
    site.server.pid = 99
    assert "its machine and in its PID namespace" in site.refusal("site:web")


def test_a_process_that_just_ended_is_left_out(site: Site) -> None:
    """Of one program it is told, of several the others are found."""
    site.files.end(21)
    assert site.refusal("site:web") == "site:web: no process 21 runs"
    assert site.found("site:*") == [(22, "site:api")]


def test_a_socket_that_is_not_there(site: Site, tmp_path: Path) -> None:
    """Its path is in the message; so are the usual places when none was given."""
    missing = str(tmp_path / "none")
    assert site.refusal("web", socket=missing).startswith(f"no socket {missing}: start supervisord")


def test_a_supervisord_that_has_died_leaves_its_socket(site: Site) -> None:
    """Nobody answers there."""
    site.server.close()
    assert site.refusal("site:web") == f"nobody answers at {site.path}: start supervisord"


def test_without_an_answer_what_runs_is_sampled_as_before(site: Site) -> None:
    """A supervisord that is killed leaves its programs running, and leaking."""
    one, many = site.target("site:web"), site.target("site:*")
    before = [target.locate() for target in (one, many)]
    site.server.close()
    assert [target.locate() for target in (one, many)] == before
    site.files.end(21)
    assert [one.root.pid for one in many.locate()] == [22]
    with pytest.raises(TargetError, match="nobody answers"):
        one.locate()


def test_one_that_hangs_is_not_asked_at_every_look(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop would wait 2 s for each of its programs, again and again."""
    target, asked = site.target("site:web"), list[float]()
    before = target.locate()

    def hang(self: Address, *_: object, **__: object) -> list[object]:
        asked.append(1)
        raise SupervisordError(f"{self.socket} did not answer", unknown=True)

    monkeypatch.setattr(Address, "ask", hang)
    assert [target.locate() for _ in range(10)] == [before] * 10
    assert len(asked) == 2
    site.files.end(21)
    with pytest.raises(ReadingError, match="did not answer"):
        target.locate()


def test_a_supervisord_that_hangs_is_unknown(site: Site, tmp_path: Path) -> None:
    """That it does not answer in time says nothing about the program."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        with pytest.raises(SupervisordError, match=r"did not answer within 0\.05s") as caught:
            Address(socket=str(tmp_path / "silent")).ask(("getPID",), timeout_s=0.05)
    assert caught.value.unknown
    site.server.body = b""
    with pytest.raises(TargetError, match="is not supervisord"):
        site.target("site:web").locate()


def test_a_missing_answer_is_unknown(site: Site) -> None:
    """Half of what was asked is not enough to say where a program runs."""
    empty = b"<methodResponse><params><param><value><array><data/></array></value></param></params>"
    site.server.body = empty + b"</methodResponse>"
    with pytest.raises(ReadingError, match="left an answer out"):
        site.target("site:web").locate()


def test_a_password_is_asked_for_and_never_shown(site: Site) -> None:
    """Without it, or with a wrong one, the message says which options to set."""
    site.server.credentials = "guard:sesame"
    assert "set username and password_file" in site.refusal("site:web")
    wrong = {"username": "guard", "password": Secret("wrong-one")}
    assert "wrong-one" not in site.refusal("site:web", **wrong)
    right = site.target("site:web", username="guard", password=Secret("sesame"))
    assert [one.root.pid for one in right.locate()] == [21]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": 500}, "answered with status 500"),
        ({"cut": 40}, "went away in the middle of its answer"),
        ({"cut": 0}, "went away in the middle of its answer"),
        ({"body": b"<html>hello</html>"}, "is not supervisord: correct socket or url"),
    ],
)
def test_an_answer_that_is_none(site: Site, change: dict[str, Any], said: str) -> None:
    """Whatever speaks at that place is told apart from supervisord."""
    for name, value in change.items():
        setattr(site.server, name, value)
    assert said in site.refusal("site:web")


def test_the_first_usual_socket_is_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As supervisorctl does; when there is none, all the places are named."""
    monkeypatch.setattr("leakguard.linux.supervisord.SOCKETS", ("/nowhere/s", str(site.path)))
    assert Address().place() == str(site.path)
    monkeypatch.setattr("leakguard.linux.supervisord.SOCKETS", ("/nowhere/s", "/none/s"))
    with pytest.raises(SupervisordError, match=r"no socket of supervisord at /nowhere/s, /none/s"):
        Address().ask(("getPID",))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": " "}, "is not the name of a program"),
        ({"name": "site:"}, "is not the name of a program"),
        ({"name": ":web"}, "is not the name of a program"),
        ({"name": "web", "socket": "s.sock"}, "is not an absolute path"),
        ({"name": "web", "url": "https://127.0.0.1:9001"}, "write http://HOST:9001"),
        ({"name": "web", "url": "http://"}, "write http://HOST:9001"),
        ({"name": "web", "socket": "/s", "url": "http://h:1"}, "both given"),
        ({"name": "web", "username": "guard"}, "belong together"),
        ({"name": "web", "password": Secret("x")}, "belong together"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], said: str) -> None:
    """The file alone shows it."""
    with pytest.raises(LeakguardError, match=said):
        plugins.load("targets", "supervisord").make(options, None)


def test_a_port_is_asked_too() -> None:
    """[inet_http_server] answers as the socket does; without a number it is 9001."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(SupervisordError, match=f"nobody answers at http://127.0.0.1:{port}"):
        Address(url=f"http://127.0.0.1:{port}").ask(("getPID",))


def test_what_a_program_may_take_is_in_its_configuration() -> None:
    """One that is not listed (an older supervisord) has the usual values."""
    program = Program(group="g", name="p", state="RUNNING", pid=1)
    infos = [FakeProgram("g", "p", stop_wait_s=15, start_s=5, start_retries=1).config()]
    assert Times.of(infos, program) == Times(stop_wait_s=15.0, start_s=5.0, start_retries=1)
    assert Times.of(infos, program).both_s == 20.0
    assert (Times.of([], program), Times.of("fault", program)) == (Times(), Times())


def test_a_supervisord_without_programs_says_so() -> None:
    """Nothing is near to nothing."""
    assert nearest("web", []) == "supervisord has no program"
