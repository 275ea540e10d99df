"""Finding and measuring memory cgroups of both versions, through whatever mounts there are."""

from pathlib import Path

import pytest

from leakguard.core.errors import ReadingError
from leakguard.core.sample import DomainSample
from leakguard.core.units import MIB
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs, CgroupGone, UsageParts
from leakguard.linux.mounts import CgroupMount, below, parse_mountinfo
from leakguard.linux.procfs import ProcFs
from leakguard.testing.files import CgroupFiles, ProcFiles

LINES = {
    1: "4:memory:{path}\n1:name=systemd:/\n0::/\n",
    2: "0::{path}\n",
}


class Machine:
    """A /proc and a cgroup tree of files."""

    def __init__(self, tmp_path: Path, version: int) -> None:
        self.proc = ProcFiles(tmp_path / "proc")
        self.groups = CgroupFiles(tmp_path / "cgroup", version)
        self.version = version
        self.cgroups = CgroupFs(ProcFs(str(self.proc.root)), str(self.groups.root))

    def put(self, pid: int, path: str) -> None:
        """Write a process that is in a group."""
        self.proc.add(pid, cgroups=LINES[self.version].format(path=path))

    def group(self, pid: int) -> CgroupDir:
        """Find the group of a process that is known to have one."""
        found = self.cgroups.memory_dir(pid)
        assert found is not None
        return found


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """Give a machine of either version."""
    return Machine(tmp_path, request.param)


def test_a_process_is_found_in_its_group(machine: Machine) -> None:
    """Version, path, directory, and that no ancestor is hidden."""
    machine.groups.add("/a/b")
    machine.put(7, "/a/b")
    assert machine.group(7) == CgroupDir(
        version=machine.version,
        path="/a/b",
        directory=str(machine.groups.top / "a/b"),
        top=str(machine.groups.top),
        complete=True,
    )
    assert machine.group(7).key == f"v{machine.version}:/a/b"


def test_a_group_that_is_not_there_is_unknown(machine: Machine) -> None:
    """A removed group, and one outside of the namespace, have no known limit."""
    machine.put(7, "/removed (deleted)")
    machine.put(8, "/../outside")
    assert [machine.cgroups.memory_dir(pid) for pid in (7, 8)] == [None, None]


def test_limits_are_found_up_to_the_root(machine: Machine) -> None:
    """Nearest first, those without a limit left out."""
    machine.groups.add("/a", limit=64 * MIB)
    machine.groups.add("/a/b")
    machine.groups.add("/a/b/c", limit=32 * MIB)
    machine.put(7, "/a/b/c")
    limited = machine.cgroups.limited_ancestors(machine.group(7))
    assert [(g.path, machine.cgroups.limit(g)) for g in limited] == [
        ("/a/b/c", 32 * MIB),
        ("/a", 64 * MIB),
    ]


def test_an_old_group_that_does_not_count_its_children(tmp_path: Path) -> None:
    """Before 5.11, v1 groups could leave hierarchy off: the limit above then binds nothing."""
    machine = Machine(tmp_path, 1)
    machine.groups.add("/a", limit=64 * MIB)
    machine.groups.add("/a/b", limit=32 * MIB)
    machine.groups.write("/a", "memory.use_hierarchy", "0\n")
    machine.put(7, "/a/b")
    limited = machine.cgroups.limited_ancestors(machine.group(7))
    assert [g.path for g in limited] == ["/a/b"]


def test_a_domain_is_measured(machine: Machine) -> None:
    """Usage, limit, what can be dropped, hits and kills."""
    machine.groups.add(
        "/a",
        limit=64 * MIB,
        usage=50 * MIB,
        stat={"active_file": 3 * MIB, "inactive_file": 7 * MIB},
        kills=2,
        hits=9,
    )
    machine.put(7, "/a")
    domain = machine.cgroups.read_domain(machine.group(7))
    assert domain == DomainSample(
        path="/a",
        version=machine.version,
        limit_bytes=64 * MIB,
        usage_bytes=50 * MIB,
        reclaimable_bytes=10 * MIB,
        limit_hits=9,
        oom_kills=2,
    )
    assert domain.headroom_bytes == 24 * MIB


def test_usage_is_split(machine: Machine) -> None:
    """The kernel counts shmem as file too; here it is not."""
    machine.groups.add("/a", stat={"anon": 5 * MIB, "file": 4 * MIB, "shmem": MIB})
    if machine.version == 1:
        machine.groups.write(
            "/a",
            "memory.stat",
            f"total_rss {5 * MIB}\ntotal_cache {4 * MIB}\ntotal_shmem {MIB}\ntotal_swap 4096\n",
        )
    else:
        machine.groups.write("/a", "memory.swap.current", "4096\n")
    machine.put(7, "/a")
    parts = machine.cgroups.usage_parts(machine.group(7))
    assert parts == UsageParts(anon=5 * MIB, file=3 * MIB, shmem=MIB, swap=4096)


def test_a_split_that_is_not_printed_is_unknown(machine: Machine) -> None:
    """A missing line is an error, never zero."""
    machine.groups.add("/a")
    machine.groups.write("/a", "memory.stat", "slab 1\n")
    machine.put(7, "/a")
    with pytest.raises(ReadingError, match="has no line"):
        machine.cgroups.usage_parts(machine.group(7))


def test_a_number_that_is_none_is_unknown(machine: Machine) -> None:
    """The message names the file."""
    machine.groups.add("/a", limit=64 * MIB)
    name = "memory.usage_in_bytes" if machine.version == 1 else "memory.current"
    machine.groups.write("/a", name, "many\n")
    machine.put(7, "/a")
    with pytest.raises(ReadingError, match=name):
        machine.cgroups.read_domain(machine.group(7))


def test_a_limit_that_was_lifted_is_told(machine: Machine) -> None:
    """A group without a limit is no domain."""
    machine.groups.add("/a")
    machine.put(7, "/a")
    with pytest.raises(ReadingError, match="no memory limit"):
        machine.cgroups.read_domain(machine.group(7))


def test_a_removed_group_is_gone(machine: Machine) -> None:
    """It is told apart from a file that cannot be read."""
    machine.groups.add("/a", limit=MIB)
    machine.put(7, "/a")
    group = machine.group(7)
    for file in (machine.groups.top / "a").iterdir():
        file.unlink()
    (machine.groups.top / "a").rmdir()
    with pytest.raises(CgroupGone):
        machine.cgroups.procs(group)
    with pytest.raises(CgroupGone):
        machine.cgroups.usage_parts(group)


def test_processes_are_listed_with_those_below(machine: Machine) -> None:
    """Processes of hidden pid namespaces print as 0 and are left out."""
    machine.groups.add("/a", procs=(9, 7))
    machine.groups.add("/a/b", procs=(8, 0))
    machine.groups.add("/c", procs=(5,))
    machine.put(7, "/a")
    assert machine.cgroups.procs(machine.group(7)) == (7, 8, 9)


@pytest.mark.parametrize("spelling", ["/a/b", "a/b", "/a/b/", "{top}/a/b", "{top}/a/b/"])
def test_a_group_is_found_by_path_and_by_directory(machine: Machine, spelling: str) -> None:
    """Both are what people have at hand."""
    machine.groups.add("/a/b")
    found = machine.cgroups.directory(spelling.format(top=machine.groups.top))
    assert (found.path, found.directory) == ("/a/b", str(machine.groups.top / "a/b"))


@pytest.mark.parametrize("path", ["/nope", "nope", "/a/../a", "/etc"])
def test_a_group_that_does_not_exist_names_the_place(machine: Machine, path: str) -> None:
    """The error says where it was looked for."""
    machine.groups.add("/a")
    with pytest.raises(ReadingError, match=rf"looked for .*{machine.groups.top.name}"):
        machine.cgroups.directory(path)


def test_a_pattern_finds_groups(machine: Machine) -> None:
    """By path or by directory; what is no memory cgroup is left out."""
    for path in ("/s/w-1", "/s/w-2", "/s/x"):
        machine.groups.add(path)
    for pattern in ("/s/w-*", "s/w-?", f"{machine.groups.top}/s/w-[12]"):
        assert [g.path for g in machine.cgroups.matching(pattern)] == ["/s/w-1", "/s/w-2"]
    assert machine.cgroups.matching("/../w-*") == ()


def test_kept_files_of_other_groups_are_closed(machine: Machine) -> None:
    """A guard that runs for months must not collect descriptors of removed groups."""
    machine.groups.add("/a", limit=MIB)
    machine.groups.add("/b", limit=MIB)
    machine.put(7, "/a")
    machine.put(8, "/b")
    for pid in (7, 8):
        machine.cgroups.read_domain(machine.group(pid))
    both = len(machine.cgroups.files)
    machine.cgroups.keep([machine.group(7)])
    assert len(machine.cgroups.files) == both // 2
    machine.cgroups.close()
    assert len(machine.cgroups.files) == 0


def test_v1_counts_kills_of_groups_below_and_forgets_none(tmp_path: Path) -> None:
    """The kernel counts in the victim's own group, which may be removed afterwards."""
    machine = Machine(tmp_path, 1)
    machine.groups.add("/a", limit=MIB, kills=1)
    machine.put(7, "/a")
    group, kills = machine.group(7), []
    kills.append(machine.cgroups.read_domain(group).oom_kills)
    machine.groups.add("/a/b", kills=1)
    kills.append(machine.cgroups.read_domain(group).oom_kills)
    machine.groups.add("/a/b", kills=3)
    kills.append(machine.cgroups.read_domain(group).oom_kills)
    for file in (machine.groups.top / "a/b").iterdir():
        file.unlink()
    (machine.groups.top / "a/b").rmdir()
    kills.append(machine.cgroups.read_domain(group).oom_kills)
    assert kills == [1, 2, 4, 4]


def test_v1_hits_of_both_limits_count(tmp_path: Path) -> None:
    """Where memory and memory plus swap have one limit, only the second counter rises."""
    machine = Machine(tmp_path, 1)
    machine.groups.add("/a", limit=MIB, hits=2)
    machine.groups.write("/a", "memory.memsw.failcnt", "5\n")
    machine.put(7, "/a")
    assert machine.cgroups.read_domain(machine.group(7)).limit_hits == 7


def test_v1_without_a_counter_of_kills(tmp_path: Path) -> None:
    """Before Linux 4.13 it is not known."""
    machine = Machine(tmp_path, 1)
    machine.groups.add("/a", limit=MIB)
    machine.groups.write("/a", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n")
    machine.put(7, "/a")
    assert machine.cgroups.read_domain(machine.group(7)).oom_kills is None


@pytest.mark.parametrize(
    ("both_limit", "both_usage", "host", "room"),
    [
        (None, 50, 100, 100),  # no accounting of swap: the host's bounds it
        (64, 50, 100, 0),  # memory plus swap is as tight as memory
        (164, 60, 50, 50),  # 90 would be allowed
        (164, 60, 500, 90),
        (64, 60, 500, -10),  # ten are swapped: memory plus swap is hit first
        (164, 60, 0, 0),
    ],
)
def test_v1_swap_room(
    tmp_path: Path, both_limit: int | None, both_usage: int, host: int, room: int
) -> None:
    """Memory and swap together have one limit in v1."""
    machine = Machine(tmp_path, 1)
    machine.groups.add("/a", limit=64 * MIB, usage=50 * MIB)
    if both_limit is not None:
        machine.groups.write("/a", "memory.memsw.limit_in_bytes", f"{both_limit * MIB}\n")
        machine.groups.write("/a", "memory.memsw.usage_in_bytes", f"{both_usage * MIB}\n")
    machine.put(7, "/a")
    domain = machine.cgroups.read_domain(machine.group(7), host * MIB)
    assert domain.swap_room_bytes == room * MIB


def test_v2_swap_room_is_bounded_by_every_ancestor(tmp_path: Path) -> None:
    """A parent that forbids swap forbids it below."""
    machine = Machine(tmp_path, 2)
    machine.groups.add("/a")
    machine.groups.add("/a/b", limit=64 * MIB)
    machine.put(7, "/a/b")
    rooms = []
    for maximum, swap_max in (("max", 40), ("max", 200), (str(8 * MIB), 40)):
        machine.groups.write("/a", "memory.swap.max", f"{maximum}\n")
        machine.groups.write("/a", "memory.swap.current", f"{4 * MIB}\n")
        machine.groups.write("/a/b", "memory.swap.max", f"{swap_max * MIB}\n")
        machine.groups.write("/a/b", "memory.swap.current", f"{4 * MIB}\n")
        domain = machine.cgroups.read_domain(machine.group(7), 100 * MIB)
        rooms.append(domain.swap_room_bytes // MIB)
    assert rooms == [36, 100, 4]


def test_v2_charges_the_nearest_group_with_the_controller(tmp_path: Path) -> None:
    """A leaf without the memory controller has no memory of its own."""
    machine = Machine(tmp_path, 2)
    machine.groups.add("/a", limit=MIB)
    machine.groups.write("/a/leaf", "cgroup.procs", "7\n")
    machine.put(7, "/a/leaf")
    assert machine.group(7).path == "/a"


MIXED = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 {root} {point}/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / {point}/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / {point}/unified rw,relatime shared:5 - cgroup2 cgroup2 rw
"""


def mounted(tmp_path: Path, root: str, version: int = 1) -> tuple[ProcFiles, CgroupFiles, CgroupFs]:
    """Give a machine whose mountinfo tells where the groups are."""
    proc = ProcFiles(tmp_path / "proc")
    groups = CgroupFiles(tmp_path / "my cgroup", version)
    (groups.root / "unified").mkdir(exist_ok=True)
    point = str(groups.root).replace(" ", r"\040")
    text = MIXED if version == 1 else "41 31 0:38 {root} {point} rw - cgroup2 cgroup2 rw\n"
    for pid in ("2", "7"):
        proc.write(f"{pid}/mountinfo", text.format(root=root, point=point))
    return proc, groups, CgroupFs(ProcFs(str(proc.root)))


def test_a_mixed_machine_has_memory_in_v1(tmp_path: Path) -> None:
    """The controller line of /proc/PID/cgroup decides, not the presence of v2."""
    proc, groups, cgroups = mounted(tmp_path, "/")
    groups.write("/", "release_agent", "")
    groups.add("/a", limit=MIB)
    proc.add(7, cgroups=LINES[1].format(path="/a"))
    group = cgroups.memory_dir(7)
    assert group is not None
    assert (group.version, group.directory, group.complete) == (1, str(groups.top / "a"), True)


def test_a_container_sees_a_part_of_the_tree(tmp_path: Path) -> None:
    """The mount shows `/docker/x` at its point; what lies above is hidden, not unlimited."""
    proc, groups, cgroups = mounted(tmp_path, "/docker/x")
    groups.add("/", limit=64 * MIB)
    groups.add("/app", limit=32 * MIB)
    proc.add(7, cgroups=LINES[1].format(path="/docker/x/app"))
    group = cgroups.memory_dir(7)
    assert group is not None
    limited = cgroups.limited_ancestors(group)
    assert [(g.path, g.complete) for g in limited] == [
        ("/docker/x/app", False),
        ("/docker/x", False),
    ]


@pytest.mark.parametrize("path", ["/docker/y", "/docker/xy", "/", "/../y"])
def test_what_a_container_cannot_see_is_unknown(tmp_path: Path, path: str) -> None:
    """A group outside of the mount's root is never taken for the one at the mount point."""
    proc, groups, cgroups = mounted(tmp_path, "/docker/x")
    groups.add("/", limit=64 * MIB)
    proc.add(7, cgroups=LINES[1].format(path=path))
    assert cgroups.memory_dir(7) is None


def test_the_namespace_s_root_is_not_the_real_one(tmp_path: Path) -> None:
    """In a private cgroup namespace everything begins with `/`; a file tells the difference."""
    proc, groups, cgroups = mounted(tmp_path, "/", version=2)
    groups.add("/", limit=64 * MIB)  # the real root has no limit and no type
    proc.add(7, cgroups=LINES[2].format(path="/"))
    group = cgroups.memory_dir(7)
    assert group is not None
    assert (group.path, group.complete, cgroups.limit(group)) == ("/", False, 64 * MIB)


def test_a_sidecar_reads_the_app_s_own_mounts(tmp_path: Path) -> None:
    """With the right to see /proc/PID/root, the app's limit is read in the app's mounts."""
    proc, groups, cgroups = mounted(tmp_path, "/docker/leakguard")
    app = CgroupFiles(proc.root / "7/root/cg", 1)
    app.add("/", limit=64 * MIB)
    proc.add(7, cgroups=LINES[1].format(path="/docker/app"))
    proc.write("7/mountinfo", "35 31 0:32 /docker/app /cg/memory rw - cgroup cgroup rw,memory\n")
    group = cgroups.memory_dir(7)
    assert group is not None
    assert (group.path, cgroups.limit(group), group.complete) == ("/docker/app", 64 * MIB, False)
    assert groups.top.exists()


def test_no_mount_at_all_is_unknown(tmp_path: Path) -> None:
    """Nothing is guessed."""
    proc = ProcFiles(tmp_path / "proc")
    proc.add(7, cgroups=LINES[1].format(path="/a"))
    cgroups = CgroupFs(ProcFs(str(proc.root)))
    assert cgroups.memory_dir(7) is None
    with pytest.raises(ReadingError, match="a mounted memory controller"):
        cgroups.directory("/a")


def test_mountinfo_is_read_field_by_field() -> None:
    """Octal escapes, optional fields, other file systems, cut lines."""
    data = (
        b"35 31 0:32 /a /m\\040nt rw master:1 shared:2 - cgroup cgroup rw,memory\n"
        b"36 31 0:33 / /cpu rw - cgroup cgroup rw,cpu\n"
        b"41 31 0:38 / /two rw - cgroup2 cgroup2 rw\n"
        b"42 31 0:39 / / rw - ext4 /dev/vda rw\n"
        b"43 31 0:39 /\n"
    )
    assert parse_mountinfo(data) == (
        CgroupMount(version=1, root="/a", point="/m nt"),
        CgroupMount(version=2, root="/", point="/two"),
    )


@pytest.mark.parametrize(
    ("path", "root", "inside"),
    [
        ("/", "/", ""),
        ("/a", "/", "/a"),
        ("/a/b/", "/a", "/b"),
        ("/a", "/a", ""),
        ("/ab", "/a", None),
        ("/../app/x", "/../app", "/x"),
        ("/../app", "/", None),
        ("/a/../../b", "/a", None),
        ("/", "/..", None),
    ],
)
def test_paths_relative_to_a_mount(path: str, root: str, inside: str | None) -> None:
    """Steps out of a mount's root lead to what cannot be seen."""
    assert below(path, root) == inside
