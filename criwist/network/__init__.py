"""The three providers of IPodNetwork: CNI, Docker's bridge, the host's own network."""

from __future__ import annotations
