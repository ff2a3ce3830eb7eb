"""Tells twistd of criwist."""

from __future__ import annotations

from twisted.application.service import ServiceMaker

criwist = ServiceMaker("criwist", "criwist.service", "Kubernetes CRI for Docker Engine", "criwist")
