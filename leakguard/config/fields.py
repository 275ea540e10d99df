"""The types of single settings: how each is read from text, and its pattern in the JSON schema."""

import difflib
import ipaddress
import re
from collections.abc import Callable
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

from leakguard import cron
from leakguard.config.lines import EnvText
from leakguard.config.values import (
    TABLE,
    read_amount,
    read_bytes,
    read_seconds,
    read_secret,
    read_url,
    structured,
)
from leakguard.core.units import Amount, Bytes, Seconds, Secret, parse_share

_NAME = re.compile(r"[A-Za-z0-9_.@-]+")
_SWITCHES = ("false", "true", "no", "yes", "off", "on")


def read_name(value: str) -> str:
    """Check the name of a service or channel."""
    if not _NAME.fullmatch(value):
        raise ValueError("is not a name - use letters, digits and _ . @ - only")
    return value


def read_positive_seconds(value: object) -> Seconds:
    """Read a duration that must not be zero."""
    seconds = read_seconds(value)
    if seconds <= 0:
        raise ValueError("must be longer than 0s")
    return seconds


def read_positive_amount(value: object) -> Amount:
    """Read a size or a share that must not be zero."""
    amount = read_amount(value)
    if not (amount.size_bytes or amount.share):
        raise ValueError("must be above 0 - write a size such as 900MiB or a share such as 80%")
    return amount


def read_limit(value: object) -> Amount | None:
    """Read `auto` (None) or a size."""
    if isinstance(value, str) and value == "auto":
        return None
    if not isinstance(value, str):
        read_bytes(value)  # refuses it, with sizes alone as what may be meant
    amount = read_amount(value)
    if amount.size_bytes is None:
        raise ValueError("a limit cannot be a share of itself - write auto, or a size: 900MiB")
    if not amount.size_bytes:
        raise ValueError("must be above 0 - write auto, or a size such as 900MiB")
    return amount


def read_risk(value: object) -> float:
    """Read a probability, written as a percentage."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a percentage such as 5%")  # noqa: TRY004  pydantic reports ValueError only
    if isinstance(value, int | float):
        meant = 100 * value if 0 < value < 1 else value
        raise ValueError(f"a bare number has no unit - write {meant:g}%")  # noqa: TRY004  as above
    share = parse_share(value)
    if not 0 < share < 1:
        raise ValueError("must lie between 0% and 100% - 5% is usual")
    return share


def read_timezone(value: str) -> str:
    """Check the name of a time zone."""
    if is_timezone(value):
        return value
    zones = available_timezones()
    lower = {zone.lower(): zone for zone in sorted(zones, reverse=True)}
    close = difflib.get_close_matches(value.lower(), lower, n=1, cutoff=0.7)
    hint = f"did you mean {lower[close[0]]}?" if close else "write one such as Europe/Berlin"
    raise ValueError(f"{value!r} is not a time zone - {hint}")


def is_timezone(name: str) -> bool:
    """Tell whether the zone's data are here."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def read_cron(value: str) -> str:
    """Check a cron expression and expand its alias."""
    return cron.parse(value)


def split_address(value: str) -> tuple[str, int]:
    """Split `host:port` (`[::1]:9847` for IPv6)."""
    host, colon, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or "/" in bare or (":" in bare and bare == host):
        raise ValueError(f"{value!r} is not an address - write host:port, such as 127.0.0.1:9847")
    if not (port.isascii() and port.isdigit() and int(port[:9]) <= 65535):
        raise ValueError(f"{port!r} is not a port - write a number up to 65535")
    return bare, int(port)


def is_loopback(listen: str) -> bool:
    """Tell whether only this machine can reach the address."""
    host, _ = split_address(listen)
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_address(value: object) -> str:
    """Check `host:port`."""
    if not isinstance(value, str):
        raise ValueError("must be host:port in quotes, such as '127.0.0.1:9847'")  # noqa: TRY004  pydantic reports ValueError only
    split_address(value)
    return str(value)


def read_listen(value: object) -> str:
    """Read `host:port`, or `off` (empty), which YAML reads as false."""
    if value in ("", None):
        raise ValueError("is empty - write host:port, such as 127.0.0.1:9847, or off")
    return "" if value is False or value in ("off", "false", "no") else read_address(value)


def read_http_url(value: str) -> str:
    """Check a URL that must begin with http:// or https://."""
    return read_url(value)


def read_argv(value: object) -> object:
    """Unfold an argument list; one text would need a shell, which is never used."""
    value = structured(value)
    if isinstance(value, str):
        raise ValueError("must be a list - write [/path/to/program, argument]")  # noqa: TRY004  pydantic reports ValueError only
    return value


def unfold_off(value: object) -> object:
    """Read `false` as nothing: it switches off what `defaults` say."""
    if isinstance(value, EnvText) and value.lower() in _SWITCHES:
        value = structured(value)
    return None if value is False else value


def unfold_switch(value: object) -> object:
    """Read `false` as nothing and `true` (or no value at all) as the defaults."""
    if value is None:
        return {}
    value = unfold_off(value)
    return {} if value is True else value


def unfold_many(value: object) -> object:
    """Read one value as a list of one, and `false` as an empty list."""
    if isinstance(value, EnvText) and (value[:1] in ("[", "{") or value.lower() in _SWITCHES):
        value = structured(value)
    if value is None or value is False:
        return ()
    return value if isinstance(value, list | tuple) else [value]


def _of(kind: Any, read: Callable[[object], object]) -> Any:  # noqa: ANN401  a type expression
    row = TABLE[kind]
    return Annotated[kind, PlainValidator(read), WithJsonSchema(row.schema)]


Name = Annotated[str, AfterValidator(read_name)]
Duration = _of(Seconds, read_seconds)
PositiveDuration = _of(Seconds, read_positive_seconds)
Size = _of(Bytes, read_bytes)
PositiveAmount = _of(Amount, read_positive_amount)
SomeAmount = _of(Amount, read_amount)
Limit = Annotated[
    Amount | None,
    PlainValidator(read_limit),
    WithJsonSchema({"anyOf": [{"const": "auto"}, TABLE[Bytes].schema]}),
]
SecretText = _of(Secret, read_secret)
Risk = Annotated[
    float,
    PlainValidator(read_risk),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9.]+\s*%$"}),
]
Timezone = Annotated[str, AfterValidator(read_timezone)]
Cron = Annotated[str, AfterValidator(read_cron)]
HttpUrl = Annotated[str, AfterValidator(read_http_url)]
Address = Annotated[
    str, PlainValidator(read_address), WithJsonSchema({"type": "string", "pattern": r":[0-9]+$"})
]
Listen = Annotated[
    str,
    PlainValidator(read_listen),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"const": False}]}),
]
Argv = Annotated[tuple[str, ...], BeforeValidator(read_argv)]
Switch = Annotated[bool, BeforeValidator(structured)]
Count = Annotated[int, BeforeValidator(structured)]
