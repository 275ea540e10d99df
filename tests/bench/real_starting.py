"""Command lines of the real services, by runtime."""

import sys

from tests.bench.real_recorder import SERVICES


def python(module: str, *words: object) -> tuple[str, ...]:
    """Start a Python service of the repository."""
    return (sys.executable, "-m", f"tests.workloads.services.{module}", "{port}", *map(str, words))


def node(file: str, *words: object, heap_mib: int) -> tuple[str, ...]:
    """Start a Node service."""
    return ("node", f"--max-old-space-size={heap_mib}", str(SERVICES / file), "{port}",
            *map(str, words))  # fmt: skip


def java(name: str, *words: object, heap_mib: int, collector: str) -> tuple[str, ...]:
    """Start a Java service with a collector and -Xmx."""
    return ("java", f"-XX:+Use{collector}GC", f"-Xmx{heap_mib}m", "-XX:TieredStopAtLevel=1",
            "-cp", "{built}", name, "{port}", *map(str, words))  # fmt: skip


def redis(*options: str) -> tuple[str, ...]:
    """Start a Redis of our own that writes nothing to disk."""
    return ("redis-server", "--bind", "127.0.0.1", "--port", "{port}", "--dir", "{folder}",
            "--save", "", "--appendonly", "no", *options)  # fmt: skip


def gunicorn(trace_bytes: int, *options: str) -> tuple[str, ...]:
    """Start two workers of gunicorn."""
    return ("gunicorn", "--workers", "2", "--bind", "127.0.0.1:{port}", "--chdir", str(SERVICES),
            *options, f"gunicorn_app:make({trace_bytes})")  # fmt: skip
