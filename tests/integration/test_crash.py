"""A few of the kills of `tests.bench.crash`: nothing is done twice and no alert is lost."""

from tests.bench.crash import experiment


def test_kill_9_neither_doubles_a_restart_nor_loses_an_alert() -> None:
    """Killed at eight random moments, the guard keeps its promises."""
    result = experiment(kills=8, seed=3)
    most = max(result.most_duplicates_of_a_crash.values())
    assert (result.double_acts, result.two_at_once, result.lost, most <= 1) == (0, 0, [], True)
    assert (result.kills, sum(result.alerts.values()) > 0) == (8, True)
