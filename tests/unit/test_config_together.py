"""What the configuration says between services."""

from dataclasses import replace
from pathlib import Path

from leakguard.config.service import share_of
from leakguard.core.policy import GroupRules
from leakguard.runtime.schedule_words import report
from leakguard.runtime.trigger_words import guards_in_words
from leakguard.testing.clock import FakeClock
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


SPLAYED = """
host: web-1
services:
  a: {target: {cmdline: a}, restart: {schedule: {cron: "0 3 * * *", splay: 10m}}}
  b: {target: {cmdline: b}, restart: {schedule: {cron: "0 3 * * *", splay: 10m}}}
  c: {target: {cmdline: c}, restart: {schedule: {cron: "0 3 * * *"}}}
"""


def delays(folder: Path, text: str) -> list[float]:
    """Give how much later each service is restarted than its cron expression says."""
    plans = load_text(folder, text).plan.services
    return [rule.delay_s for plan in plans for rule in plan.rules.policy.schedules]


def test_a_splay_gives_each_a_time_of_its_own(tmp_path: Path) -> None:
    """It depends on host, service and expression, and on nothing else."""
    first = delays(tmp_path, SPLAYED)
    assert first == [delay for delay in first if 0 <= delay < 600]
    assert len(set(first)) == 3
    assert first[2] == 0.0
    assert delays(tmp_path, SPLAYED) == first
    assert delays(tmp_path, SPLAYED.replace("web-1", "web-2"))[0] != first[0]
    assert delays(tmp_path, SPLAYED.replace("0 3", "0 4"))[0] != first[0]


def test_splays_spread_evenly() -> None:
    """Of a thousand services about a tenth falls into each tenth of the splay."""
    shares = [share_of(600.0, f"host/{i}/0 3 * * *") for i in range(1000)]
    counts = [sum(60 * i <= share < 60 * (i + 1) for share in shares) for i in range(10)]
    assert sum(counts) == 1000
    assert min(counts) > 60
    assert max(counts) < 140


def test_check_shows_the_moment_after_the_splay(tmp_path: Path) -> None:
    """The next times are the ones that will be, to the second."""
    rules = load_text(tmp_path, SPLAYED).plan.services[0].rules
    rule = replace(rules.policy.schedules[0], timezone="UTC", delay_s=192.0)
    said = report(rule, FakeClock().now())
    assert said.words == "At 03:00 every day, here 3m 12s later (splay 10m)"
    assert {time.text[-12:] for time in said.next} == {"03:03:12 UTC"}
