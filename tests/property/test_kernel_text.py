"""No bytes that the kernel, a container or a broken disk hands us may crash a parser."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from leakguard.core.errors import ReadingError, TargetError
from leakguard.core.units import MIB
from leakguard.linux import proctext
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs
from leakguard.linux.children import Children, run_here
from leakguard.linux.mounts import below, parse_mountinfo
from leakguard.linux.procfs import ProcFs, descendants
from leakguard.linux.statm import StatmReader
from leakguard.targets.base import TargetContext
from leakguard.targets.cmdline import Options as CmdlineOptions
from leakguard.targets.pidfile import Options as PidfileOptions, PidfileTarget
from leakguard.testing.clock import FakeClock
from leakguard.testing.files import CgroupFiles, ProcFiles

NUMBERS = (b"0", b"-1", b"1_0", b"9" * 30, b"9" * 5000)
NAMES = (b"memory", b"oom_kill", b"total_rss", b"max", b"kB", b"RssAnon:", b"Pss:", b"some avg10=")
SIGNS = (b"(", b")", b"\n", b"\t", b" ", b":", b"/", b" - ")
WORDS = st.sampled_from((*NUMBERS, *NAMES, *SIGNS))
TEXT = st.one_of(st.binary(max_size=400), st.lists(WORDS, max_size=40).map(b"".join))
PARSERS: list[Callable[[bytes], object]] = [
    proctext.parse_status,
    proctext.parse_smaps,
    proctext.parse_address_space_limit,
    proctext.parse_cgroup,
    proctext.parse_meminfo,
    proctext.parse_pressure,
    proctext.parse_oom_kills,
    proctext.parse_shared_objects,
    parse_mountinfo,
]
ONCE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(data=TEXT)
def test_parsers_take_any_bytes(parse: Callable[[bytes], object], data: bytes) -> None:
    """They give what they find, and never raise."""
    parse(data)


@given(data=TEXT)
def test_stat_parses_or_is_unknown(data: bytes) -> None:
    """Nothing but a ReadingError comes out."""
    try:
        stat = proctext.parse_stat(data)
    except ReadingError:
        return
    assert isinstance(stat.start_ticks, int)


@given(name=st.binary(max_size=15).filter(lambda name: b"\0" not in name))
def test_no_name_moves_the_fields(name: bytes) -> None:
    """A process may call itself anything."""
    fields = b"S 3 " + b"0 " * 17 + b"55 4096 7 " + b"0 " * 10
    stat = proctext.parse_stat(b"12 (" + name + b") " + fields)
    assert (stat.pid, stat.state, stat.ppid, stat.start_ticks) == (12, "S", 3, 55)


@ONCE
@given(data=TEXT)
def test_statm_parses_or_is_unknown(tmp_path: Path, data: bytes) -> None:
    """Garbage is neither a size nor a crash."""
    files = ProcFiles(fresh(tmp_path))
    files.add(7)
    files.write("7/statm", data)
    reader = StatmReader(ProcFs(str(files.root)))
    try:
        assert all(size >= 0 or data for size in reader.read(7, 100))
    except ReadingError:
        pass
    finally:
        reader.close()


@ONCE
@pytest.mark.parametrize("version", [1, 2])
@given(data=TEXT, name=st.sampled_from(["limit", "usage", "memory.stat", "kills", "cgroup.procs"]))
def test_cgroup_files_parse_or_are_unknown(
    tmp_path: Path, version: int, data: bytes, name: str
) -> None:
    """Whatever one file of a group holds."""
    root = fresh(tmp_path)
    groups = CgroupFiles(root / "cg", version)
    groups.add("/a", limit=MIB, procs=(7,))
    (groups.top / "a" / FILES.get(name, {}).get(version, name)).write_bytes(data)
    group = CgroupDir(
        version=version,
        path="/a",
        directory=str(groups.top / "a"),
        top=str(groups.top),
        complete=True,
    )
    cgroups = CgroupFs(ProcFs(str(root / "proc")), str(groups.root))
    for read in (cgroups.read_domain, cgroups.usage_parts, cgroups.used, cgroups.procs):
        try:
            read(group)
        except ReadingError:
            continue
    cgroups.close()


FILES = {
    "limit": {1: "memory.limit_in_bytes", 2: "memory.max"},
    "usage": {1: "memory.usage_in_bytes", 2: "memory.current"},
    "kills": {1: "memory.oom_control", 2: "memory.events"},
}


@ONCE
@given(data=TEXT)
def test_a_pidfile_may_hold_anything(tmp_path: Path, data: bytes) -> None:
    """It names a process, or the error says why not."""
    root = fresh(tmp_path)
    (root / "app.pid").write_bytes(data)
    ProcFiles(root / "proc")
    proc = ProcFs(str(root / "proc"))
    context = TargetContext(
        service="app",
        proc=proc,
        cgroups=CgroupFs(proc, str(root)),
        children=Children(run_here, FakeClock(), proc),
    )
    target = PidfileTarget(PidfileOptions(path=str(root / "app.pid")), context)
    with pytest.raises(TargetError):
        target.locate()


@given(pattern=st.text(max_size=30))
def test_a_pattern_is_used_or_refused(pattern: str) -> None:
    """No text that a person writes crashes the compiler of patterns."""
    try:
        options = CmdlineOptions(pattern=pattern)
    except TargetError:
        return
    assert options.pattern == pattern


@given(path=st.text(alphabet="/.ab", max_size=12), root=st.text(alphabet="/.ab", max_size=8))
def test_no_path_leads_out_of_a_mount(path: str, root: str) -> None:
    """What `below` gives is empty, or stays below."""
    inside = below(path, root)
    assert inside is None or inside == "" or inside.startswith("/")
    assert inside is None or ".." not in inside.split("/")


@given(parents=st.dictionaries(st.integers(1, 30), st.integers(0, 30)), root=st.integers(1, 30))
def test_any_table_of_parents_has_trees(parents: dict[int, int], root: int) -> None:
    """Each process once, the root first, even in circles."""
    tree = descendants(root, parents)
    assert tree[0] == root
    assert len(set(tree)) == len(tree)


def fresh(tmp_path: Path) -> Path:
    """Give a folder of its own to each example."""
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    return folder
