"""Times of the engine as times of the CRI.

The engine writes RFC 3339 with up to nine digits of a second, in UTC, and ``0001-01-01T00:00:00Z`` for an event that
has not happened.  The CRI counts nanoseconds since the UNIX epoch, and has 0 for such an event.
"""

from __future__ import annotations

import re
from datetime import date

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH = date(1970, 1, 1).toordinal()
_NANOSECONDS = 10**9


def nanoseconds(rfc3339: str) -> int:
    """Return nanoseconds since the epoch; 0 for ``""``, for the engine's "never" and for any time before the epoch.

    Digits beyond the ninth are cut off.

    :raises ValueError: the text is not an RFC 3339 time.
    """
    if not rfc3339:
        return 0
    match = _RFC3339.fullmatch(rfc3339)
    if match is None:
        raise ValueError(f"not an RFC 3339 time: {rfc3339!r}")
    year, month, day, hour, minute, second = (int(match[group]) for group in range(1, 7))
    if hour > 23 or minute > 59 or second > 60:  # 60: a leap second
        raise ValueError(f"not a time of day: {rfc3339!r}")
    days = date(year, month, day).toordinal() - _EPOCH
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second - _offset(match[8], match[9], match[10])
    fraction = int((match[7] or "")[:9].ljust(9, "0"))
    return max(0, seconds * _NANOSECONDS + fraction)


def _offset(sign: str | None, hours: str, minutes: str) -> int:
    """Seconds that the local time is ahead of UTC."""
    if sign is None:
        return 0
    ahead = (int(hours) * 60 + int(minutes)) * 60
    return ahead if sign == "+" else -ahead
