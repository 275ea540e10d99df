"""Leak: documents whose nodes know their parents, in a process that turned the cycle collector off.

`PORT DOCUMENT_BYTES`
"""

import gc
import random
import sys
from dataclasses import dataclass, field
from typing import Optional

from tests.workloads.services.serving import payload, serve

NODES = 8


@dataclass(slots=True)
class Node:
    """A part of a document; parent and children hold each other."""

    text: bytes
    parent: Optional["Node"] = None
    children: list["Node"] = field(default_factory=list)


def parse(size: int) -> None:
    """Build a document of about so many bytes and drop it."""
    root = Node(text=payload(size / NODES, random.random))
    for _ in range(NODES - 1):
        root.children.append(Node(text=payload(size / NODES, random.random), parent=root))


def main() -> None:
    """Serve for ever."""
    port, size = map(int, sys.argv[1:])
    gc.disable()
    serve(port, lambda _: parse(size))


if __name__ == "__main__":
    main()
