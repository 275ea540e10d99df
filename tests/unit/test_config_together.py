"""What the configuration says between services."""

from pathlib import Path

from leakguard.core.policy import GroupRules
from leakguard.runtime.trigger_words import guards_in_words
from leakguard.testing.settings import load_text, problems

GROUPED = """
groups:
  workers: {max_parallel: 2, min_healthy: 1, stagger: 30s}
defaults: {restart: {group: workers}}
services:
  a: {target: {cmdline: a}}
  b: {target: {cmdline: b}}
  c: {target: {cmdline: c}, restart: {group: false}}
"""


def test_a_group_comes_with_the_rules_of_its_members(tmp_path: Path) -> None:
    """It can be inherited, and left."""
    loaded = load_text(tmp_path, GROUPED)
    workers = GroupRules(name="workers", max_parallel=2, min_healthy=1, stagger_s=30.0)
    assert [s.rules.group for s in loaded.plan.services] == [workers, workers, None]
    assert loaded.warnings == ()


def test_a_group_in_words(tmp_path: Path) -> None:
    """`check` says what the group holds."""
    rules = load_text(tmp_path, GROUPED).plan.services[0].rules
    said = [line for line in guards_in_words(rules) if line.startswith("group")]
    assert said == [
        (
            "group workers: 2 restarts at a time, 1 stay healthy unless the memory runs out, "
            "30s between the end of one and the next"
        )
    ]


def test_a_group_without_members_is_odd(tmp_path: Path) -> None:
    """It is a slip, or a service is missing; nothing else is wrong with it."""
    text = "services: {a: {target: {cmdline: a}}}\ngroups: {ws: 1}"
    assert load_text(tmp_path, text).warnings == (
        "config.yaml:2: groups.ws: no service is in it - add restart.group: ws to some",
    )


def test_how_many_each_matches_is_not_known_yet(tmp_path: Path) -> None:
    """A group with an entry of many services may be large enough."""
    text = """
groups: {ws: {min_healthy: 3}}
services: {a: {target: {cmdline: a}, each: true, restart: {group: ws}}}
"""
    assert problems(tmp_path, text) == []
