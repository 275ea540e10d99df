"""Whether two sightings of a service are the same run of it."""

from leakguard.core.sample import Incarnation

RunKey = tuple[str, str] | tuple[str, int, int]


def run_key(seen: Incarnation) -> RunKey:
    """Give what is equal for every sighting of one run, and for no other run.

    A manager's own identity of the run (a container id) counts where there is one, else pid and
    start time. No run outlives a boot: a container keeps its id over one, and pids come again.
    """
    if seen.token:
        return seen.boot_id, seen.token
    return seen.boot_id, seen.pid, seen.start_ticks


def is_same_run(one: Incarnation | None, other: Incarnation | None) -> bool:
    """Tell whether both are the same run, or both none."""
    if one is None or other is None:
        return one is other
    return run_key(one) == run_key(other)
