"""Core values as plain data and back: one spelling, and an error that says where."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from leakguard.core.codec import from_plain, to_plain
from leakguard.core.engine import Inputs
from leakguard.core.errors import CodecError
from leakguard.core.inbox import Outcome, OutcomeKind, RestartRequest
from leakguard.core.instant import Instant
from leakguard.core.plan import ChannelPlan, PluginSpec
from leakguard.core.policy import Mode, ServiceRules
from leakguard.core.sample import Absent, Snapshot, Unreadable
from leakguard.core.state import State
from leakguard.core.units import Bytes, Secret
from leakguard.testing.bench import Bench, guarded, sample_of, threshold
from leakguard.testing.clock import FakeClock

NOW = FakeClock().now()
NOTHING = Bytes(0)


@dataclass(frozen=True, kw_only=True)
class Everything:
    """One field of each shape."""

    size: Bytes = NOTHING
    note: Annotated[str, "with a remark"] = ""
    number: float = 0.0
    pair: tuple[int, str] = (0, "")
    many: tuple[int, ...] = ()
    a_list: list[int] | None = None
    names: frozenset[str] = frozenset()
    table: Mapping[str, float] | None = None
    anything: Any = None
    secret: Secret | None = None
    mode: Mode = Mode.ACT
    either: int | str = 0


def test_every_shape_survives_the_round_trip() -> None:
    """Through JSON."""
    value = Everything(
        size=Bytes(7),
        note="x",
        number=1.5,
        pair=(1, "a"),
        many=(1, 2),
        a_list=[3],
        names=frozenset({"b", "a"}),
        table={"k": 2.0},
        anything={"deep": [1, None]},
        mode=Mode.OBSERVE,
        either="text",
    )
    plain = json.loads(json.dumps(to_plain(value)))
    assert (from_plain(Everything, plain), plain["names"]) == (value, ["a", "b"])


def test_a_secret_goes_out_only_when_asked_for() -> None:
    """The hand-over to the daemon asks."""
    channel = ChannelPlan(
        name="ops", notifier=PluginSpec(key="slack", options={"url": Secret("https://x")})
    )
    masked, open_ = to_plain(channel), to_plain(channel, secrets=True)
    assert masked["notifier"]["options"] == {"url": "Secret(****)"}
    assert open_["notifier"]["options"] == {"url": "https://x"}
    assert from_plain(Everything, {"secret": "s"}).secret == Secret("s")


def test_a_union_is_read_by_its_kind() -> None:
    """Readings and requests carry their class name."""
    inputs = Inputs(
        now=NOW,
        snapshot=Snapshot(
            at=NOW,
            readings=(
                sample_of(NOW, 1),
                Absent(service="a", at=NOW, reason="none"),
                Unreadable(service="b", at=NOW, reason="no right"),
            ),
        ),
        outcomes=(Outcome(action_id="i", service="a", kind=OutcomeKind.STALE),),
        requests=(RestartRequest(id="r", service="a"),),
    )
    plain = json.loads(json.dumps(to_plain(inputs)))
    assert [r["kind"] for r in plain["snapshot"]["readings"]] == ["Sample", "Absent", "Unreadable"]
    assert from_plain(Inputs, plain) == inputs


def test_a_state_with_its_series_survives() -> None:
    """As a recording holds it."""
    bench = Bench(rules=guarded(threshold(200)))
    for i in range(130):
        bench.see(100 + i)
    plain = json.loads(json.dumps(to_plain(bench.state)))
    assert to_plain(from_plain(State, plain)) == plain


def test_a_whole_number_stands_for_a_float() -> None:
    """JSON writers drop the `.0`; a boolean is no number."""
    assert from_plain(Everything, {"number": 3}).number == 3.0
    with pytest.raises(CodecError, match="number: expected <class 'float'>, found bool"):
        from_plain(Everything, {"number": True})


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ([], "Everything: expected an object, found list"),
        ({"colour": 1}, "Everything: unknown colour"),
        ({"number": "x"}, "Everything.number: expected <class 'float'>, found str"),
        ({"number": 10**400}, "Everything.number: int too large"),
        ({"pair": [1]}, "Everything.pair: expected 2 items, found 1"),
        ({"pair": [1, 2]}, r"Everything.pair\[1\]: expected <class 'str'>, found int"),
        ({"many": "12"}, "Everything.many: expected an array, found str"),
        ({"many": [1, None]}, r"Everything.many\[1\]"),
        ({"table": [1]}, "Everything.table: expected an object, found list"),
        ({"table": {"k": None}}, "Everything.table.k"),
        ({"mode": "dance"}, "Everything.mode: 'dance' is not a valid Mode"),
        ({"mode": []}, "Everything.mode"),
        ({"either": 1.5}, "Everything.either: expected <class 'int'>, found float"),
    ],
)
def test_what_does_not_fit_is_named(plain: object, said: str) -> None:
    """With its place."""
    with pytest.raises(CodecError, match=said):
        from_plain(Everything, plain)


def test_a_missing_field_is_named() -> None:
    """With its class."""
    with pytest.raises(CodecError, match=r"Instant: .*'boot_id'"):
        from_plain(Instant, {"wall_s": 1, "boot_s": 1})


def test_an_unknown_kind_fits_nothing() -> None:
    """A reading of a later version."""
    plain = to_plain(Snapshot(at=NOW)) | {"readings": [{"kind": "Guess"}]}
    with pytest.raises(CodecError, match=r"readings\[0\]: .* fits none of its types"):
        from_plain(Snapshot, plain)


def test_a_series_that_is_damaged_is_a_codec_error() -> None:
    """Whatever a class of its own form stumbles over."""
    bench = Bench()
    bench.see(1)
    plain = to_plain(bench.state)
    plain["services"]["worker"]["series"] = {"recent": 5}
    with pytest.raises(CodecError, match=r"services\.worker\.series"):
        from_plain(State, plain)


def test_what_has_no_plain_form_is_refused() -> None:
    """A programming mistake shows at once."""
    with pytest.raises(CodecError, match="no plain form for object"):
        to_plain(object())


def test_rules_survive() -> None:
    """The daemon reads what the configuration compiled."""
    rules = guarded(threshold(share=0.8, for_s=60.0))
    assert from_plain(ServiceRules, json.loads(json.dumps(to_plain(rules)))) == rules


@dataclass(frozen=True, kw_only=True)
class Named:
    """A value whose own field has the name of the tag."""

    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A value that may hold one."""

    named: Named | None = None


def test_a_field_may_be_called_kind() -> None:
    """The tag tells apart those that carry one, and nobody else."""
    value = Holder(named=Named(kind="memcg"))
    assert from_plain(Holder, to_plain(value)) == value
