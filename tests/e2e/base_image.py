"""Make a Docker base image out of the running machine's Python, without a network.

The image holds this interpreter with its standard library and pip under /usr/local, a shell, the
few tools that a Dockerfile needs, and the shared libraries of all of them.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pip

TOOLS = ("sh", "cat", "chmod", "env", "ls", "mkdir", "rm", "sed", "sleep")
LEFT_OUT = {"test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages"}
RUNTIMES = (
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libstdc++.so.6",
    "libutil.so.1",
)
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
LIBRARY = re.compile(r"(?:=>\s*)?(/\S+)\s+\(0x")


class Image:
    """The archive being written; parent folders are added where they are missing."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._folders: set[str] = {"."}

    def folder(self, place: str, mode: int = 0o755) -> None:
        """Add a folder; without an entry of its own the engine would keep it to root."""
        self._parent(place)
        self._folders.add(place)
        entry = tarfile.TarInfo(place)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._tar.addfile(entry)

    def link(self, place: str, to: str) -> None:
        """Add a symbolic link."""
        self._parent(place)
        entry = tarfile.TarInfo(place)
        entry.type, entry.linkname = tarfile.SYMTYPE, to
        self._tar.addfile(entry)

    def data(self, place: str, content: bytes, mode: int = 0o644) -> None:
        """Add a file with this content."""
        self._parent(place)
        entry = tarfile.TarInfo(place)
        entry.size, entry.mode = len(content), mode
        self._tar.addfile(entry, io.BytesIO(content))

    def file(self, place: str, file: Path) -> None:
        """Add a copy of a file of this machine."""
        self.data(place, file.read_bytes(), 0o755 if os.access(file, os.X_OK) else 0o644)

    def tree(self, place: str, folder: Path) -> None:
        """Add a copy of a folder, less what a runtime does not need."""
        for file in _files(folder):
            self.file(f"{place}/{file.relative_to(folder)}", file)

    def _parent(self, place: str) -> None:
        parent = str(Path(place).parent)
        if parent not in self._folders:
            self.folder(parent)


def write(tar_path: Path) -> None:
    """Write the file system of the image as a tar archive for `docker import`."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = Path(sys.base_prefix, "bin", version).resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    tools = [Path(found) for tool in TOOLS if (found := shutil.which(tool))]
    with tarfile.open(tar_path, "w") as tar:
        image = Image(tar)
        image.folder("tmp", 0o1777)
        for folder in ("bin", "lib", "lib64"):  # merged as everywhere today
            image.folder(f"usr/{folder}")
            image.link(folder, f"usr/{folder}")
        image.data("etc/passwd", PASSWD)
        image.file(f"usr/local/bin/{version}", interpreter)
        for name in ("python3", "python"):
            image.link(f"usr/local/bin/{name}", version)
        for tool in tools:
            image.file(f"usr/bin/{tool.name}", tool.resolve())
        image.tree(f"usr/local/lib/{version}", stdlib)
        image.tree(f"usr/local/lib/{version}/pip", Path(pip.__file__).parent)
        extensions = sorted((stdlib / "lib-dynload").glob("*.so"))
        for library in sorted(_libraries([interpreter, *tools, *extensions]) | _runtimes()):
            image.file(_place(library), library.resolve())


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """Find what the dynamic linker would load for these files."""
    found: set[Path] = set()
    for program in programs:
        answer = subprocess.run(
            ["ldd", str(program)], capture_output=True, text=True, check=False, timeout=30
        )
        found.update(Path(path) for path in LIBRARY.findall(answer.stdout))
    return found


def _runtimes() -> set[Path]:
    """Find what every binary wheel may count on (PEP 600), though the interpreter does not."""
    tops = (Path(top) for top in ("/lib", "/usr/lib", "/usr/lib64"))
    places = [place for top in tops for place in (top, *top.glob("*-linux-gnu*"))]
    found = {name: [p / name for p in places if (p / name).exists()] for name in RUNTIMES}
    return {paths[0] for paths in found.values() if paths}


def _place(library: Path) -> str:
    """Give the place in the image: a system library keeps its own, any other goes to usr/lib."""
    path = str(library)
    if path.startswith(("/lib", "/usr/lib")):
        return "usr/" + path.removeprefix("/").removeprefix("usr/")
    return f"usr/lib/{library.name}"


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if name not in LEFT_OUT and name != "__pycache__" and not name.startswith("config-")
        )
        yield from (Path(where, name) for name in sorted(names))
