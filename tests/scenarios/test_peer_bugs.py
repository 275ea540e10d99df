"""Bugs that were seen in other tools that restart on memory, and that must never be ours.

Each test tells the rule in its docstring, and whose bug it was. Those that a series of values and
rules can tell are scenario files beside this one (`peer_*.toml`); those that need a real
supervisord or real processes are in tests/integration/test_peer_bugs_real.py. docs/compared.md
lists them all.
"""

import json

import pytest
from pytest_httpserver import HTTPServer

from leakguard.core.events import EventKind
from leakguard.notifiers.base import NotifierContext
from leakguard.notifiers.webhook import Options, WebhookNotifier
from leakguard.testing.clock import FakeClock
from leakguard.testing.notifiers import alert
from leakguard.testing.several import HARD_MIB, Several, member, restarted

OVER = HARD_MIB + 100


def two_entries_of_one_process() -> Several:
    """Let two entries match the same process, which is over the threshold of both."""
    several = Several.of(member("own"), member("general"))
    several.pids["general"], several.born["general"] = several.pids["own"], several.born["own"]
    several.mib |= {"own": OVER, "general": OVER}
    return several


def restart_both(several: Several) -> None:
    """Let the process that two entries match be replaced by a small one."""
    several.run("own")
    several.pids["general"], several.born["general"] = several.pids["own"], several.born["own"]
    several.mib |= {"own": 100.0, "general": 100.0}


def test_a_process_that_two_entries_match_is_restarted_once() -> None:
    """However many entries match a process: one restart, the others wait and see the new run.

    memmon restarts it twice when two of its selectors match it in one tick.
    """
    several = two_entries_of_one_process()
    ordered = [restarted(several.look()) for _ in range(3)]
    assert ordered == [["own"], [], []]
    assert [who for who, _ in several.told(EventKind.RESTART_VETOED)] == ["general"]
    restart_both(several)
    assert [restarted(several.look()) for _ in range(3)] == [[], [], []]
    assert [text for _, text in several.told(EventKind.RESTARTED_BY_OTHERS)] == [
        "general runs anew as pid 103; it was restarted as own"
    ]


@pytest.mark.parametrize("name", ['we"b', "we'b", "we\\b", "{web}", '", "status": "resolved'])
def test_any_name_arrives_in_valid_json(httpserver: HTTPServer, name: str) -> None:
    """Whatever a service is called, what is posted is JSON and says that name, and no more by it.

    docker-autoheal pastes the name into the text of its webhook: a quote in it breaks the JSON.
    """
    httpserver.expect_request("/hook").respond_with_data("ok")
    options = Options(url=httpserver.url_for("/hook"))
    WebhookNotifier(options, NotifierContext(channel="hook", clock=FakeClock())).send(
        alert(service=name)
    )
    said = json.loads(httpserver.log[0][0].get_data())
    assert (said["subject"], said["data"]["service"], said["data"]["status"]) == (
        name, name, "firing",
    )  # fmt: skip
