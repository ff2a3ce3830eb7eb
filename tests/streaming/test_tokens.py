"""The token table."""

from __future__ import annotations

import base64

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import ResourceExhausted
from criwist.streaming.tokens import MAX_TOKENS, TOKEN_LIFE, TokenTable, new_token


class TokenTests(SynchronousTestCase):
    """A token is good once, for a minute."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.tokens: TokenTable[str] = TokenTable(self.clock)

    def test_good_once(self) -> None:
        """The first use gets the request, the second nothing."""
        token = self.tokens.insert("request")
        self.assertEqual([self.tokens.take(token), self.tokens.take(token)], ["request", None])

    def test_good_for_a_minute(self) -> None:
        """It is good until its minute is over, and not after."""
        first, second = self.tokens.insert("first"), self.tokens.insert("second")
        self.clock.advance(TOKEN_LIFE - 1)
        self.assertEqual(self.tokens.take(first), "first")
        self.clock.advance(1)
        self.assertEqual(self.tokens.take(second), None)

    def test_unknown(self) -> None:
        """What was never given out is good for nothing."""
        self.assertEqual(self.tokens.take("x"), None)

    def test_a_thousand_in_flight(self) -> None:
        """One too many is refused; used and expired ones make room."""
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
        """Tokens come from where the caller says."""
        self.assertEqual(TokenTable[str](self.clock, iter("abc").__next__).insert("x"), "a")

    def test_unguessable(self) -> None:
        """A token has 256 bits, in characters of a URL path."""
        token = new_token()
        self.assertEqual(len(base64.urlsafe_b64decode(token + "=")), 32)
        self.assertNotEqual(token, new_token())
