"""The client of the Engine API: where an engine is, which version is spoken, what goes wrong."""

import errno
import grp
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from leakguard.core.errors import UnitError
from leakguard.linux.containers import Containers, Stop, id_in
from leakguard.linux.engine_api import Address, Engine, EngineError, read_address, usual_address
from leakguard.linux.unix_http import UnixConnection
from leakguard.testing.engine import FakeContainer, FakeEngine

WEB = "a" * 64


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    """Give an engine with one container."""
    with FakeEngine(tmp_path / "engine.sock", FakeContainer(id=WEB, name="web", pid=10)) as fake:
        yield fake


def containers(fake: FakeEngine) -> Containers:
    """Give a client of a fake engine."""
    return Containers(Engine(f"unix://{fake.socket}"))


def failure(where: Path) -> EngineError:
    """Ask an engine that cannot answer, and give what is said about it."""
    with pytest.raises(EngineError) as caught:
        Containers(Engine(str(where))).find("web")
    return caught.value


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/run/docker.sock", Address(path="/run/docker.sock")),
        ("unix:///run/docker.sock", Address(path="/run/docker.sock")),
        ("tcp://127.0.0.1:2375", Address(host="127.0.0.1", port=2375)),
        ("tcp://[::1]:2375/", Address(host="::1", port=2375)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """A socket file, or a port of this machine."""
    assert read_address(text) == address


@pytest.mark.parametrize("text", ["docker.sock", "ssh://host", "tcp://127.0.0.1", "tcp://db:2375"])
def test_addresses_that_cannot_be_used(text: str) -> None:
    """Relative paths, other schemes, and plain TCP to another machine."""
    with pytest.raises(UnitError, match="engine"):
        read_address(text)


def test_the_usual_engine(tmp_path: Path) -> None:
    """$DOCKER_HOST comes first; then the sockets that are there, the user's own among them."""
    own = tmp_path / "podman" / "podman.sock"
    own.parent.mkdir()
    own.touch()
    named = usual_address({"DOCKER_HOST": "unix:///elsewhere.sock"})
    found = usual_address({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert named == Address(path="/elsewhere.sock")
    assert found.path in {str(own), "/var/run/docker.sock", "/run/podman/podman.sock"}


def test_a_docker_host_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable, and trying again cannot help."""
    monkeypatch.setenv("DOCKER_HOST", "ssh://other")
    with pytest.raises(EngineError, match="DOCKER_HOST") as caught:
        Containers(Engine()).find("web")
    assert caught.value.permanent is True


@pytest.mark.parametrize(
    ("least", "most", "spoken"),
    [("1.12", "1.41", "/v1.41"), ("1.44", "1.60", "/v1.51"), ("1.55", "1.60", "/v1.60")],
)
def test_the_version_is_negotiated(engine: FakeEngine, least: str, most: str, spoken: str) -> None:
    """The newest that both know; an engine that has left ours behind is spoken to in its own."""
    engine.least, engine.version = least, most
    assert containers(engine).find("web") is not None
    assert engine.paths == ["/_ping", f"{spoken}/containers/web/json"]


def test_an_engine_that_was_replaced_is_asked_for_its_version_again(engine: FakeEngine) -> None:
    """An upgrade of the engine under a running guard is no error."""
    client = containers(engine)
    client.find("web")
    engine.least, engine.version = "1.44", "1.52"
    assert client.find("web") is not None
    assert engine.paths[-2:] == ["/_ping", "/v1.51/containers/web/json"]


def test_no_such_container_is_an_answer(engine: FakeEngine) -> None:
    """It is told apart from an engine that does not answer."""
    assert (containers(engine).find("db"), containers(engine).names()) == (None, ("web",))


def test_no_socket(tmp_path: Path) -> None:
    """Says which one was looked for and how to name another."""
    error = failure(tmp_path / "none.sock")
    assert (error.permanent, "start Docker" in str(error), "none.sock" in str(error)) == (
        True,
        True,
        True,
    )


def test_a_socket_that_nobody_listens_at(tmp_path: Path) -> None:
    """An engine that was killed leaves its socket: it may come back."""
    path = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    error = failure(path)
    assert (error.permanent, "no engine answers" in str(error)) == (False, True)


def test_a_socket_without_a_right_to_it(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names the mode and the group, and what to do."""

    def refuse(_self: UnixConnection) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(UnixConnection, "connect", refuse)
    os.chown(engine.socket, -1, os.getgid())
    group = grp.getgrgid(os.getgid()).gr_name
    engine.socket.chmod(0o660)
    error = failure(engine.socket)
    assert error.permanent is True
    assert f"uid {os.geteuid()} may not use the engine's socket" in str(error)
    assert f"(srw-rw----, group {group})" in str(error)


def test_an_engine_that_hangs(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question has an end."""
    monkeypatch.setattr("leakguard.linux.engine_api.LOOK_S", 0.2)
    engine.hangs = frozenset({"_ping"})
    assert "no answer" in str(failure(engine.socket))


def test_a_request_ends_when_leakguard_does(engine: FakeEngine) -> None:
    """A restart that takes minutes does not hold the exit."""
    engine.hangs = frozenset({"restart"})
    client, cancelled = containers(engine), Event()
    found = client.find("web")
    assert found is not None
    cancelled.set()
    with pytest.raises(EngineError, match="leakguard is ending"):
        client.restart(found, Stop(after_s=600.0, cancelled=cancelled))


def test_an_engine_that_breaks_off(engine: FakeEngine) -> None:
    """It ended in the middle of a request."""
    engine.breaks = frozenset({"json"})
    assert "broke off" in str(failure(engine.socket))


def test_a_proxy_that_forbids(engine: FakeEngine) -> None:
    """The message names the request that is to be allowed."""
    engine.forbidden = frozenset({"json"})
    error = failure(engine.socket)
    assert (error.permanent, "forbids `GET /v1.41/containers/web/json`" in str(error)) == (
        True,
        True,
    )


def test_an_answer_that_makes_no_sense(engine: FakeEngine) -> None:
    """A socket of another program is not believed."""
    engine.containers[0].id = ""
    assert "does not describe a container" in str(failure(engine.socket))


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (f"/docker/{WEB}", WEB),
        (f"/system.slice/docker-{WEB}.scope", WEB),
        (f"/machine.slice/libpod-{WEB}.scope/container", WEB),
        (f"/../{WEB}", WEB),
        ("/user.slice/session-1.scope", ""),
        ("/", ""),
        ("/docker/" + "g" * 64, ""),
    ],
)
def test_the_container_of_a_cgroup(path: str, found: str) -> None:
    """Docker and Podman, with and without systemd, on both versions of cgroups."""
    assert id_in(path) == found


def test_limits_and_stop_times_are_read(engine: FakeEngine) -> None:
    """Ten seconds where none was chosen (Podman says 0); a negative time-out means for ever."""
    client = containers(engine)
    seen = []
    for told in (None, 0, 240, -1):
        engine.containers[0].stop_timeout = told
        found = client.find("web")
        seen.append(found.stop_s if found else None)
    assert seen == [10.0, 10.0, 240.0, 86400.0]
