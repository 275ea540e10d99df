"""The root file system: a minimal Debian with systemd, a kernel, and the unit of the lab."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.vm import debian
from tests.vm.commands import LabError, run

GUEST = Path(__file__).with_name("guest")
PACKAGES = (
    "dbus",
    "dbus-user-session",
    "kmod",
    "libpam-systemd",
    "polkitd",
    "procps",
    "python3",
    "systemd",
    "systemd-sysv",
    "udev",
    "util-linux",
)
MODULES = ("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_console", "ext4", "crc32c_generic")
MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "systemd-networkd.service",
    "systemd-timesyncd.service",
    "systemd-update-utmp.service",
)
LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt")
SPARE_MIB = 512
ELF_HEAD_BYTES = 4096
SMALL_S = 60.0
IMAGE_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What does not change with the checkout; `tree` is the root file system as a folder."""

    kernel: Path
    initramfs: Path
    root: Path
    tree: Path


def at(folder: Path) -> Base:
    """Name the parts below `folder`."""
    return Base(
        kernel=folder / "vmlinuz",
        initramfs=folder / "initramfs",
        root=folder / "root.img",
        tree=folder / "tree",
    )


def make(folder: Path, codename: str, kernel_package: str) -> None:
    """Make all parts below `folder`, which takes about a minute and needs root."""
    base = at(folder)
    unpacked = folder / "kernel"
    debian.unpack_kernel(kernel_package, unpacked)
    debian.bootstrap(base.tree, codename, PACKAGES)
    (boot,) = (unpacked / "boot").glob("vmlinuz-*")
    boot.rename(base.kernel)
    version = boot.name.removeprefix("vmlinuz-")
    modules = base.tree / "usr/lib/modules" / version
    modules.parent.mkdir(exist_ok=True)
    (found,) = [path for path in unpacked.glob("**/modules/*") if path.name == version]
    found.rename(modules)
    run(["chroot", base.tree, "depmod", version], timeout_s=SMALL_S)
    shutil.rmtree(unpacked)
    _arrange(base.tree)
    _make_initramfs(base, modules, folder / "early")
    make_image(base.root, base.tree, spare_mib=SPARE_MIB)


def make_image(image: Path, tree: Path, *, spare_mib: int) -> None:
    """Write an ext4 file system with the content of `tree` into a sparse file."""
    used = run(["du", "--summarize", "--block-size=1M", tree], timeout_s=SMALL_S)
    size_mib = int(int(used.split()[0]) * 1.2) + spare_mib
    image.unlink(missing_ok=True)
    file_system: list[str | Path] = ["-t", "ext4", "-O", "^has_journal", "-d", tree]
    run(["mke2fs", "-q", "-F", *file_system, image, f"{size_mib}M"], timeout_s=IMAGE_S)


def _arrange(tree: Path) -> None:
    for place in LEFT_OUT:
        shutil.rmtree(tree / place, ignore_errors=True)
    units = tree / "etc/systemd/system"
    for unit in MASKED:
        masked = units / unit
        masked.unlink(missing_ok=True)
        masked.symlink_to("/dev/null")
    for unit in ("lab.service", "lab.target"):
        shutil.copyfile(GUEST / unit, units / unit)
    settings = {
        "etc/fstab": "",
        "etc/hostname": "lab\n",
        "etc/machine-id": "1ea" + "0" * 28 + "b\n",
        "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\n",
        "usr/lib/python3/dist-packages/lab.pth": "/lab\n/lab/site\n",
    }
    for place, text in settings.items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).write_text(text, "ascii")
    (tree / "lab").mkdir()
    run(["chroot", tree, "useradd", "--uid", "1000", "--create-home", "lab"], timeout_s=SMALL_S)


def _make_initramfs(base: Base, modules: Path, early: Path) -> None:
    """Pack busybox, the first program and the drivers of the disks into a cpio archive."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise LabError("no busybox: apt install busybox-static")
    if b"/ld-linux" in Path(busybox).read_bytes()[:ELF_HEAD_BYTES]:
        raise LabError(f"{busybox} needs shared libraries: apt install busybox-static")
    (early / "bin").mkdir(parents=True)
    (early / "modules.d").mkdir()
    shutil.copy(busybox, early / "bin/busybox")
    shutil.copy(GUEST / "init", early / "init")
    (early / "init").chmod(0o755)
    order = _in_loading_order(modules / "modules.dep")
    for place in order:
        _copy_module(modules / place, early / "modules.d")
    names = [Path(place).name.removesuffix(".xz") for place in order]
    (early / "modules").write_text("".join(f"{name}\n" for name in names), "ascii")
    files = "".join(f"{path.relative_to(early)}\n" for path in sorted(early.rglob("*")))
    run(
        ["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0", f"--file={base.initramfs}"],
        cwd=early,
        text_in=files,
        timeout_s=SMALL_S,
    )
    shutil.rmtree(early)


def _in_loading_order(dependencies: Path) -> list[str]:
    """List the files of MODULES after what they need; those built into the kernel have none."""
    needs = {}
    for line in dependencies.read_text("ascii").splitlines():
        place, _, rest = line.partition(":")
        needs[Path(place).name.partition(".")[0].replace("-", "_")] = (place, rest.split())
    order: list[str] = []
    for name in MODULES:
        if name in needs:
            place, before = needs[name]
            order += [path for path in [*reversed(before), place] if path not in order]
    return order


def _copy_module(module: Path, folder: Path) -> None:
    shutil.copy(module, folder)
    if module.suffix == ".xz":  # from Debian 13 on; busybox loads them unpacked
        run(["xz", "--decompress", folder / module.name], timeout_s=SMALL_S)
