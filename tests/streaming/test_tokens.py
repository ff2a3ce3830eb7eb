"""The token table."""

from __future__ import annotations

import base64

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import ResourceExhausted
from criwist.streaming.tokens import MAX_TOKENS, TOKEN_LIFE, TokenTable, new_token


class TokenTests(SynchronousTestCase):
    """A token is valid once, for a minute."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.tokens: TokenTable[str] = TokenTable(self.clock)

    def test_valid_once(self) -> None:
        """The first use gets the request, the second gets None."""
        token = self.tokens.insert("request")
        self.assertEqual([self.tokens.take(token), self.tokens.take(token)], ["request", None])

    def test_valid_for_a_minute(self) -> None:
        """A token is valid until its minute is over, and not after."""
        first, second = self.tokens.insert("first"), self.tokens.insert("second")
        self.clock.advance(TOKEN_LIFE - 1)
        self.assertEqual(self.tokens.take(first), "first")
        self.clock.advance(1)
        self.assertEqual(self.tokens.take(second), None)

    def test_unknown(self) -> None:
        """A token that the table has not issued gets None."""
        self.assertEqual(self.tokens.take("x"), None)

    def test_a_thousand_in_flight(self) -> None:
        """One token too many is refused; used and expired tokens make room."""
        tokens = [self.tokens.insert("x") for _ in range(MAX_TOKENS)]
        with self.assertRaises(ResourceExhausted):
            self.tokens.insert("x")
        self.tokens.take(tokens[500])
        self.tokens.insert("x")
        with self.assertRaises(ResourceExhausted):
            self.tokens.insert("x")
        self.clock.advance(TOKEN_LIFE)
        self.tokens.insert("x")
        self.assertEqual(len(self.tokens), 1)

    def test_the_source_is_a_parameter(self) -> None:
        """The caller may pass its own source of tokens."""
        self.assertEqual(TokenTable[str](self.clock, iter("abc").__next__).insert("x"), "a")

    def test_unguessable(self) -> None:
        """A token has 256 bits, in characters of a URL path."""
        token = new_token()
        self.assertEqual(len(base64.urlsafe_b64decode(token + "=")), 32)
        self.assertNotEqual(token, new_token())
