"""The state of the node's runtime: Version, Status, RuntimeConfig.

All are answered from memory, so a kubelet gets its answer at once.  While Docker is unreachable, Status has a condition
that is false, and is no error.
"""

from __future__ import annotations

import json
from typing import Any

import attrs
from attrs import define

from criwist import __version__
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.config import Config
from criwist.core.state.cache import Cache
from criwist.core.state.engine_profile import EngineProfile
from criwist.core.state.not_ready import NotReady
from criwist.interfaces.engine import EngineFacts, IDocker
from criwist.interfaces.network import IPodNetwork

#: The version of the kubelet's runtime interface that VersionResponse has always had.
KUBELET_API_VERSION = "0.1.0"
#: A kubelet puts it before each container id: ``docker://<id>``.  It must stay the older shims' name.
RUNTIME_NAME = "docker"
#: Seconds that Status waits at most for the first check of the network, which ends by itself before.
_NETWORK_WITHIN = 30.0
#: Another name of the default runtime, which the older shims accepted.
DEFAULT_ALIAS = "docker"


@define(eq=False)
class NodeStatus:
    """Answers the RPCs about the node.  Plain methods may be called from any thread."""

    _config: Config
    _docker: IDocker
    _engine: EngineProfile
    _cache: Cache
    _network: IPodNetwork

    def version(self, api_version: str) -> pb.VersionResponse:
        """Return the versions of Docker and of the CRI, the latter as *api_version*.

        :raises Unavailable: Docker has never answered, so its version is not known.
        """
        return pb.VersionResponse(
            version=KUBELET_API_VERSION,
            runtime_name=RUNTIME_NAME,
            runtime_version=self._engine.facts.version,
            runtime_api_version=api_version,
        )

    def status(self) -> pb.StatusResponse:
        """Return the conditions with reasons, RuntimeReady and NetworkReady, and the runtime handlers.

        :raises NotReady: right after the start, before the first check of the network.  A kubelet takes the node out of
            service when NetworkReady is false once.
        """
        if self._network.condition_pending:
            raise NotReady("the state of the network", self._network.wait_for_condition, _NETWORK_WITHIN)
        facts: EngineFacts | None = self._docker.facts
        return pb.StatusResponse(
            status=pb.RuntimeStatus(conditions=[self._runtime_ready(), self._network_ready()]),
            runtime_handlers=_handlers(facts) if facts else (),
            features=pb.RuntimeFeatures(supplemental_groups_policy=True),
        )

    def reasons_not_to_be_ready(self) -> list[str]:
        """Return a sentence for each condition that is false; none if pods can be started."""
        try:
            conditions = self.status().status.conditions
        except NotReady as error:
            return [str(error)]
        return [f"{one.type}: {one.reason}: {one.message}" for one in conditions if not one.status]

    async def info(self) -> dict[str, str]:
        """Return the details of a verbose Status: name to JSON.  On the reactor's thread."""
        facts: EngineFacts | None = self._docker.facts
        info = self._details(facts)
        return {name: json.dumps(value, default=str, sort_keys=True) for name, value in info.items()}

    def runtime_config(self) -> pb.RuntimeConfigResponse:
        """Return the engine's cgroup driver.

        :raises Unavailable: Docker has never answered.
        """
        driver = pb.SYSTEMD if self._engine.facts.cgroup_driver == "systemd" else pb.CGROUPFS
        return pb.RuntimeConfigResponse(linux=pb.LinuxRuntimeConfiguration(cgroup_driver=driver))

    def _runtime_ready(self) -> pb.RuntimeCondition:
        disconnect_reason = self._cache.disconnect_reason
        if self._cache.snapshot.fresh:
            return pb.RuntimeCondition(type="RuntimeReady", status=True)
        return pb.RuntimeCondition(
            type="RuntimeReady",
            status=False,
            reason="DockerIsAway" if disconnect_reason else "DockerIsBeingRead",
            message=disconnect_reason or "connected to Docker, reading its containers",
        )

    def _network_ready(self) -> pb.RuntimeCondition:
        condition = self._network.condition()
        return pb.RuntimeCondition(
            type="NetworkReady", status=condition.ready, reason=condition.reason, message=condition.message
        )

    def _details(self, facts: EngineFacts | None) -> dict[str, Any]:
        return {
            "criwist": {"version": __version__},
            "config": attrs.asdict(self._config),
            "engine": _jsonable(facts) if facts else None,
            "oomScoreFloor": self._engine.oom_score_floor,
            "network": dict(self._network.verbose()),
            "sandboxes": len(self._cache.snapshot.sandboxes),
            "containers": len(self._cache.snapshot.containers),
        }


def _handlers(facts: EngineFacts) -> list[pb.RuntimeHandler]:
    default = facts.runtimes.get(facts.default_runtime)
    named = {"": default, DEFAULT_ALIAS: default} | dict(facts.runtimes)
    return [
        pb.RuntimeHandler(
            name=name,
            features=pb.RuntimeHandlerFeatures(
                recursive_read_only_mounts=bool(runtime and runtime.recursive_read_only),
                user_namespaces=False,  # Docker has one mapping for the whole daemon, none for a pod
            ),
        )
        for name, runtime in sorted(named.items())
    ]


def _jsonable(facts: EngineFacts) -> dict[str, Any]:
    document = attrs.asdict(facts)
    document["security"] = sorted(facts.security)
    document["api_version"] = ".".join(map(str, facts.api_version))
    return document
