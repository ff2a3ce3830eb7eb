"""IPodNetwork, thrice: CNI, Docker's bridge, the host's own network."""

from __future__ import annotations
