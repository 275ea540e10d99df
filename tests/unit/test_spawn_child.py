"""What the program between fork and exec decides by itself."""

import os
import pwd

import pytest

from leakguard.linux.spawn import ChildSpec, environment
from leakguard.linux.spawn_child import resolve_user, wanted_oom_score


@pytest.mark.parametrize(
    ("current", "given", "wanted"),
    [(-900, None, 0), (0, None, 0), (300, None, 300), (-900, -500, -500), (0, 700, 700)],
)
def test_protection_from_the_oom_killer_is_not_inherited(
    current: int, given: int | None, wanted: int
) -> None:
    """A negative oom_score_adj of leakguard's stays its own; what was asked for is obeyed."""
    assert wanted_oom_score(current, given) == wanted


def test_a_user_is_found_by_name_number_and_group() -> None:
    """`name`, `uid` and `uid:gid` all say who the command runs as."""
    own = pwd.getpwuid(os.getuid())
    whole = (own.pw_name, own.pw_uid, own.pw_gid, own.pw_dir)
    assert resolve_user(own.pw_name) == whole
    assert resolve_user(str(own.pw_uid)) == whole
    assert resolve_user("54321:54322") == ("", 54321, 54322, "")


@pytest.mark.parametrize("text", ["no-such-user-here", "0:no-such-group-here"])
def test_an_unknown_user_is_refused(text: str) -> None:
    """A name without an entry is an error, never root."""
    with pytest.raises(ValueError, match="there is no such"):
        resolve_user(text)


def test_a_child_does_not_inherit_what_is_leakguards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings (they may hold secrets) and systemd's sockets stay; the rest and `env` go on."""
    monkeypatch.setenv("LEAKGUARD_ALERTS__CHANNELS__OPS__SLACK__WEBHOOK_URL", "https://secret")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("LEAKGUARD_SOCKET", "/run/leakguard/socket")
    monkeypatch.setenv("COLOUR", "red")
    env = environment(ChildSpec(argv=("x",), env={"COLOUR": "blue", "MORE": "1"}))
    assert "https://secret" not in env.values()
    assert "NOTIFY_SOCKET" not in env
    assert (env["LEAKGUARD_SOCKET"], env["COLOUR"], env["MORE"]) == (
        "/run/leakguard/socket",
        "blue",
        "1",
    )
