"""What exists is written down: commands, events, guards, triggers and plug-ins."""

import re
from pathlib import Path

import pytest

from leakguard import plugins
from leakguard.cli._group import COMMANDS
from leakguard.core.alerts import TOPICS
from leakguard.core.events import EventKind
from leakguard.core.guards import Guard

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = "\n".join(p.read_text(encoding="utf-8") for p in sorted((ROOT / "docs").glob("*.md")))
COMPARED = (ROOT / "docs" / "compared.md").read_text(encoding="utf-8")
EVENTS = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_names_every_command(command: str) -> None:
    """A command that the README does not name is not known."""
    assert f"`{command}`" in README or f"leakguard {command}" in README


@pytest.mark.parametrize("kind", list(EventKind))
def test_events_page_has_a_row_for_every_kind(kind: EventKind) -> None:
    """The events page has one row for each kind of event."""
    assert len(re.findall(rf"^\| `{kind.value}` \|", EVENTS, re.MULTILINE)) == 1


def test_events_page_names_no_other_kind() -> None:
    """A kind that was removed leaves the page too."""
    written = set(re.findall(r"^\| `([A-Z]\w+)` \|", EVENTS, re.MULTILINE))
    assert written == {kind.value for kind in EventKind}


@pytest.mark.parametrize("guard", list(Guard))
def test_readme_names_every_guard(guard: Guard) -> None:
    """The table of guards is complete."""
    assert f"`{guard.value}`" in README


@pytest.mark.parametrize(
    ("kind", "key"), [(kind, key) for kind in plugins.KINDS for key in plugins.names(kind)]
)
def test_every_plug_in_is_written_down(kind: str, key: str) -> None:
    """Every plug-in is named in the README or in docs."""
    assert f"`{key}`" in README + DOCS, f"{kind}/{key}"


def test_every_bug_of_others_has_the_test_that_is_named_for_it() -> None:
    """The page names tests that are there, in the file that it links."""
    lines = [line for line in COMPARED.splitlines() if line.startswith("| ")][1:]
    named = [re.findall(r"\[`(\w+)`\]\(\.\./([^)]+)\)", line) for line in lines]
    assert [line for line, tests in zip(lines, named, strict=True) if not tests] == []
    assert [test for tests in named for test in tests if not _is_there(*test)] == []


def test_every_test_of_a_bug_of_others_is_on_the_page() -> None:
    """Scenario files called `peer_…`, and the tests in both modules."""
    tests = ROOT / "tests"
    names = {path.stem for path in tests.glob("scenarios/peer_*.toml")}
    for path in tests.glob("*/test_peer_bugs*.py"):
        names |= set(re.findall(r"^def (test_\w+)\(", path.read_text("utf-8"), re.MULTILINE))
    assert sorted(name for name in names if f"`{name}`" not in COMPARED) == []


def _is_there(name: str, file: str) -> bool:
    path = ROOT / file
    if not path.is_file():
        return False
    return path.stem == name or f"\ndef {name}(" in path.read_text("utf-8")


def test_every_problem_can_end() -> None:
    """Each topic has an event that opens it and one that ends it."""
    opened = {topic.name for topic in TOPICS.values() if not topic.resolves}
    ended = {topic.name for topic in TOPICS.values() if topic.resolves}
    assert opened == ended


def test_every_link_in_the_readme_leads_somewhere() -> None:
    """Relative links of the README name files that are there."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
