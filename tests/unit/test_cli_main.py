"""The command line itself: lazy imports, help, typos, and errors turned into exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from leakguard import __version__
from leakguard.cli import _group, health
from leakguard.cli._client import Client, service_path
from leakguard.cli._output import Exit, complain, exit_code
from leakguard.cli._socket import SYSTEM_SOCKET, candidates
from leakguard.cli.main import main
from leakguard.core.errors import (
    ConfigError,
    DaemonError,
    LeakguardError,
    PermissionRefused,
    UnitError,
    UsageError,
)

Capture = pytest.CaptureFixture[str]
HEAVY = {"click", "pydantic", "yaml", "rich", "requests", "waitress", "prometheus_client"}
OURS = (
    "status", "why", "history", "restart", "pause", "resume", "plugins", "health",
)  # fmt: skip


def imported_by(*args: str) -> set[str]:
    """Give the modules that a command line has imported when it ends."""
    code = (
        "import sys\nfrom leakguard.cli.main import main\n"
        f"try:\n    main({list(args)!r})\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write('MODULES ' + ' '.join(sys.modules))"
    )
    root = str(Path(__file__).parents[2])
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(result.stderr.rpartition("MODULES ")[2].split())


def test_health_imports_only_the_standard_library() -> None:
    """A probe pays for nothing but http.client and argparse."""
    modules = imported_by("health", "--socket", "/nonexistent")
    allowed = {"leakguard", "leakguard.cli", "leakguard.cli.main"}
    allowed |= {"leakguard.cli.health", "leakguard.cli._socket"}
    assert {m for m in modules if m.partition(".")[0] == "leakguard"} == allowed
    assert modules & HEAVY == set()


def test_help_imports_no_command() -> None:
    """`--help` is drawn from the table alone."""
    modules = imported_by("--help")
    assert modules & (HEAVY - {"click"}) == set()
    assert {m for m in modules if m.startswith("leakguard.cli.") and "._" not in m} == {
        "leakguard.cli.main"
    }


def test_status_imports_only_click() -> None:
    """The command that people type most needs nothing else from outside."""
    assert imported_by("status", "--socket", "/nonexistent") & HEAVY == {"click"}


def test_help_fits_one_screen(capsys: Capture) -> None:
    """`--help` has a line for each command, at most 15 more, and 80 letters a line."""
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= len(_group.COMMANDS) + 15
    assert max(map(len, lines)) <= 80
    assert {line.split()[0] for line in lines if line.startswith("  ") and line.split()} >= set(
        _group.COMMANDS
    )


@pytest.mark.parametrize("name", OURS)
def test_a_commands_help_fits_one_screen(name: str, capsys: Capture) -> None:
    """Each command explains itself in 24 lines and ends with examples."""
    if name == "health":
        with pytest.raises(SystemExit):
            main([name, "--help"])
    else:
        assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) <= 24
    assert "xamples:" in out


@pytest.mark.parametrize("name", OURS)
def test_a_command_loads_by_its_name(name: str) -> None:
    """The table points to a click command of that name."""
    command = _group.group.get_command(click.Context(_group.group), name)
    assert command is not None
    assert command.name == name


def test_version(capsys: Capture) -> None:
    """`--version` is one line with the name and the version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"leakguard {__version__}\n"


def test_no_command_shows_the_help(capsys: Capture) -> None:
    """Without a command, the usage is shown, and that is a usage error."""
    assert main([]) == Exit.USAGE
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["statsu"], "Did you mean 'status'?"),
        (["zzz"], "See `leakguard --help`."),
        (["pause", "worker", "--for", "2"], "write a number and a unit"),
        (["history", "--limit", "0"], "0 is not in the range"),
        (["why"], "Missing argument 'SERVICE'"),
        (["--nope", "status"], "No such option '--nope'"),
        (
            ["--socket", "/x y", "status"],
            "--socket belongs after the command: leakguard status --socket '/x y'",
        ),
        (["-c", "a.yaml", "check", "--json"], "leakguard check -c a.yaml --json"),
        (["--json"], "--json belongs after the command: leakguard COMMAND --json"),
    ],
)
def test_usage_errors_are_exit_code_2(args: list[str], words: str, capsys: Capture) -> None:
    """A command line that cannot work says why on stderr."""
    assert main(args) == Exit.USAGE
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DaemonError("x"), 1),
        (LeakguardError("x"), 1),
        (UsageError("x"), 2),
        (UnitError("x"), 2),
        (PermissionRefused("x"), 77),
        (ConfigError("x"), 78),
    ],
)
def test_each_error_has_its_exit_code(error: LeakguardError, code: int) -> None:
    """The kind of error decides the exit code."""
    assert exit_code(error) == code


def test_every_problem_is_one_line(capsys: Capture) -> None:
    """A configuration with two problems is two lines, each with the program's name."""
    assert complain(ConfigError("a.yaml:1: bad", "a.yaml:2: worse")) == 78
    assert capsys.readouterr().err == "leakguard: a.yaml:1: bad\nleakguard: a.yaml:2: worse\n"


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (KeyboardInterrupt(), 130),
        (DaemonError("gone"), 1),
        (click.ClickException("odd"), 1),
        (click.exceptions.Exit(5), 5),
    ],
)
def test_what_a_command_raises_ends_in_a_code(
    raised: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, our errors and click's errors never end in a traceback."""

    @click.command("boom")
    def boom() -> None:
        raise raised

    monkeypatch.setattr(_group.LazyGroup, "resolve_command", lambda *_: ("boom", boom, []))
    assert main(["boom"]) == code


CUT_OFF = (["--help"], ["--version"], ["schema"], ["plugins"], ["statsu"], ["health"])


@pytest.mark.parametrize("args", CUT_OFF, ids=" ".join)
def test_a_reader_that_is_gone_ends_any_command_quietly(args: list[str]) -> None:
    """`leakguard … | true` has the code of a tool that died by SIGPIPE, and says nothing more."""
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [sys.executable, "-m", "leakguard", *args],
        cwd=Path(__file__).parents[2],
        stdout=writing,
        stderr=writing,
    )
    os.close(writing)
    assert process.wait(60) == 141


def test_a_full_disk_behind_stdout_is_one_line() -> None:
    """The last buffer fails as late as when the command has ended."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "leakguard", "--version"],
            cwd=Path(__file__).parents[2],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert (ended.returncode, ended.stderr) == (1, "leakguard: output: No space left on device\n")


def test_what_a_command_returns_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number is the exit code, nothing is 0."""
    for value, code in ((7, 7), (None, 0)):
        command = click.Command("give", callback=lambda value=value: value)
        monkeypatch.setattr(
            _group.LazyGroup, "resolve_command", lambda *_, c=command: ("give", c, [])
        )
        assert main(["give"]) == code


@pytest.mark.parametrize(
    ("given", "environ", "paths"),
    [
        ("/a", {"LEAKGUARD_SOCKET": "/b", "XDG_RUNTIME_DIR": "/c"}, ("/a",)),
        (None, {"LEAKGUARD_SOCKET": "/b", "XDG_RUNTIME_DIR": "/c"}, ("/b",)),
        (None, {"XDG_RUNTIME_DIR": "/c/"}, (SYSTEM_SOCKET, "/c/leakguard/leakguard.sock")),
        (None, {}, (SYSTEM_SOCKET,)),
    ],
)
def test_where_the_socket_is_looked_for(
    given: str | None, environ: dict[str, str], paths: tuple[str, ...]
) -> None:
    """What is named is taken alone; else the system's place, then the user's."""
    assert candidates(given, environ) == paths


def test_nothing_there_says_what_to_do(tmp_path: Path) -> None:
    """Without a daemon the message names the place and both ways on."""
    path = tmp_path / "none.sock"
    with pytest.raises(DaemonError, match=f"no daemon answers on {path}: start `leakguard run`"):
        Client(str(path)).get("/api/v1/status")


def test_names_are_quoted_in_paths() -> None:
    """A name with a slash or a colon stays one part of the path."""
    assert service_path("a/b:1", "pause") == "/api/v1/services/a%2Fb%3A1/pause"


@pytest.mark.parametrize("url", ["ftp://host", "host:9847", "http://"])
def test_health_refuses_an_address_it_cannot_ask(url: str, capsys: Capture) -> None:
    """`--url` must be http or https with a host."""
    assert health.main(["--url", url]) == Exit.USAGE
    assert "write it as http://HOST:PORT" in capsys.readouterr().err
