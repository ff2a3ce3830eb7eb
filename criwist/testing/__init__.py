"""Doubles shipped for tests, each verified by the contract tests of the real thing."""

from __future__ import annotations
