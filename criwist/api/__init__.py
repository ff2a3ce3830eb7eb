"""CRI messages and services, generated from our own runtime/v1/api.proto."""

from __future__ import annotations
