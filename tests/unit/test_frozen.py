"""Values of the daemon: they cannot be changed, and their classes cost little."""

import ast
import dataclasses
import gc
from pathlib import Path

import pytest

import leakguard
from leakguard.core.frozen import dataclass

ROOT = Path(leakguard.__file__).parent
DAEMON = (
    "collectors", "core", "detectors", "drivers", "linux", "notifiers",
    "runtime", "store", "targets", "web",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A value."""

    x: int
    y: int = 0


@dataclass(slots=True)
class Counter:
    """A buffer that may change."""

    count: int = 0


@pytest.mark.parametrize("name", ["x", "other"])
def test_a_value_cannot_be_changed(name: str) -> None:
    """Neither a field nor anything else can be set or deleted."""
    point = Point(x=1)
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"assign to field '{name}'"):
        setattr(point, name, 2)
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"delete field '{name}'"):
        delattr(point, name)


def test_a_value_is_a_dataclass_like_others() -> None:
    """It is compared, hashed, shown and replaced by its fields."""
    point = dataclasses.replace(Point(x=1), y=2)
    assert (point, hash(point), repr(point)) == (
        Point(x=1, y=2),
        hash(Point(x=1, y=2)),
        "Point(x=1, y=2)",
    )


def test_a_value_says_what_it_may() -> None:
    """A field can be kept out, and a class may say it in its own words."""

    @dataclass
    class Hidden:
        seen: int = 1
        secret: str = dataclasses.field(default="x", repr=False)

    @dataclass
    class Own(Hidden):
        def __repr__(self) -> str:
            return "own"

    @dataclass(repr=False)
    class Plain(Own):
        more: int = 2

    assert repr(Hidden()).endswith("Hidden(seen=1)")
    assert [repr(Own()), repr(Plain())] == ["own", "own"]


def test_what_is_not_frozen_may_change() -> None:
    """Buffers owned by one state are the exception."""
    counter = Counter()
    counter.count += 1
    assert counter == Counter(1)


def test_the_class_from_before_slots_does_not_stay() -> None:
    """Slots make a class anew; nothing keeps the first one in memory."""

    class Base:
        __slots__ = ()

    @dataclass(frozen=True, slots=True)
    class Made(Base):
        x: int

    gc.collect()
    assert Base.__subclasses__() == [Made]


def test_the_daemon_takes_its_dataclasses_from_here() -> None:
    """Of the standard library's, each frozen class costs 7 kB more."""
    paths = [*(p for name in DAEMON for p in (ROOT / name).rglob("*.py")), ROOT / "plugins.py"]
    paths.remove(ROOT / "core" / "frozen.py")
    wrong = [str(path.relative_to(ROOT)) for path in paths if _takes_the_librarys(path)]
    assert wrong == [], "from leakguard.core.frozen import dataclass"


def _takes_the_librarys(path: Path) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "dataclasses"
        and any(name.name == "dataclass" for name in node.names)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    )
