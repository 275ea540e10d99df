"""What `exec` refuses before it starts anything."""

from pathlib import Path

import pytest

from leakguard.cli._runnable import check_socket, why_not_run
from leakguard.core.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A PATH with a program, a file, a directory and two links."""
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    (tmp_path / "plain").write_text("data")
    (tmp_path / "sub").mkdir()
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "linked").symlink_to("tool")
    return tmp_path


@pytest.mark.parametrize("name", ["tool", "linked"])
def test_a_program_in_path_can_run(folder: Path, name: str) -> None:
    """By its name, and by its path."""
    assert why_not_run(name, {"PATH": str(folder)}) is None
    assert why_not_run(f"{folder}/{name}", {}) is None


@pytest.mark.parametrize(
    ("name", "code"),
    [("none", 127), ("broken", 127), ("plain", 126), ("sub", 126)],
)
def test_a_path_that_cannot_run_has_the_code_of_a_shell(folder: Path, name: str, code: int) -> None:
    """127: it is not there; 126: it is, and cannot be executed."""
    found = why_not_run(f"{folder}/{name}", {})
    assert found is not None
    assert found[0] == code
    assert found[1].startswith(f"{folder}/{name} ")


@pytest.mark.parametrize(("name", "code"), [("none", 127), ("plain", 126), ("sub", 127)])
def test_a_name_is_looked_for_in_path(folder: Path, name: str, code: int) -> None:
    """A file that lacks the right to be run is named; a directory of that name is no command."""
    found = why_not_run(name, {"PATH": f"/nowhere:{folder}"})
    assert found is not None
    assert found[0] == code


def test_a_socket_may_replace_one(folder: Path) -> None:
    """A directory that can be written is all it needs."""
    check_socket(f"{folder}/x.sock")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("none/x.sock", "there is no {0}/none: make it"),
        ("plain/x.sock", "{0}/plain is not a directory: name another place"),
        ("plain", "it is there and is no socket: move it away"),
        ("x" * 120, "longer than 107 bytes: shorten it"),
    ],
)
def test_a_socket_that_cannot_be_served_is_refused(folder: Path, path: str, words: str) -> None:
    """Each with its own fix, and nothing is made."""
    before = sorted(folder.iterdir())
    with pytest.raises(UsageError) as caught:
        check_socket(f"{folder}/{path}")
    assert words.format(folder) in str(caught.value)
    assert sorted(folder.iterdir()) == before
