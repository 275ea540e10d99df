"""Find a service in a status by its name; a typo is answered with the right names."""

from http import HTTPStatus

from leakguard.core.status import ServiceStatus, Status
from leakguard.web.base import HttpError


def find_service(status: Status, name: str) -> ServiceStatus:
    """Give the service called `name`, or raise the HttpError that names the nearest ones."""
    for service in status.services:
        if service.name == name:
            return service
    names = [service.name for service in status.services]
    near = _near(name, names)
    hint = f": did you mean {' or '.join(near)}?" if near else _all(names)
    raise HttpError(HTTPStatus.NOT_FOUND, f"no service {name!r}{hint}", did_you_mean=near)


def _near(name: str, names: list[str]) -> list[str]:
    if matches := [known for known in names if known.partition(":")[0] == name]:
        return matches[:3]
    import difflib  # only for wrong names

    return difflib.get_close_matches(name, names, n=3)


def _all(names: list[str]) -> str:
    if not names:
        return ": none is guarded"
    more = ", …" if len(names) > 10 else ""
    return f" (there are: {', '.join(names[:10])}{more})"
