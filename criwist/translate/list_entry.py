"""An item of the engine's list of containers, in the form of an inspected container.

An engine may list a container that it cannot inspect: one whose removal failed half-way, or whose layer is gone.  The
list's item is enough to show the container, so that kubelet removes it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from criwist.interfaces.engine import JSONObject
from criwist.translate.engine_json import member, members, number, text, text_map, texts

#: The states in which a container has a process.
_RUNNING = frozenset({"running", "paused", "restarting"})
#: The last second that RFC 3339 can spell.
_LATEST = 253_402_300_799
#: ``Exited (137) 5 minutes ago``: the only place where a list has the exit code.
_EXITED = re.compile(r"Exited \((\d+)\)")


def as_inspected(listed: JSONObject) -> dict[str, Any]:
    """Return an item of ``/containers/json`` in the form of an inspected container; unknown members are absent.

    ``Created`` is in whole seconds, and the exit code is part of a text for people.  If the item has no exit code, the
    status is ``unknown``, not an end that criwist did not see.
    """
    status = text(listed, "State")
    exited = _EXITED.match(text(listed, "Status")) if status == "exited" else None
    if exited is None and status not in _RUNNING | {"created"}:
        status = "unknown"
    created = datetime.fromtimestamp(min(max(number(listed, "Created"), 0), _LATEST), UTC)
    return {
        "Id": text(listed, "Id"),
        "Name": next(iter(texts(listed, "Names")), ""),
        "Created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "Image": text(listed, "ImageID"),
        "State": {"Status": status, "Running": status in _RUNNING, "ExitCode": int(exited[1]) if exited else 0},
        "Config": {"Image": text(listed, "Image"), "Labels": text_map(listed, "Labels")},
        "HostConfig": {"NetworkMode": text(member(listed, "HostConfig"), "NetworkMode")},
        "Mounts": members(listed, "Mounts"),
    }
