"""Labels of a container: what they change of its entry's rules, and what a wrong one does."""

import pytest

from leakguard.core.policy import (
    CatchUp,
    GroupRules,
    Mode,
    Policy,
    RestartRules,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
)
from leakguard.core.sample import Incarnation, Location
from leakguard.core.units import MIB, Amount
from leakguard.runtime.labels import Entry, rules_for

RUN = Incarnation(boot_id="b", pid=10, start_ticks=1)
NIGHTLY = ScheduleRule(
    cron="0 1 * * *", timezone="UTC", skip_below=Amount(size_bytes=MIB), catch_up=CatchUp.SKIP
)
RULES = ServiceRules(
    name="apps",
    policy=Policy(
        threshold=ThresholdRule(above=Amount(share=0.5), for_s=120.0), schedules=(NIGHTLY,)
    ),
    restart=RestartRules(driver="docker", deadline_s=60.0),
)
ENTRY = Entry(rules=RULES, timezone="Europe/Berlin", groups={"web": GroupRules(name="web")})


def labelled(**labels: str) -> tuple[ServiceRules, tuple[str, ...]]:
    """Apply labels, written with `_` for `-`."""
    settings = tuple((key.replace("_", "-"), text) for key, text in labels.items())
    return rules_for("apps:web", Location(root=RUN, settings=settings), ENTRY)


def applied(**labels: str) -> ServiceRules:
    """Apply labels that are right."""
    rules, problems = labelled(**labels)
    assert (problems, rules.name) == ((), "apps:web")
    return rules


def test_without_labels_the_entrys_rules_are_the_same() -> None:
    """Labels that only choose containers change nothing either."""
    assert labelled() == (RULES, ())
    assert labelled(enable="true", scope="a") == (RULES, ())


def test_mode_limit_age_grace_and_group() -> None:
    """Each stands in the place of the entry's."""
    rules = applied(
        mode="act", memory_limit="900MiB", max_age="7d", grace="10s", group="web", forecast="false"
    )
    assert (rules.mode, rules.limit) == (Mode.ACT, Amount(size_bytes=900 * MIB))
    assert (rules.policy.max_age_s, rules.guards.grace_s) == (604800.0, 10.0)
    assert (rules.group, rules.policy.forecast) == (GroupRules(name="web"), None)
    assert applied(mode="act", forecast="true").policy.forecast == RULES.policy.forecast


def test_a_threshold_keeps_its_duration() -> None:
    """Only how much is said by the label."""
    rule = applied(threshold="80%").policy.threshold
    assert rule == ThresholdRule(above=Amount(share=0.8), for_s=120.0)


def test_a_schedule_takes_the_place_of_the_entrys() -> None:
    """In the zone of the label, else of the entry; what else the entry says of schedules stays."""
    (own,) = applied(restart_at="@daily").policy.schedules
    assert (own.cron, own.timezone, own.catch_up) == ("0 0 * * *", "Europe/Berlin", CatchUp.SKIP)
    assert own.skip_below == NIGHTLY.skip_below
    (zoned,) = applied(restart_at="0 3 * * *", timezone="Asia/Tokyo").policy.schedules
    assert (zoned.cron, zoned.timezone) == ("0 3 * * *", "Asia/Tokyo")


@pytest.mark.parametrize(("stop_s", "deadline_s"), [(10.0, 60.0), (240.0, 270.0)])
def test_a_restart_may_take_as_long_as_its_stop(stop_s: float, deadline_s: float) -> None:
    """Else a stop that the engine still waits for would be called failed."""
    rules, _ = rules_for("apps:web", Location(root=RUN, stop_within_s=stop_s), ENTRY)
    assert rules.restart.deadline_s == deadline_s


@pytest.mark.parametrize(
    ("label", "text", "said"),
    [
        ("threshold", "80", "is not a size"),
        ("threshold", "0%", "must be more than nothing"),
        ("memory_limit", "80%", "is not a size"),
        ("memory_limit", "0B", "must be more than nothing"),
        ("mode", "on", "write act or observe"),
        ("forecast", "maybe", "write true or false"),
        ("restart_at", "at night", "is not a cron expression"),
        ("restart_at", "0 0 30 2 *", "never fires"),
        ("timezone", "Mars", "is no time zone"),
        ("timezone", "../etc", "is no time zone"),
        ("max_age", "0s", "must be more than 0s"),
        ("grace", "5", "is not a duration"),
        ("stop_timeout", "soon", "is not a duration"),
        ("group", "db", "no group 'db' stands under `groups` (there are: web)"),
        ("treshold", "80%", "is not known, did you mean leakguard.threshold?"),
        ("zzz", "1", "is not known, there are: mode"),
    ],
)
def test_a_wrong_label_is_told_and_changes_nothing(label: str, text: str, said: str) -> None:
    """The message names it; the others are in force."""
    rules, (problem,) = labelled(**{label: text})
    assert (rules, said in problem) == (RULES, True)
    assert problem.startswith(f"label leakguard.{label.replace('_', '-')}: ")
    others = labelled(**{label: text}, grace="7s") if label != "grace" else labelled(mode="act")
    assert others[0] != RULES
