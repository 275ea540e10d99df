"""Take a line of any log apart: what the log put round it, and what the kernel said.

Known wrappings: syslog (RFC 3164 with localised months, RFC 5424, ISO times), journalctl (short
forms and JSON), dmesg (plain, -T, -H, -r, -x, -d, --time-format iso), records of /dev/kmsg,
callers (`[T12]`), docker and compose, quotes of mail and grep. A line of syslog whose tag is not
`kernel` is no kernel line, whatever it quotes.
"""

import json
import re

from leakguard.core.frozen import dataclass

MAX_LINE = 16384
"""Characters of a line that are looked at: the kernel's own records end below 8 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What the kernel said, when, and by which voice: one host and, where printed, one thread."""

    text: str
    voice: str = ""
    time: str | None = None
    """As printed; the date where there is one, else the seconds since boot."""
    boot_s: float | None = None
    seq: int | None = None
    """Record number in /dev/kmsg: a gap means that records were lost."""
    bare: bool = False
    """No time or host stood before the text: it may be the rest of a line that a mailer wrapped."""


_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_USEC = re.compile(r"[0-9]{1,18}")
_ESCAPED = re.compile(r"(?:\\x[0-9a-f]{2})+")
_CLOCK = r"\d{1,2}:\d{2}:\d{2}(?:[.,]\d{1,9})?"
_ISO = rf"\d{{4}}-\d\d-\d\d[T ]{_CLOCK}(?: ?(?:Z|[+-]\d\d:?\d\d))?"
_CALLER = r"(?:[ ]?\[ *(?P<caller>[TC]\d+)\])?"
_FAST = re.compile(
    rf"(?:<[0-7]>)?(?:(?P<wall>[A-Z][a-z]{{2}} [ \d]\d {_CLOCK}|{_ISO})"
    r" (?P<host>\S+) kernel: ?)?"
    rf"(?:\[ *(?P<boot>\d{{1,12}}\.\d{{3,9}})\]{_CALLER} ?)?(?P<text>.*)",
    re.DOTALL,
)
_KMSG = re.compile(
    r"(?P<priority>\d{1,4}),(?P<seq>\d{1,20}),(?P<usec>\d{1,18}),[^,;]{1,4}(?:,caller=(?P<caller>\w+))?(?:,[^;]*)?;"
    r"(?P<text>.*)",
    re.DOTALL,
)
_JUNK = (
    re.compile(r"(?:>[> ]{0,20} ?)"),  # a mail that quotes a log
    re.compile(
        r"(?:[\w./+-]{1,200}:)?\d{1,9}[:-](?=<\d|\[|[A-Z][a-z]{2} [ \d]\d \d|\d{4}-\d\d-\d\dT)"
    ),
    re.compile(
        r"[\w./+-]{1,200}:(?=<\d|\[ *\d+\.|[A-Z][a-z]{2} [ \d]\d \d|\d{4}-\d\d-\d\dT)"
    ),  # grep
    re.compile(r"<[0-7]>(?!\d )"),  # the level; facility 0 is the kernel's
    re.compile(r"<\d{1,3}>(?:(?=[A-Z][a-z]{2} )|1 (?=\d{4}-))"),  # syslog as it is sent
    re.compile(r"kern *: ?[a-z]{3,6} *: "),  # dmesg -x: facility and level
    re.compile(r"\[ *\+\d+\.\d+\] ?"),  # dmesg -H: seconds since the line before
    re.compile(r"kernel: ?"),
)
_BOOT = re.compile(rf"\[ *(?P<boot>\d{{1,12}}\.\d{{3,9}})(?: <[^>]{{0,20}}>)?\]{_CALLER} ?")
_BRACKET = re.compile(
    rf"\[(?P<wall>[^\]\[]{{0,40}}\d{{1,2}}:\d\d(?::\d\d)?[^\]\[]{{0,20}})\]{_CALLER} ?"
)
_SYSLOG = re.compile(
    rf"(?P<wall>(?:{_ISO}|\d{{9,11}}\.\d{{6}}|\S.{{0,39}}?{_CLOCK}(?: [AP]M)?(?: [A-Z]{{2,5}})?"
    r"(?: \d{4})?)) (?P<host>\S{1,255}) (?P<tag>[^\s:\[]{1,128})(?:\[\d+\])?"
    r"(?::| - - -(?= )| \d+ - -) ?"
)
_STAMP = re.compile(rf"(?P<wall>{_ISO}) ")  # docker logs -t, dmesg --time-format iso
_HOST = re.compile(
    r"(?P<host>\S{1,255}) kernel: ?"
)  # journalctl -o short-monotonic, after the time
_FOREIGN = re.compile(r"\S{1,255} [\w.@/-]{1,128}\[\d+\]: |(?!kern)[a-z0-9]{3,9} *:[a-z]{3,6} *: ")
_OUTER = re.compile(r"(?P<host>\[[A-Za-z][^\]]{0,200}\]|[\w./-]{1,100} *\|) ?")  # kubectl; compose
_LATER_BOOT = re.compile(r"(?P<host>[^\[]{1,200}?) ?(?=\[ *\d{1,12}\.\d{3,9}\])")
_TABLE_LINE = re.compile(r"\[ *(?:\d{1,9}|pid) *\] |\[<")
_MARKS = re.compile(r"\d:\d\d|kern|^[<>]|\||\]:|\d\.\d{3,9}\]|[Kk]ill")
_KILL_WORDS = re.compile(
    r"(?<=[\s|>:])(?:Out of [mM]emory|Memory cgroup out of memory)[^:]{0,40}: [Kk]ill|"
    r"(?<=[\s|>:])oom-kill:constraint="
)


def take_apart(raw: str) -> Line | None:
    """Give the kernel's part of a line; None for an empty one and one of another program."""
    raw = raw[:MAX_LINE].strip("\r\n\0\ufeff")
    if "\x1b" in raw:
        raw = _ANSI.sub("", raw)
    raw = raw.removesuffix("#015")  # rsyslog spells a carriage return so
    if not raw or raw[0] == "{":
        return _from_json(raw) if raw else None
    if raw[0].isdigit() and (record := _KMSG.fullmatch(raw)) is not None:
        return _from_kmsg(record)
    fast = _FAST.fullmatch(raw)
    if fast is None or (fast["wall"] is None and fast["boot"] is None):
        return _peel(raw) if _is_wrapped(raw) else Line(text=raw, voice=" ", bare=True)
    if fast["wall"] is None and (fast["host"] is None and _odd(fast["text"])):
        return _peel(raw)
    return Line(
        text=fast["text"],
        voice=f"{fast['host'] or ''} {fast['caller'] or ''}",
        time=fast["wall"] or fast["boot"],
        boot_s=None if fast["boot"] is None else float(fast["boot"]),
    )


def _is_wrapped(raw: str) -> bool:
    """Tell whether anything may stand before the kernel's text; cheaper than trying to peel it."""
    if raw[0] == "[":
        return _TABLE_LINE.match(raw) is None
    return _MARKS.search(raw) is not None


def _odd(text: str) -> bool:
    """Tell whether a host or a second prefix may still stand before the kernel's text."""
    return " kernel: " in text[:270] or _FOREIGN.match(text) is not None


def _from_kmsg(record: "re.Match[str]") -> Line:
    r"""Read a record of /dev/kmsg, where anything unprintable is written as `\xNN`."""
    text = record["text"] if int(record["priority"]) < 8 else ""  # from 8 on: user-space
    if "\\x" in text:
        text = _ESCAPED.sub(_unescape, text)
    boot_s = int(record["usec"]) / 1e6
    return Line(
        text=text,
        voice=f" {record['caller'] or ''}",
        time=f"{boot_s:.6f}",
        boot_s=boot_s,
        seq=int(record["seq"]),
    )


def _unescape(match: "re.Match[str]") -> str:
    return bytes.fromhex(match[0].replace("\\x", "")).decode(errors="backslashreplace")


def _from_json(raw: str) -> Line | None:
    """Read `journalctl -o json` and docker's json-file; another object is no kernel line."""
    try:
        entry = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    message = entry.get("MESSAGE", entry.get("log"))
    if isinstance(message, list):  # journald's form for bytes that are no UTF-8
        message = _from_bytes(message)
    if not isinstance(message, str) or entry.get("_TRANSPORT", "kernel") != "kernel":
        return None
    message = message.rstrip("\r\n").replace("\n", "#012")
    inner = take_apart(message) if message[:1] != "{" else None
    if inner is None:
        return None
    usec = entry.get("_SOURCE_MONOTONIC_TIMESTAMP")
    boot_s = (
        int(usec) / 1e6 if isinstance(usec, str) and usec.isascii() and usec.isdigit() else None
    )
    if boot_s is None:
        boot_s = inner.boot_s
    stamp = entry.get("time")
    time = stamp if isinstance(stamp, str) else inner.time
    return Line(
        text=inner.text,
        voice=f"{entry.get('_HOSTNAME', '')} {inner.voice}",
        time=time if time is not None or boot_s is None else f"{boot_s:.6f}",
        boot_s=boot_s,
    )


def _from_bytes(numbers: list[object]) -> str | None:
    try:
        return bytes(n for n in numbers if isinstance(n, int)).decode(errors="backslashreplace")
    except ValueError:
        return None


class _Peeling:
    """A line while its wrappings come off, one after the other."""

    __slots__ = ("boot_s", "caller", "hosts", "text", "time")

    def __init__(self, raw: str) -> None:
        self.text = raw
        self.time: str | None = None
        self.boot_s: float | None = None
        self.hosts: list[str] = []
        self.caller = ""

    def take(self, pattern: "re.Pattern[str]") -> bool:
        """Take off one wrapping, keeping what it says; False when it is not there."""
        match = pattern.match(self.text)
        if match is None or not match.end():
            return False
        self.text = self.text[match.end() :]
        found = match.groupdict()
        if found.get("wall"):
            self.time = found["wall"].strip()
        if found.get("boot"):
            self.boot_s = float(found["boot"])
        if found.get("host"):
            self.hosts.append(found["host"])
        self.caller = found.get("caller") or self.caller
        return True

    def line(self) -> Line:
        """Give what is left."""
        time = self.time
        if time is None and self.boot_s is not None:
            time = f"{self.boot_s:.6f}"
        return Line(
            text=self.text,
            voice=f"{' '.join(self.hosts)} {self.caller}",
            time=time,
            boot_s=self.boot_s,
            bare=self.time is None and self.boot_s is None and not self.hosts,
        )


def _peel(raw: str) -> Line | None:
    """Take off wrappings until the kernel's text is left; None for another program's line."""
    rest = _Peeling(raw)
    for _ in range(8):
        if any(rest.take(pattern) for pattern in _JUNK):
            continue
        syslog = _SYSLOG.match(rest.text) if rest.text[:1] != "[" else None
        if syslog is not None:
            if syslog["tag"] != "kernel":
                return None
            rest.take(_SYSLOG)
            continue
        if any(rest.take(pattern) for pattern in (_BOOT, _BRACKET, _STAMP, _HOST, _OUTER)):
            continue
        break
    if _FOREIGN.match(rest.text) is not None:
        return None
    if rest.boot_s is None and rest.text[:1] != "[" and rest.take(_LATER_BOOT):
        rest.take(_BOOT)
    words = _KILL_WORDS.search(rest.text)
    if words is not None and rest.time is None:  # a wrapping that nobody told us about
        rest.hosts.append(rest.text[: words.start()].strip())
        rest.text = rest.text[words.start() :]
    return rest.line()
