"""leakguard raises its own limit of open files, and what it starts does not inherit that."""

import resource
from pathlib import Path

from leakguard.linux.children import Children, ChildSpec, run_here
from leakguard.runtime.clock import SystemClock


def test_child_gets_the_old_soft_limit_back(tmp_path: Path) -> None:
    """A service sees the soft limit it was promised; the hard one is not touched."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    out = tmp_path / "limits"
    script = f"ulimit -Sn > {out}.part; ulimit -Hn >> {out}.part; mv {out}.part {out}"
    children = Children(run_here, SystemClock(), descriptors=77)
    with children.helper(ChildSpec(argv=("sh", "-c", script))) as process:
        process.wait(20)
    soft_text, hard_text = out.read_text(encoding="ascii").split()
    expected = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    assert (soft_text, hard_text) == ("77", expected)
