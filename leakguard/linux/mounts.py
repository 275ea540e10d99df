"""Where the memory controller is mounted, and which part of its hierarchy each mount shows."""

import re

from leakguard.core.frozen import dataclass

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupMount:
    """One mount of a cgroup hierarchy, as mountinfo shows it to the reader."""

    version: int
    root: str
    """The cgroup that is seen at the mount point; more than `/` in many containers."""
    point: str


def parse_mountinfo(data: bytes) -> tuple[CgroupMount, ...]:
    """Read the v1 memory mounts and the v2 mounts from mountinfo, in its order."""
    mounts = []
    for line in data.decode("utf-8", "replace").splitlines():
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if not dash or len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            version = 2
        elif kind[0] == "cgroup" and "memory" in kind[2].split(","):
            version = 1
        else:
            continue
        mounts.append(
            CgroupMount(version=version, root=plain_field(fields[3]), point=plain_field(fields[4]))
        )
    return tuple(mounts)


def below(path: str, root: str) -> str | None:
    """Give `path` relative to `root` (`""` or `/a/b`), None when it does not lie in there.

    Both may begin with `/..` steps: that is how the kernel shows what is outside of the reader's
    cgroup namespace. Nothing can be said of a path that leaves `root` by such a step.
    """
    base = root.rstrip("/")
    if path.rstrip("/") == base:
        return ""
    if not path.startswith(base + "/"):
        return None
    rest = path[len(base) :].rstrip("/")
    return None if ".." in rest.split("/") else rest


def plain_field(field: str) -> str:
    """Read a field of mountinfo: spaces and the like are printed in octal."""
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), field)
