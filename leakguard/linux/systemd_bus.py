"""A manager of systemd over D-Bus, by jeepney (extra `systemd`), which is imported when needed.

Every question has a connection of its own: it costs 2 ms, keeps nothing open between restarts and
survives a bus that was restarted. D-Bus errors come as ordinary messages, told by their type alone.
"""

import contextlib
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from leakguard.core.errors import DriverError, ReadingError
from leakguard.linux.systemd_unit import PROPERTIES, SUFFIX, Unit, unit_of
from leakguard.linux.systemd_words import Patience, Way, problem

if TYPE_CHECKING:
    from jeepney import Message

READ_S = 2.0
"""The loop asks where a service is, and must not wait long for a manager that is busy."""
ACT_S = 25.0
"""polkit may have to be started first."""
SLICE_S = 0.1
_CONNECT_S = 1.0
_CHUNK = 65536
_SYSTEMD = "org.freedesktop.systemd1"
_MANAGER = (_SYSTEMD, "/org/freedesktop/systemd1", f"{_SYSTEMD}.Manager")
_PROPERTIES = "org.freedesktop.DBus.Properties"
_BUS = "org.freedesktop.DBus"
_DAEMON = (_BUS, "/org/freedesktop/DBus", _BUS)
_UNKNOWN = frozenset({f"{_BUS}.Error.UnknownProperty", f"{_BUS}.Error.UnknownInterface"})
_NOT_THERE = (f"{_BUS}.Error.ServiceUnknown", f"{_BUS}.Error.NameHasNoOwner", f"{_BUS}.Error.Spawn")
_NO_LIMIT = 2**64 - 1


class NoBus(ReadingError):  # noqa: N818  what is the case, in two words
    """There is no bus to talk to, or nothing to talk to it with: ask by systemctl."""


class BusRefused(ReadingError):  # noqa: N818  an answer of the other side
    """The other side answered with an error; `name` is D-Bus' name of it."""

    def __init__(self, name: str, text: str) -> None:
        """Hold both."""
        super().__init__(text or name)
        self.name = name


class Bus:
    """One connection."""

    def __init__(self, address: str) -> None:
        """Connect and log in.

        Raises:
            NoBus: nobody listens, or jeepney is not installed.
        """
        try:
            from jeepney import AuthenticationError, Parser
            from jeepney.bus import get_bus
            from jeepney.io.blocking import prep_socket
        except ImportError as error:
            raise NoBus(
                "jeepney is not installed (pip install 'leakguard-watchdog[systemd]')"
            ) from error
        try:
            self._socket: socket.socket = prep_socket(get_bus(address), timeout=_CONNECT_S)
        except (OSError, RuntimeError, ValueError, AuthenticationError) as error:
            why = getattr(error, "strerror", None) or error
            raise NoBus(f"no bus at {address}: {why}") from error
        self._parser = Parser()
        self._serial = 0
        self._signals: deque[Message] = deque()
        try:
            self.call(_DAEMON, "Hello")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def send(
        self, to: tuple[str, str, str], method: str, signature: str = "", body: Sequence[Any] = ()
    ) -> int:
        """Call a method of (name, path, interface); gives the number the answer will have."""
        from jeepney import DBusAddress, new_method_call

        name, path, interface = to
        message = new_method_call(
            DBusAddress(path, bus_name=name, interface=interface),
            method,
            signature or None,
            tuple(body),
        )
        self._serial += 1
        try:
            self._socket.settimeout(ACT_S)
            self._socket.sendall(message.serialise(serial=self._serial))
        except OSError as error:
            raise ReadingError(f"the bus hung up: {error}") from error
        return self._serial

    def answer(self, number: int, within_s: float) -> tuple[Any, ...]:
        """Wait for an answer.

        Raises:
            BusRefused: it is an error.
            ReadingError: none came.
        """
        from jeepney import HeaderFields, MessageType

        while True:
            message = self._receive(within_s)
            if message is None:
                raise ReadingError(f"no answer over D-Bus within {within_s:g}s")
            if message.header.message_type is MessageType.signal:
                self._signals.append(message)
            elif message.header.fields.get(HeaderFields.reply_serial) == number:
                break
        if message.header.message_type is MessageType.error:
            name = message.header.fields.get(HeaderFields.error_name, "")
            raise BusRefused(name, str(message.body[0]) if message.body else "")
        return tuple(message.body)

    def call(
        self,
        to: tuple[str, str, str],
        method: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        within_s: float = READ_S,
    ) -> tuple[Any, ...]:
        """Call a method and wait for its answer."""
        return self.answer(self.send(to, method, signature, body), within_s)

    def signal(self, within_s: float) -> "Message | None":
        """Give the next signal, None when none comes in time."""
        from jeepney import MessageType

        if self._signals:
            return self._signals.popleft()
        message = self._receive(within_s)
        if message is None or message.header.message_type is not MessageType.signal:
            return None
        return message

    def _receive(self, within_s: float) -> "Message | None":
        while True:
            message: Message | None = self._parser.get_next_message()
            if message is not None:
                return message
            try:
                self._socket.settimeout(within_s)
                data = self._socket.recv(_CHUNK)
            except TimeoutError:
                return None
            except OSError as error:
                raise ReadingError(f"the bus hung up: {error}") from error
            if not data:
                raise ReadingError("the bus hung up")
            self._parser.add_data(data)


class BusWay(Way):
    """Speaks with one manager over a bus."""

    def __init__(self, address: str) -> None:
        """Speak over the bus at `address`; nothing is opened yet."""
        self._address = address

    def unit(self, name: str) -> Unit:
        """Ask for a unit, which is loaded for that."""
        with self._talk() as bus:
            (path,) = bus.call(_MANAGER, "LoadUnit", "s", (name,))
            return self._read(bus, path)

    def units(self, pattern: str) -> tuple[Unit, ...]:
        """Ask for every loaded service whose name matches."""
        with self._talk() as bus:
            (rows,) = bus.call(_MANAGER, "ListUnitsByPatterns", "asas", ([], [pattern]))
            return tuple(self._read(bus, row[6]) for row in rows if row[0].endswith(SUFFIX))

    def job(self, verb: str, name: str, patience: Patience) -> str:
        """Have a job done and watch it to its end; gives its result."""
        rule = (
            f"type='signal',sender='{_SYSTEMD}',interface='{_MANAGER[2]}',"
            f"member='JobRemoved',arg2='{name}'"
        )
        with self._talk(name) as bus:
            bus.call(_DAEMON, "AddMatch", "s", (rule,))
            bus.call(_MANAGER, "Subscribe", within_s=ACT_S)
            method = f"{verb.capitalize()}Unit"
            (job,) = bus.call(_MANAGER, method, "ss", (name, "replace"), within_s=ACT_S)
            while patience.lasts():
                signal = bus.signal(SLICE_S)
                if signal is not None and signal.body[1:2] == (job,):
                    return str(signal.body[3])
            return ""

    def limit(self, name: str, high_bytes: int | None, max_bytes: int | None) -> None:
        """Set both limits until the machine ends."""
        sizes = {"MemoryHigh": high_bytes, "MemoryMax": max_bytes}
        values = [(key, ("t", _NO_LIMIT if v is None else v)) for key, v in sizes.items()]
        self._set(name, values)

    def may(self, name: str) -> None:
        """Ask for the right to manage a unit, by setting nothing."""
        self._set(name, [])

    def _set(self, name: str, values: list[tuple[str, tuple[str, int]]]) -> None:
        with self._talk(name) as bus:
            bus.call(_MANAGER, "SetUnitProperties", "sba(sv)", (name, True, values), within_s=ACT_S)

    def _read(self, bus: Bus, path: str) -> Unit:
        asked = {
            key: bus.send((_SYSTEMD, path, _PROPERTIES), "Get", "ss", (interface, key))
            for interface, keys in PROPERTIES.items()
            for key in keys
        }
        said: dict[str, object] = {}
        for key, number in asked.items():
            try:
                said[key] = bus.answer(number, READ_S)[0][1]
            except BusRefused as error:
                if error.name not in _UNKNOWN:
                    raise
        return unit_of(said)

    @contextlib.contextmanager
    def _talk(self, acts_on: str = "") -> Iterator[Bus]:
        """Open a connection; what goes wrong is a DriverError where something is acted on."""
        bus = Bus(self._address)
        try:
            yield bus
        except BusRefused as error:
            if error.name.startswith(_NOT_THERE):
                raise NoBus(f"systemd is not on the bus at {self._address}") from error
            if not acts_on:
                raise
            text, permanent = problem(acts_on, error.name, str(error))
            raise DriverError(text, permanent=permanent) from error
        except ReadingError as error:
            if not acts_on:
                raise
            raise DriverError(f"{acts_on}: {error}") from error
        finally:
            bus.close()
