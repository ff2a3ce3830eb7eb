"""Inspected containers as the CRI's: ``criwist.translate.status``, ``outcomes``, ``mount_status``, ``engine_json``.

``engine-20.10.json`` has responses of Docker Engine 20.10.24 for one container and for several ends of containers.
"""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist import labels
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import CriwistError, EngineFailure, NotFound
from criwist.interfaces.network import PodNetwork, PodNetworkRequest
from criwist.interfaces.records import SandboxRecord
from criwist.translate.mount_status import mount_status
from criwist.translate.outcomes import outcome
from criwist.translate.status import (
    container_item,
    container_status,
    sandbox_addresses,
    sandbox_item,
    sandbox_ready,
    sandbox_status,
)

ENGINE: dict[str, Any] = json.loads((Path(__file__).parent / "engine-20.10.json").read_text("utf-8"))
IMAGE_ID = ENGINE["image"]["Id"]


def inspected(state: str = "running") -> dict[str, Any]:
    """A fresh copy of the container, in one of the states."""
    answer: dict[str, Any] = copy.deepcopy(ENGINE["running"])
    answer |= copy.deepcopy(ENGINE["states"][state])
    return answer


def pause(**host_config: object) -> dict[str, Any]:
    """A running pause container."""
    answer = inspected()
    answer["Name"] = "/k8s_POD_web-0_default_6f1b-22_1"
    answer["Config"]["Labels"] = labels.sandbox_labels(
        {"app": "web"}, {"note": "n"}, name="k8s_POD_web-0_default_6f1b-22_1"
    )
    answer["HostConfig"] |= host_config
    return answer


def record(**changes: Any) -> SandboxRecord:
    """A sandbox's record."""
    values: dict[str, Any] = {
        "sandbox_id": ENGINE["running"]["Id"],
        "request": PodNetworkRequest(ENGINE["running"]["Id"], "web-0", "default", "6f1b-22"),
        "network_plugin": "cni",
        "network": PodNetwork(("fd00::7", "10.88.0.7")),
        "runtime_handler": "kata",
    }
    return SandboxRecord(**(values | changes))


class OutcomeTests(SynchronousTestCase):
    """States, reasons and times."""

    def test_created(self) -> None:
        """A container that has not started has no times except its creation's."""
        came_to = outcome(inspected("created"))
        self.assertEqual((came_to.state, came_to.reason), (pb.CONTAINER_CREATED, ""))
        self.assertGreater(came_to.created_at, 0)
        self.assertEqual((came_to.started_at, came_to.finished_at), (0, 0))

    def test_running(self) -> None:
        """A running container has a start and no end."""
        came_to = outcome(inspected("running"))
        self.assertEqual(came_to.state, pb.CONTAINER_RUNNING)
        self.assertEqual((came_to.started_at, came_to.finished_at), (1_795_443_272_844_458_887, 0))

    def test_paused_and_restarting_run(self) -> None:
        """A paused container runs, and so does one that the engine restarts."""
        self.assertEqual(outcome(inspected("paused")).state, pb.CONTAINER_RUNNING)
        restarting = inspected("failed")
        restarting["State"]["Status"] = "restarting"
        self.assertEqual(outcome(restarting).state, pb.CONTAINER_RUNNING)
        self.assertEqual(outcome(restarting).finished_at, 0)

    def test_ends(self) -> None:
        """Exited containers have a reason: completed, error, or out of memory."""
        for state, reason, code in (
            ("completed", "Completed", 0),
            ("failed", "Error", 3),
            ("oom_killed", "OOMKilled", 137),
        ):
            came_to = outcome(inspected(state))
            self.assertEqual((came_to.state, came_to.reason, came_to.exit_code), (pb.CONTAINER_EXITED, reason, code))
            self.assertGreaterEqual(came_to.finished_at, came_to.started_at)

    def test_ended_before_it_started(self) -> None:
        """If the engine records the start of a short process after its end, the end does not come before the start."""
        state = ENGINE["states"]["oom_killed"]["State"]
        answer = inspected() | {
            "State": state | {"StartedAt": "2024-01-01T00:00:00.000450Z", "FinishedAt": "2024-01-01T00:00:00Z"}
        }
        came_to = outcome(answer)
        self.assertEqual(came_to.finished_at, came_to.started_at)

    def test_cannot_run(self) -> None:
        """A start that the runtime refused is an end, at the time of creation, with the engine's text."""
        came_to = outcome(inspected("cannot_run"))
        self.assertEqual((came_to.state, came_to.reason), (pb.CONTAINER_EXITED, "ContainerCannotRun"))
        self.assertEqual((came_to.started_at, came_to.finished_at), (came_to.created_at, came_to.created_at))
        self.assertEqual(came_to.exit_code, 127)
        self.assertIn('"/nonexistent": stat /nonexistent: no such file', came_to.message)

    def test_dead_and_removing(self) -> None:
        """A container that is being removed keeps its state."""
        for status in ("dead", "removing"):
            for before, state in (("failed", pb.CONTAINER_EXITED), ("created", pb.CONTAINER_CREATED)):
                answer = inspected(before)
                answer["State"]["Status"] = status
                self.assertEqual(outcome(answer).state, state)

    def test_unknown(self) -> None:
        """A state that criwist does not know is UNKNOWN, and so is an absent one."""
        for state in ({"Status": "dreaming"}, {}, None):
            self.assertEqual(outcome(inspected() | {"State": state}).state, pb.CONTAINER_UNKNOWN)

    def test_bad_time(self) -> None:
        """A malformed time is an EngineFailure, and the error names the container."""
        error = self.assertRaises(EngineFailure, outcome, inspected() | {"Created": "yesterday"})
        self.assertIn(ENGINE["running"]["Id"], str(error))


class MountedTests(SynchronousTestCase):
    """Mounts."""

    def test_as_asked_for(self) -> None:
        """Mounts are in the request's order, with the requested propagation, without volumes."""
        mounts = mount_status(inspected())
        self.assertEqual([mount.container_path for mount in mounts], ["/z", "/b", "/a"])
        self.assertEqual([mount.host_path for mount in mounts], ["/srv/data", "/", "/srv/data"])
        self.assertEqual([mount.readonly for mount in mounts], [True, False, False])
        self.assertEqual(
            [mount.propagation for mount in mounts],
            [pb.PROPAGATION_PRIVATE, pb.PROPAGATION_PRIVATE, pb.PROPAGATION_HOST_TO_CONTAINER],
        )

    def test_binds(self) -> None:
        """Binds of dockershim, in text, are in order of path with the engine's data."""
        answer = inspected()
        answer["HostConfig"]["Mounts"] = None
        answer["Mounts"] = [
            {
                "Type": "bind",
                "Source": "/b",
                "Destination": "/b",
                "Mode": "ro,Z",
                "RW": False,
                "Propagation": "rshared",
            },
            {"Type": "bind", "Source": "/a", "Destination": "/a", "Mode": "", "RW": True, "Propagation": "rprivate"},
        ]
        self.assertEqual(
            mount_status(answer),
            [
                pb.Mount(container_path="/a", host_path="/a"),
                pb.Mount(
                    container_path="/b",
                    host_path="/b",
                    readonly=True,
                    selinux_relabel=True,
                    propagation=pb.PROPAGATION_BIDIRECTIONAL,
                ),
            ],
        )

    def test_recursive_read_only(self) -> None:
        """A mount that was forced to be recursively read-only is marked so."""
        answer = inspected()
        answer["HostConfig"]["Mounts"][0]["BindOptions"] = {"ReadOnlyForceRecursive": True, "Propagation": "rprivate"}
        self.assertTrue(mount_status(answer)[0].recursive_read_only)

    def test_own_files(self) -> None:
        """Mounts from criwist's directory are not shown, those from other directories are."""
        answer = inspected()
        for mount in answer["Mounts"]:
            if mount["Destination"] == "/z":
                mount["Source"] = "/var/lib/criwist/resolv-confs/abc"
            if mount["Destination"] == "/a":
                mount["Source"] = "/var/lib/criwist-not"
        shown = [mount.container_path for mount in mount_status(answer, own_directory="/var/lib/criwist")]
        self.assertEqual(shown, ["/b", "/a"])

    def test_image_volumes(self) -> None:
        """An image volume is shown as the image, for engines that mount it and for criwist's own mounts."""
        answer = inspected()
        answer["HostConfig"]["Mounts"].append(
            {"Type": "image", "Source": "model:1", "Target": "/m", "ImageOptions": {"Subpath": "weights"}}
        )
        answer["Mounts"] += [{"Type": "image", "Source": "/var/lib/docker/x", "Destination": "/m"}]
        asked = pb.Mount(image=pb.ImageSpec(image="data:2", image_ref="sha256:1"), image_sub_path="part")
        mounts = {mount.container_path: mount for mount in mount_status(answer, image_mounts={"/z": asked})}
        self.assertEqual(
            mounts["/m"],
            pb.Mount(container_path="/m", image=pb.ImageSpec(image="model:1"), image_sub_path="weights", readonly=True),
        )
        self.assertEqual(
            mounts["/z"],
            pb.Mount(container_path="/z", image=asked.image, image_sub_path="part", readonly=True),
        )

    def test_image_mounted_again(self) -> None:
        """A second mount of an image, whose source has less of the id, is shown with the whole id."""
        answer = inspected()
        identifier = "sha256:" + "1" * 64
        for path, source in (("/m", identifier), ("/n", "1" * 63)):
            answer["HostConfig"]["Mounts"].append({"Type": "image", "Source": source, "Target": path})
            answer["Mounts"].append({"Type": "image", "Source": "/var/lib/docker/x", "Destination": path})
        images = {mount.container_path: mount.image for mount in mount_status(answer)}
        self.assertEqual(images["/m"], pb.ImageSpec(image=identifier, image_ref=identifier))
        self.assertEqual(images["/n"], images["/m"])


class ContainerStatusTests(SynchronousTestCase):
    """ContainerStatus and the items of ListContainers."""

    def test_data_of_the_engine(self) -> None:
        """Names, labels, log path, resources and stop signal come from the inspected container."""
        status = container_status(inspected(), image=ENGINE["image"])
        self.assertEqual(status.id, ENGINE["running"]["Id"])
        self.assertEqual(status.metadata, pb.ContainerMetadata(name="run", attempt=0))
        self.assertEqual(dict(status.labels), {"app": "x"})
        self.assertEqual(dict(status.annotations), {"note": "n"})
        self.assertEqual(status.log_path, "/var/log/pods/x/0.log")
        self.assertEqual(status.stop_signal, pb.SIGNAL_SIGRTMINPLUS3)
        self.assertEqual(
            status.resources.linux,
            pb.LinuxContainerResources(
                cpu_period=100_000,
                cpu_quota=50_000,
                cpu_shares=512,
                memory_limit_in_bytes=64 << 20,
                memory_swap_limit_in_bytes=64 << 20,
                oom_score_adj=100,
                cpuset_cpus="0",
            ),
        )
        self.assertFalse(status.HasField("user"))

    def test_data_of_the_kernel(self) -> None:
        """Resources in force and the user of the first process win over the engine's configuration."""
        resources = pb.LinuxContainerResources(memory_limit_in_bytes=1 << 30)
        user = pb.LinuxContainerUser(uid=0, gid=10, supplemental_groups=[10, 20])
        status = container_status(inspected(), resources=resources, user=user)
        self.assertEqual(status.resources.linux, resources)
        self.assertEqual(status.user.linux, user)

    def test_image_by_id(self) -> None:
        """The status of a container whose image was requested by id shows the author's spelling; the list, the id."""
        status = container_status(inspected(), image=ENGINE["image"])
        author = "busybox:user"
        self.assertEqual(status.image, pb.ImageSpec(image=author, user_specified_image=author))
        item = container_item(inspected(), image=ENGINE["image"])
        self.assertEqual(item.image, pb.ImageSpec(image=IMAGE_ID, user_specified_image=author))
        self.assertEqual(status.image_id, IMAGE_ID)
        self.assertEqual(status.image_ref, f"docker://{IMAGE_ID}")

    def test_image_with_digest(self) -> None:
        """An image from a registry is shown by its digest there."""
        digest = "registry.example/web@sha256:" + "1" * 64
        image = ENGINE["image"] | {"RepoDigests": ["<none>@<none>", digest]}
        self.assertEqual(container_status(inspected(), image=image).image_ref, f"docker-pullable://{digest}")

    def test_image_of_an_older_shim(self) -> None:
        """Without the author's spelling, a tag stands for the id; a requested name stays."""
        answer = inspected()
        del answer["Config"]["Labels"][labels.USER_IMAGE]
        self.assertEqual(container_status(answer, image=ENGINE["image"]).image.image, "other:2")
        self.assertEqual(container_status(answer, image=None).image.image, IMAGE_ID)
        answer["Config"]["Image"] = "nginx"
        self.assertEqual(container_status(answer, image=ENGINE["image"]).image.image, "nginx")

    def test_image_gone(self) -> None:
        """A container whose image is gone still has its id."""
        status = container_status(inspected(), image=None)
        self.assertEqual((status.image_id, status.image_ref), (IMAGE_ID, f"docker://{IMAGE_ID}"))

    def test_item(self) -> None:
        """An item agrees with the status, except for the image, which is as requested, and image_ref, the id."""
        item, status = container_item(inspected(), image=ENGINE["image"]), container_status(inspected())
        for name in ("id", "metadata", "state", "created_at", "labels", "annotations", "image_id"):
            self.assertEqual(getattr(item, name), getattr(status, name), name)
        self.assertEqual(item.image_ref, IMAGE_ID)
        self.assertEqual(item.pod_sandbox_id, "a" * 64)

    def test_foreign_name(self) -> None:
        """A container that no shim named is not found."""
        for name in ("/web", "", None, "/k8s_a_b_c_d_x"):
            self.assertRaises(NotFound, container_status, inspected() | {"Name": name})


class SandboxStatusTests(SynchronousTestCase):
    """PodSandboxStatus and the items of ListPodSandbox."""

    def test_identity(self) -> None:
        """Metadata come from the name, labels and annotations from labels; the internal ones are hidden."""
        status = sandbox_status(pause(), record=record(), ready=True)
        self.assertEqual(
            status.metadata, pb.PodSandboxMetadata(name="web-0", namespace="default", uid="6f1b-22", attempt=1)
        )
        self.assertEqual((dict(status.labels), dict(status.annotations)), ({"app": "web"}, {"note": "n"}))
        self.assertEqual(status.state, pb.SANDBOX_READY)
        self.assertEqual(status.runtime_handler, "kata")
        self.assertGreater(status.created_at, 0)

    def test_addresses_in_order(self) -> None:
        """Addresses are the record's, in its order."""
        network = sandbox_status(pause(), record=record(), ready=True).network
        self.assertEqual(network.ip, "fd00::7")
        self.assertEqual([one.ip for one in network.additional_ips], ["10.88.0.7"])

    def test_no_addresses(self) -> None:
        """A sandbox on the node's network has no addresses, and none has any after teardown."""
        self.assertEqual(sandbox_addresses(pause(NetworkMode="host"), record=record()), ())
        self.assertEqual(sandbox_addresses(pause(), record=record(stopped=True)), ())
        self.assertEqual(sandbox_addresses(pause(), record=record(network=PodNetwork())), ())

    def test_addresses_without_record(self) -> None:
        """An older shim's sandbox has the addresses of the engine's bridge, else those from the caller."""
        bridged = pause() | {"NetworkSettings": {"IPAddress": "172.17.0.2", "GlobalIPv6Address": "fd00::2"}}
        self.assertEqual(sandbox_addresses(bridged, record=None), ("172.17.0.2", "fd00::2"))
        cached = sandbox_status(pause(), record=None, ready=True, addresses=["10.1.1.1"])
        self.assertEqual(cached.network.ip, "10.1.1.1")

    def test_ready(self) -> None:
        """A sandbox is ready while its pause container runs and its network is set up."""
        self.assertTrue(sandbox_ready(pause(), record=record()))
        self.assertFalse(sandbox_ready(pause(), record=record(stopped=True)))
        self.assertFalse(sandbox_ready(pause(), record=record(network=None)))
        self.assertFalse(sandbox_ready(pause() | ENGINE["states"]["failed"], record=record()))

    def test_ready_of_an_older_shim(self) -> None:
        """An older shim's sandbox is ready while its pause container runs, until criwist stops it."""
        adopted = {"network_plugin": "", "network": None}
        self.assertTrue(sandbox_ready(pause(), record=None))
        self.assertTrue(sandbox_ready(pause(), record=record(**adopted)))
        self.assertFalse(sandbox_ready(pause(), record=record(**adopted, stopped=True)))

    def test_namespaces(self) -> None:
        """Namespaces are the node's or the pod's; the record has whether containers share PIDs."""

        def modes_of(*, sharing: bool = False, **modes: str) -> tuple[int, int, int]:
            status = sandbox_status(pause(**modes), record=record(shared_pid=sharing), ready=True)
            options = status.linux.namespaces.options
            return options.network, options.pid, options.ipc

        self.assertEqual(modes_of(), (pb.POD, pb.CONTAINER, pb.POD))
        self.assertEqual(modes_of(sharing=True), (pb.POD, pb.POD, pb.POD))
        self.assertEqual(modes_of(NetworkMode="host", PidMode="host", IpcMode="host"), (pb.NODE, pb.NODE, pb.NODE))

    def test_handler_of_an_older_shim(self) -> None:
        """Without a record, a runtime that is not the default is the handler."""
        for default, handler in (("runc", ""), ("crun", "runc"), ("", "")):
            item = sandbox_item(pause(), record=None, ready=False, default_runtime=default)
            self.assertEqual((item.runtime_handler, item.state), (handler, pb.SANDBOX_NOTREADY))

    def test_foreign_name(self) -> None:
        """A sandbox that no shim named is not found."""
        self.assertRaises(NotFound, sandbox_status, inspected() | {"Name": "/web"}, record=None, ready=True)


class OddDocumentTests(SynchronousTestCase):
    """Documents that no engine is known to send."""

    def test_numbers(self) -> None:
        """A number beyond its field's range raises no error."""
        answer = inspected("failed")
        for number in (2**31, 2**63, 2**64, -(2**31) - 1, True, 1.5):
            answer["State"]["ExitCode"] = number
            answer["HostConfig"]["Memory"] = number
            self.assertTrue(container_status(answer).SerializeToString())

    def test_half_a_character(self) -> None:
        """Half a surrogate pair is shown as a question mark."""
        answer = inspected("failed")
        answer["State"]["Error"] = "a\ud800b"
        answer["Config"]["Labels"] |= {"\ud800": "\udfff", labels.REQUESTED: ""}
        status = container_status(answer)
        self.assertEqual((status.message, status.labels["?"]), ("a?b", "?"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def _places(answer: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = answer.items() if isinstance(answer, dict) else enumerate(answer) if isinstance(answer, list) else ()
    return [path, *(place for key, value in inner for place in _places(value, (*path, key)))]


PLACES = [place for place in _places(ENGINE["running"]) if place]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PLACES), JSON)
def test_any_answer(place: tuple[Any, ...], value: Any) -> None:
    """Every value in every place of an inspected container gives a status or one of criwist's errors."""
    answer = inspected()
    inner: Any = answer
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    for tell in (
        lambda: container_status(answer, image=ENGINE["image"]),
        lambda: container_item(answer),
        lambda: sandbox_status(answer, record=None, ready=sandbox_ready(answer, record=None)),
    ):
        with contextlib.suppress(CriwistError):
            assert tell().SerializeToString()
