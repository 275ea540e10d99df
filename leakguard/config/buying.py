"""What people write about buying time: how far a limit may be bent until the window comes."""

from collections.abc import Iterator

from pydantic import Field

from leakguard.config.fields import Risk, Size
from leakguard.config.lines import Loc
from leakguard.config.values import Model
from leakguard.core.policy import BuyTimeRule
from leakguard.core.units import Bytes

_AT: Loc = ("restart", "buy_time")


class BuyTime(Model):
    """Bend the limit, so that a leak lasts until its window; undone afterwards."""

    raise_by: Risk | None = Field(
        default=None, description="Raise the limit by at most this share of it."
    )
    at_most: Size | None = Field(
        default=None, description="Raise the limit to no more than this size."
    )
    throttle_below: Risk | None = Field(
        default=None,
        description="Have the kernel slow the service down from so far below the limit on"
        " (`memory.high`), instead of killing it at the limit. Not on cgroup version 1.",
    )


def buy_time_rule(written: BuyTime | None) -> BuyTimeRule | None:
    """Compile it; None where no time is bought."""
    if written is None:
        return None
    return BuyTimeRule(
        raise_by=written.raise_by,
        at_most_bytes=_size(written.at_most),
        throttle_below=written.throttle_below,
    )


def wrong_buy_time(written: BuyTime | None, *, windows: bool) -> Iterator[tuple[Loc, str]]:
    """Find what buys nothing."""
    if written is None:
        return
    if written.raise_by is None and written.at_most is None and written.throttle_below is None:
        yield _AT, "bends nothing - add raise_by, at_most or throttle_below"
    if not windows:
        yield _AT, "has nothing to last until - add windows, a schedule or blackouts"


def _size(size: Bytes | None) -> int | None:
    return int(size) if size is not None else None
