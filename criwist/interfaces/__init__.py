"""The seams: the interfaces through which the core uses its adapters, and the values that cross them.

Each interface states the thread on which its methods are called.  Almost all of them are called on the reactor's thread
only.  A thread of gRPC reads memory: snapshots of the cache, ``IDocker.facts``, ``IPodNetwork.condition`` and
``condition_pending``.  ``tests/rpc/test_threads.py`` holds this for every RPC.
"""

from __future__ import annotations
