"""The adapters and services that the RPCs of sandboxes use."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from attrs import frozen

from criwist.core.sandboxes.pause_image import PauseImage
from criwist.core.state.cache import Cache
from criwist.core.state.engine_profile import EngineProfile
from criwist.core.state.pod_networks import PodNetworks
from criwist.interfaces.engine import IDocker
from criwist.interfaces.network import IResolvConfs
from criwist.interfaces.records import ISandboxRecords
from criwist.locks import Locks


@frozen(kw_only=True, eq=False)
class SandboxDependencies:
    """What RunPodSandbox, StopPodSandbox and RemovePodSandbox have in common."""

    docker: IDocker
    cache: Cache
    engine: EngineProfile
    records: ISandboxRecords
    networks: PodNetworks
    locks: Locks
    pause_image: PauseImage
    #: Removes a container of a pod with all that belongs to it.
    remove_container: Callable[[str], Coroutine[Any, Any, None]]
    resolv_confs: IResolvConfs
