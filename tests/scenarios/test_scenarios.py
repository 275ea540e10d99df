"""Every scenario file is played and must come out as it says."""

from pathlib import Path

import pytest

from leakguard.core.errors import UsageError
from leakguard.testing.scenario import load, play, unmet

FILES = sorted(Path(__file__).parent.glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_scenario(path: Path) -> None:
    """Events come in the expected order, and restarts, kills and counts are exact."""
    scenario = load(path)
    assert unmet(scenario, play(scenario)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('memory = "1MiB"\ncolour = 1', "unknown colour"),
        ('memory = "1MiB"\n[rules]\ncolour = 1', r"unknown in \[rules\]: colour"),
        (
            'memory = "1MiB"\n[[expect]]\nevent = "LeakSuspected"\ncolour = 1',
            r"unknown in \[\[expect\]\]: colour",
        ),
        ('memory = "much"', "'much' is not a series"),
    ],
)
def test_a_mistake_in_a_scenario_is_named(tmp_path: Path, text: str, said: str) -> None:
    """A key that is misspelt would test nothing."""
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        load(path)


def test_a_deed_that_is_no_request_is_named(tmp_path: Path) -> None:
    """As above, when it is its turn."""
    path = tmp_path / "wrong.toml"
    path.write_text('memory = "1MiB"\n[[do]]\nat = "1s"\nrequest = "dance"')
    with pytest.raises(UsageError, match="'dance' is no request"):
        play(load(path))


def test_what_does_not_come_is_said(tmp_path: Path) -> None:
    """Each miss is a sentence."""
    path = tmp_path / "wrong.toml"
    path.write_text(
        'memory = "1MiB ?x3"\nkills = 1\nrestarts = 1\nnever = ["ServiceUnreadable"]\n'
        "counts = {LeakSuspected = 2}\n"
        '[[expect]]\nevent = "LeakSuspected"'
    )
    scenario = load(path)
    found = unmet(scenario, play(scenario))
    assert [sentence.split(":")[0] for sentence in found] == [
        "ServiceUnreadable must not occur",
        "0 kills instead of 1",
        "0 restarts instead of 1",
        "0 × LeakSuspected instead of 2",
        "missing, or not in this order",
    ]
