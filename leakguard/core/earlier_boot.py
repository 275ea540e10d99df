"""Moments of an earlier boot, told in the time of this one.

Across a reboot only the wall clock tells how long ago something was, and it may have been wrong
then, be wrong now, and be set right later. So the question is put once, at the start; from then on
the moments are as far back as seconds since boot say. What would lie in the future is taken to be
now: a restart in flight would have no end until then, a breaker would count it, a group would wait.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace

from leakguard.core.instant import Instant
from leakguard.core.state import ServiceRecord


def in_this_boot(record: ServiceRecord, now: Instant) -> ServiceRecord:
    """Give a record that an earlier boot may have written, as of `now`."""
    changed = _in_this_boot(record, now)
    return changed if isinstance(changed, ServiceRecord) else record


def _in_this_boot(value: object, now: Instant) -> object:
    """Give `value`, the very same where nothing in it is of an earlier boot."""
    match value:
        case Instant():
            return value if value.boot_id == now.boot_id else now.plus(-now.since(value))
        case tuple():
            new = tuple(_in_this_boot(one, now) for one in value)
            return new if any(a is not b for a, b in zip(new, value, strict=True)) else value
        case Mapping():
            entries = {key: _in_this_boot(one, now) for key, one in value.items()}
            return entries if any(entries[k] is not value[k] for k in value) else value
        case _ if is_dataclass(value) and not isinstance(value, type):
            old = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
            found = {name: _in_this_boot(one, now) for name, one in old.items()}
            changes = {name: one for name, one in found.items() if one is not old[name]}
            return replace(value, **changes) if changes else value
        case _:
            return value
