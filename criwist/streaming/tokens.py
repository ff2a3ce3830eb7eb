"""Tokens: the secret part of a URL that an RPC returns, and the request that the URL stands for.

The URL is all that a client needs, so the token in it is a secret: 256 bits, valid once, for a minute.  A client that
uses it later than that, or a second time, learns nothing, not even that the token was valid.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from criwist.errors import ResourceExhausted

#: Seconds until an unused token expires.  A kubelet dials at once.
TOKEN_LIFE: Final = 60.0
#: Tokens that wait for their clients.  A caller that asks for more without dialling is faulty or hostile; it gets
#: RESOURCE_EXHAUSTED until a token is used or expires.
MAX_TOKENS: Final = 1000

_T = TypeVar("_T")


def new_token() -> str:
    """Return a secret of 256 bits for a URL path: 43 characters."""
    return secrets.token_urlsafe(32)


@define(eq=False)
class TokenTable(Generic[_T]):
    """Requests that wait for their clients.

    :param clock: tokens expire by its time.
    :param make_token: the source of tokens.
    """

    _clock: IReactorTime
    _make_token: Callable[[], str] = new_token
    #: By token, oldest first: every token lives equally long.
    _waiting: dict[str, tuple[float, _T]] = field(factory=dict, init=False)

    def __len__(self) -> int:
        self._expire()
        return len(self._waiting)

    def insert(self, request: _T) -> str:
        """Keep *request* and return its token.

        :raises ResourceExhausted: MAX_TOKENS are in flight.
        """
        if len(self) >= MAX_TOKENS:
            raise ResourceExhausted(f"{MAX_TOKENS} streaming requests wait for their clients; try again later")
        token = self._make_token()
        self._waiting[token] = (self._clock.seconds() + TOKEN_LIFE, request)
        return token

    def take(self, token: str) -> _T | None:
        """Return the request of *token*, and invalidate the token.  None: the token is not valid."""
        self._expire()
        found = self._waiting.pop(token, None)
        return None if found is None else found[1]

    def _expire(self) -> None:
        now = self._clock.seconds()
        while self._waiting:
            token = next(iter(self._waiting))
            if self._waiting[token][0] > now:
                return
            del self._waiting[token]
