"""Plug-ins are found by file name; a typo lists the names, a missing extra its install line."""

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from leakguard import plugins
from leakguard.core.errors import CodecError, PluginError
from leakguard.detectors.envelope import EnvelopeDetector

GOOD = '''"""Says nothing."""
class QuietDetector:
    """Quiet."""
    def __init__(self, options, context):
        self.options = options
'''

Bring = Callable[[str, str], None]


@pytest.fixture
def bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bring:
    """Give a function that makes an outside package bring a detector."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(key: str, source: str) -> None:
        (tmp_path / f"outside_{key}.py").write_text(source)
        sys.modules.pop(f"outside_{key}", None)
        point = EntryPoint(name=key, value=f"outside_{key}", group="leakguard.detectors")

        def found(*, group: str) -> tuple[EntryPoint, ...]:
            return (point,) if group == point.group else ()

        monkeypatch.setattr(plugins, "entry_points", found)

    return add


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_every_plugin_of_every_kind_loads(kind: str) -> None:
    """With one class, options and a summary."""
    found = [plugins.load(kind, key) for key in plugins.names(kind)]
    assert [p for p in found if not p.cls.__name__.endswith(plugins.KINDS[kind])] == []
    assert [p.key for p in found if not p.summary.endswith(".")] == []


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_every_option_is_documented(kind: str) -> None:
    """The reference is made from it."""
    undocumented = [
        f"{key}.{name}"
        for key in plugins.names(kind)
        for name, field in getattr(
            plugins.load(kind, key).options, "__dataclass_fields__", {}
        ).items()
        if not field.metadata.get("doc")
    ]
    assert undocumented == []


def test_helpers_are_no_plugins() -> None:
    """Names with an underscore, and the base."""
    assert [n for n in plugins.names("drivers") if n.startswith("_") or n == "base"] == []


def test_a_plugin_is_built_from_plain_options() -> None:
    """And refuses what it does not know."""
    plugin = plugins.load("detectors", "envelope")
    assert isinstance(plugin.make({"significance": 4}, None), EnvelopeDetector)
    with pytest.raises(CodecError, match="unknown colour"):
        plugin.make({"colour": 1}, None)


def test_a_typo_lists_the_right_names() -> None:
    """And the nearest one."""
    with pytest.raises(PluginError, match=r"no driver named 'singal', did you mean 'signal'\?"):
        plugins.load("drivers", "singal")
    assert plugins.unknown_key("drivers", "zzz").startswith("no driver named 'zzz' (there are: ")


def test_an_outside_package_brings_a_plugin(bring: Bring) -> None:
    """Without options it takes none."""
    bring("quiet", GOOD)
    plugin = plugins.load("detectors", "quiet")
    assert "quiet" in plugins.names("detectors")
    assert (plugin.options, plugin.summary) == (plugins.NoOptions, "Says nothing.")


def test_a_plugin_without_a_docstring_has_no_summary(bring: Bring) -> None:
    """It works all the same."""
    bring("mute", GOOD.partition("\n")[2])
    assert plugins.load("detectors", "mute").summary == ""


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1", "outside_bad must hold one class that ends in Detector"),
        (GOOD + GOOD.replace("Quiet", "Loud"), "outside_bad must hold one class"),
        (GOOD + "class Options:\n    x = 1\n", "outside_bad.Options must be a dataclass"),
        ("import psycopg.nothing", "'bad' needs an extra: .*leakguard-watchdog.postgres"),
        ("import no_such_module_at_all", "detector 'bad' cannot be loaded: No module named"),
    ],
)
def test_a_broken_plugin_says_what_is_wrong(
    bring: Bring, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    """Or which extra is missing."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    bring("bad", source)
    with pytest.raises(PluginError, match=said):
        plugins.load("detectors", "bad")
