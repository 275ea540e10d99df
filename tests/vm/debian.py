"""What the machine's own apt arrangement offers: the release, its mirror, a kernel package."""

import platform
from pathlib import Path

from tests.vm.commands import LabError, run

KERNEL = "linux-image-cloud-amd64"  # for virtual machines: without drivers of real ones
ASK_S = 60.0
FETCH_S = 300.0
TARGETS = "$(REPO_URI)\t$(CODENAME)\t$(COMPONENT)"


def release() -> str:
    """Give the code name of the running Debian."""
    name = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    if not name:
        raise LabError("/etc/os-release names no VERSION_CODENAME: the lab needs a Debian release")
    return name


def mirror(codename: str) -> str:
    """Give the address that apt uses for this release."""
    listed = run(
        ["apt-get", "indextargets", "--format", TARGETS, "Created-By: Packages"], timeout_s=ASK_S
    )
    for line in listed.splitlines():
        address, name, component = line.split("\t")
        if (name, component) == (codename, "main"):
            return address
    raise LabError(f"apt knows no source for {codename} main: see /etc/apt/sources.list")


def proxy() -> dict[str, str]:
    """Give apt's proxy as environment variables, for programs that do not read apt's settings."""
    found = {}
    for scheme in ("http", "https"):
        line = run(
            ["apt-config", "shell", "value", f"Acquire::{scheme}::Proxy"], timeout_s=ASK_S
        ).strip()
        value = line.removeprefix("value=").strip("'")
        if value and value != "DIRECT":
            found[f"{scheme}_proxy"] = value
    return found


def kernel_package() -> str:
    """Give the name of the package that holds the newest kernel, version included."""
    depends = run(
        ["apt-cache", "--no-recommends", "depends", "--important", KERNEL], timeout_s=ASK_S
    )
    for line in depends.splitlines():
        kind, _, name = line.strip().partition(": ")
        if kind == "Depends" and name.startswith("linux-image-"):
            return name
    raise LabError(f"apt knows no {KERNEL}: run `apt-get update`")


def unpack_kernel(package: str, folder: Path) -> None:
    """Fetch the package and lay its files out below `folder`, without running its scripts."""
    folder.mkdir()
    run(["apt-get", "-q", "download", package], cwd=folder, timeout_s=FETCH_S)
    (archive,) = folder.glob("*.deb")
    run(["dpkg-deb", "-x", archive, folder], timeout_s=ASK_S)
    archive.unlink()


def bootstrap(tree: Path, codename: str, packages: tuple[str, ...]) -> None:
    """Install a minimal Debian into `tree`."""
    run(
        [
            "debootstrap",
            "--variant=minbase",
            "--components=main",
            f"--include={','.join(packages)}",
            codename,
            tree,
            mirror(codename),
        ],
        timeout_s=2 * FETCH_S,
        env=proxy() | {"DEBIAN_FRONTEND": "noninteractive"},
    )
