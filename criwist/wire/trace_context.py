"""W3C's Trace Context: which trace the caller of an RPC writes.

A kubelet with tracing sends ``traceparent`` with each call of the CRI (https://www.w3.org/TR/trace-context/)::

    00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
    version, trace id, id of the caller's span, flags

The header comes from the client, so only its exact form is accepted.
"""

from __future__ import annotations

import re
from typing import Final

#: The name of the header; gRPC's metadata has names in lower case.
TRACEPARENT: Final = "traceparent"

_FORM: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})", re.ASCII)
#: The flag of a trace that the caller records.
_SAMPLED: Final = 0x01


def recorded_trace(traceparent: str) -> str | None:
    """Return the trace id, 32 hexadecimal digits, of a trace that the caller records.

    None for a header that is malformed or of another version than 00, and for a trace that is not sampled: nobody could
    look it up.
    """
    found = _FORM.fullmatch(traceparent)
    if found is None or not int(found[2], 16) & _SAMPLED:
        return None
    return found[1]
