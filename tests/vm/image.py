"""The images of the lab: a root file system from a cache, and leakguard from the checkout."""

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.vm import debian, root
from tests.vm.commands import run

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
INPUTS = ("debian.py", "root.py", "guest/init", "guest/lab.service", "guest/lab.target")
PIP_S = 300.0
COMPILE_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """What a machine boots from."""

    kernel: Path
    initramfs: Path
    root: Path
    lab: Path


def cache_folder() -> Path:
    """Give where the images stay between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "leakguard-vm")


def make(folder: Path) -> Images:
    """Make the images: the root file system unless it is in the cache, the rest into `folder`."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        base = _base(cache)
        site = _site(cache, _python_of(base.tree))
        lab = folder / "lab.img"
        _make_lab(lab, base.tree, site)
    return Images(kernel=base.kernel, initramfs=base.initramfs, root=base.root, lab=lab)


def _base(cache: Path) -> root.Base:
    codename, package = debian.release(), debian.kernel_package()
    inputs = [codename, package, *((HERE / name).read_text("utf-8") for name in INPUTS)]
    return root.at(_kept(cache, "root", inputs, lambda part: root.make(part, codename, package)))


def _site(cache: Path, version: str) -> Path:
    """Install leakguard's locked dependencies for the Python of the guest."""
    locked = (REPOSITORY / "constraints.txt").read_text("utf-8").partition("# part 2:")[0]

    def install(part: Path) -> None:
        (part / "locked.txt").write_text(locked, "utf-8")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        options = ["--require-hashes", "--no-deps", "--no-compile", "--only-binary=:all:"]
        # ABI and platform follow the guest's Python, not the one that runs pip.
        target: list[str | Path] = [
            "--python-version",
            version,
            "--implementation=cp",
            "--target",
            part / "site",
        ]
        for platform in ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64"):
            target += ["--platform", platform]
        run([*pip, *options, *target, "-r", part / "locked.txt"], timeout_s=PIP_S)

    return _kept(cache, "site", [version, locked], install) / "site"


def _make_lab(image: Path, tree: Path, site: Path) -> None:
    """Write the image with leakguard, its dependencies and the scenarios, all compiled."""
    with tempfile.TemporaryDirectory(prefix="lab-", dir=tree) as name:
        lab = Path(name)
        less = shutil.ignore_patterns("__pycache__", "*.c")
        shutil.copytree(site, lab / "site", ignore=less)
        shutil.copytree(REPOSITORY / "leakguard", lab / "leakguard", ignore=less)
        shutil.copytree(HERE / "guest", lab / "tests/vm/guest", ignore=less)
        shutil.copytree(REPOSITORY / "tests/workloads", lab / "tests/workloads", ignore=less)
        shutil.copytree(REPOSITORY / "config", lab / "config")
        gcc: list[str | Path] = [
            "gcc",
            "-O1",
            "-static",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-o",
            lab / "worker",
        ]
        run([*gcc, HERE / "guest/worker.c"], timeout_s=COMPILE_S)
        # Emulated, compiling would take minutes; and the image is mounted read-only.
        inside = f"/{lab.relative_to(tree)}"
        compile_all = ["python3", "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash"]
        run(["chroot", tree, *compile_all, "-s", inside, "-p", "/lab", inside], timeout_s=COMPILE_S)
        root.make_image(image, lab, spare_mib=16)


def _python_of(tree: Path) -> str:
    """Give the version of the guest's Python as `3.11`."""
    return str((tree / "usr/bin/python3").readlink()).removeprefix("python")


def _kept(cache: Path, kind: str, inputs: list[str], make: Callable[[Path], None]) -> Path:
    """Give a folder of the cache, made anew when its inputs have changed; older ones go."""
    key = hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:16]
    kept = cache / f"{kind}-{key}"
    if kept.is_dir():
        return kept
    for old in cache.glob(f"{kind}-*"):
        shutil.rmtree(old)
    part = Path(tempfile.mkdtemp(prefix=f"{kind}-part-", dir=cache))
    part.chmod(0o755)
    try:
        make(part)
        part.rename(kept)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return kept


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one run at a time work in the cache."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
