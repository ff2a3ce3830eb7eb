"""CreateContainer, StartContainer, StopContainer, RemoveContainer, ContainerStatus and ListContainers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually, scaled

ABSENT = "f" * 64
#: Does not mind SIGTERM.
STUBBORN = ("sh", "-c", "trap '' TERM; while :; do sleep 1; done")


@pytest.mark.second_opinion
def test_life_of_a_container(cri: CRI) -> None:
    """A container goes from CREATED over RUNNING to EXITED, and its times are nanoseconds, 0 for what was not yet."""
    before = time.time_ns()
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    container_id = cri.create(pod_id, cri.container("sh", "-c", "sleep 0.2; exit 3"), pod)
    created = cri.status(container_id)
    assert created.state == api.CONTAINER_CREATED
    assert before - 1_000_000_000 <= created.created_at <= time.time_ns()
    assert (created.started_at, created.finished_at) == (0, 0)
    cri.start(container_id)
    running = cri.status(container_id)
    assert running.state == api.CONTAINER_RUNNING
    assert running.created_at <= running.started_at <= time.time_ns()
    assert running.finished_at == 0
    exited = cri.wait_for_exit(container_id)
    assert exited.exit_code == 3
    assert exited.reason == "Error"
    assert exited.created_at == created.created_at
    assert exited.started_at == running.started_at
    assert exited.started_at < exited.finished_at <= time.time_ns()


@pytest.mark.second_opinion
def test_success_is_completed(cri: CRI) -> None:
    """A container that ends with status 0 has the reason Completed."""
    _, container_id = cri.run_in_pod("true")
    status = cri.wait_for_exit(container_id)
    assert (status.exit_code, status.reason) == (0, "Completed")


@pytest.mark.second_opinion
def test_log_is_complete_at_the_end(cri: CRI) -> None:
    """Whoever sees EXITED finds the whole log, that of a container that ends while it is being started included."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    for number in range(12):
        config = cri.container("sh", "-c", "echo one; echo two >&2; echo three")
        status = cri.wait_for_exit(cri.run(pod_id, config, pod))
        words = [line.rpartition(" ")[2] for line in Path(status.log_path).read_text().splitlines()]
        assert sorted(words) == ["one", "three", "two"], number


@pytest.mark.second_opinion
def test_status_tells_what_was_asked_for(cri: CRI) -> None:
    """ContainerStatus has metadata, labels, annotations, image and log path of the configuration."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    config = cri.container(labels={"app": "web"}, annotations={"example.org/hash": "1a2b"})
    config.metadata.attempt = 2
    status = cri.status(cri.run(pod_id, config, pod))
    assert status.metadata == config.metadata
    assert dict(status.labels) == dict(config.labels)
    assert dict(status.annotations) == dict(config.annotations)
    assert status.image.image == images.BUSYBOX
    assert status.image_ref
    assert status.log_path == f"{pod.log_directory}/{config.log_path}"


@pytest.mark.second_opinion
def test_list_tells_the_same_as_status(cri: CRI) -> None:
    """An item of ListContainers has the values of ContainerStatus, and its sandbox."""
    pod_id, container_id = cri.run_in_pod(annotations={"a": "b"})
    status = cri.status(container_id)
    (item,) = cri.runtime.ListContainers(api.ListContainersRequest()).containers
    assert (item.id, item.pod_sandbox_id) == (container_id, pod_id)
    for name in ("metadata", "state", "created_at", "labels", "annotations"):
        assert getattr(item, name) == getattr(status, name), name


def test_image_has_one_id_everywhere(cri: CRI) -> None:
    """Image.id is what status and list call a container's image; containerd 1.6 does not know ``image_id``."""
    _, container_id = cri.run_in_pod()
    status = cri.status(container_id)
    (item,) = cri.runtime.ListContainers(api.ListContainersRequest()).containers
    image = cri.image(images.BUSYBOX)
    assert image is not None
    assert image.id == status.image_id == item.image_id
    assert status.image.user_specified_image == images.BUSYBOX


@pytest.mark.second_opinion
def test_list_filters(cri: CRI) -> None:
    """ListContainers filters by id, unambiguous id prefix, sandbox, state and labels, and by all of them together."""
    pod = cri.pod()
    one_pod, other_pod = cri.run_pod(pod), cri.run_pod()
    running = cri.run(one_pod, cri.container(labels={"app": "a", "tier": "x"}), pod)
    created = cri.create(one_pod, cri.container(labels={"app": "b", "tier": "x"}), pod)
    elsewhere = cri.run(other_pod, cri.container(labels={"app": "a"}), pod)
    state = api.ContainerStateValue(state=api.CONTAINER_RUNNING)
    assert set(cri.container_ids()) == {running, created, elsewhere}
    assert cri.container_ids(id=created) == [created]
    assert cri.container_ids(id=created[:20]) == [created]
    assert set(cri.container_ids(pod_sandbox_id=one_pod)) == {running, created}
    assert set(cri.container_ids(state=state)) == {running, elsewhere}
    assert set(cri.container_ids(label_selector={"app": "a"})) == {running, elsewhere}
    assert cri.container_ids(label_selector={"app": "a", "tier": "x"}) == [running]
    assert cri.container_ids(state=state, pod_sandbox_id=one_pod, label_selector={"tier": "x"}) == [running]
    assert cri.container_ids(id=ABSENT) == []


@pytest.mark.second_opinion
def test_sandboxes_are_no_containers(cri: CRI) -> None:
    """ListContainers leaves out what holds the pods' namespaces."""
    cri.run_pod()
    assert cri.container_ids() == []


@pytest.mark.second_opinion
def test_unknown_containers_are_not_found(cri: CRI) -> None:
    """Status and start of what does not exist are NOT_FOUND."""
    refused(lambda: cri.status(ABSENT), grpc.StatusCode.NOT_FOUND)
    refused(lambda: cri.start(ABSENT), grpc.StatusCode.NOT_FOUND)


@pytest.mark.second_opinion
def test_removal_is_idempotent(cri: CRI) -> None:
    """Removing again, or what never existed, is success."""
    _, container_id = cri.run_in_pod("true")
    cri.wait_for_exit(container_id)
    cri.remove(container_id)
    cri.remove(container_id)
    cri.remove(ABSENT)
    assert cri.container_ids() == []


@pytest.mark.second_opinion
def test_running_container_is_removed_by_force(cri: CRI) -> None:
    """RemoveContainer ends a running container."""
    _, container_id = cri.run_in_pod(*STUBBORN)
    cri.remove(container_id)
    assert cri.container_ids() == []


@pytest.mark.second_opinion
def test_create_needs_a_sandbox(cri: CRI) -> None:
    """A container in a sandbox that does not exist or was stopped is refused, and nothing is left of it."""
    pod = cri.pod()
    refused(lambda: cri.create(ABSENT, cri.container(), pod), grpc.StatusCode.NOT_FOUND)
    pod_id = cri.run_pod(pod)
    cri.stop_pod(pod_id)
    refused(lambda: cri.run(pod_id, cri.container(), pod))
    running = api.ContainerStateValue(state=api.CONTAINER_RUNNING)
    assert cri.container_ids(state=running) == []


@pytest.mark.second_opinion
def test_create_needs_the_image(cri: CRI) -> None:
    """A container of an image that is not there is NOT_FOUND: pulling is kubelet's business."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    refused(lambda: cri.create(pod_id, cri.container(image="criwist.test/absent:1"), pod), grpc.StatusCode.NOT_FOUND)
    assert cri.container_ids() == []


@pytest.mark.second_opinion
@pytest.mark.parametrize("form", ["tag", "id"])
def test_image_by_tag_and_by_id(cri: CRI, form: str) -> None:
    """kubelet names the image by its id once it has been pulled."""
    image = cri.image(images.BUSYBOX)
    assert image is not None
    _, container_id = cri.run_in_pod(image=images.BUSYBOX if form == "tag" else image.id)
    assert cri.status(container_id).state == api.CONTAINER_RUNNING


@pytest.mark.second_opinion
def test_name_is_taken_until_removal(cri: CRI) -> None:
    """A second container of equal metadata is refused while the first runs, and harms nothing."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    config = cri.container()
    container_id = cri.run(pod_id, config, pod)
    refused(lambda: cri.create(pod_id, config, pod))
    assert cri.status(container_id).state == api.CONTAINER_RUNNING
    cri.remove(container_id)
    assert cri.run(pod_id, config, pod) != container_id


@pytest.mark.second_opinion
@pytest.mark.parametrize(
    ("command", "args", "words"),
    [
        ([], [], "entrypoint command"),
        ([], ["args"], "entrypoint args"),
        (["sh", "-c", 'echo "$0 $*" > /out/words', "mine"], [], "mine"),
        (["sh", "-c", 'echo "$0 $*" > /out/words', "mine"], ["args"], "mine args"),
    ],
)
def test_command_and_args(cri: CRI, tmp_path: Path, command: list[str], args: list[str], words: str) -> None:
    """``command`` takes the place of the entrypoint and of the image's command, ``args`` that of the command alone."""
    config = cri.container(image=images.ENTRYPOINT, args=args, mounts=[_mount(tmp_path, "/out")])
    del config.command[:]
    config.command.extend(command)
    pod = cri.pod()
    cri.wait_for_exit(cri.run(cri.run_pod(pod), config, pod))
    assert (tmp_path / "words").read_text().strip() == words


@pytest.mark.second_opinion
def test_environment_and_directory(cri: CRI) -> None:
    """The configuration's variables are added to the image's and win; the directory is the image's unless named."""
    envs = [api.KeyValue(key="FROM_IMAGE", value=b"no"), api.KeyValue(key="ODD", value=b"a = 'b'\tc")]
    config: dict[str, Any] = {"image": images.ENTRYPOINT, "envs": envs}
    _, container_id = cri.run_in_pod(**config)
    assert cri.shell(container_id, 'echo "$FROM_IMAGE|$ODD|$PWD"') == "no|a = 'b'\tc|/work\n"
    _, container_id = cri.run_in_pod(**config, working_dir="/tmp")
    assert cri.output(container_id, "pwd") == "/tmp\n"


@pytest.mark.second_opinion
def test_bad_command(cri: CRI) -> None:
    """An executable that is not there is an error that names it; the container does not run."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    container_id = cri.create(pod_id, cri.container("/no/such/program"), pod)
    assert "/no/such/program" in refused(lambda: cri.start(container_id))
    assert cri.status(container_id).state in (api.CONTAINER_CREATED, api.CONTAINER_EXITED)
    cri.remove(container_id)


def test_bad_command_tells_kubelet(cri: CRI) -> None:
    """A start that failed leaves the container EXITED, ContainerCannotRun, with the engine's words and sane times."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    container_id = cri.create(pod_id, cri.container("/no/such/program"), pod)
    refused(lambda: cri.start(container_id))
    status = cri.status(container_id)
    assert status.state == api.CONTAINER_EXITED
    assert status.reason == "ContainerCannotRun"
    assert "/no/such/program" in status.message
    assert status.exit_code in (127, 128)
    assert status.started_at == status.finished_at == status.created_at


# -- stopping


@pytest.mark.second_opinion
def test_stop_is_graceful(cri: CRI) -> None:
    """StopContainer sends SIGTERM and returns as soon as the container has ended."""
    container_id = cri.run_trapping("trap 'exit 5' TERM")
    began = time.monotonic()
    cri.stop(container_id, timeout=30)
    assert time.monotonic() - began < scaled(10)
    status = cri.status(container_id)
    assert (status.state, status.exit_code) == (api.CONTAINER_EXITED, 5)


@pytest.mark.second_opinion
def test_stop_kills_after_the_grace(cri: CRI) -> None:
    """A container that ignores SIGTERM is killed after the grace, not before."""
    _, container_id = cri.run_in_pod(*STUBBORN)
    began = time.monotonic()
    cri.stop(container_id, timeout=2)
    assert 1.5 < time.monotonic() - began < scaled(12)
    assert cri.status(container_id).exit_code == 137


@pytest.mark.second_opinion
def test_stop_without_grace_kills(cri: CRI) -> None:
    """A grace of 0 kills at once."""
    container_id = cri.run_trapping("trap 'exit 5' TERM")
    began = time.monotonic()
    cri.stop(container_id, timeout=0)
    assert time.monotonic() - began < scaled(5)
    assert cri.status(container_id).exit_code == 137


@pytest.mark.second_opinion
def test_stop_uses_the_images_signal(cri: CRI) -> None:
    """The image's STOPSIGNAL is sent in place of SIGTERM."""
    container_id = cri.run_trapping("trap 'exit 42' USR1; trap '' TERM", image=images.STOP_SIGNAL)
    cri.stop(container_id, timeout=10)
    assert cri.status(container_id).exit_code == 42


def test_stop_uses_the_configurations_signal(cri: CRI) -> None:
    """``stop_signal`` wins over the image's STOPSIGNAL; containerd 1.6 does not know the field."""
    container_id = cri.run_trapping(
        "trap 'exit 43' USR2; trap '' TERM USR1", image=images.STOP_SIGNAL, stop_signal=api.SIGNAL_SIGUSR2
    )
    cri.stop(container_id, timeout=10)
    assert cri.status(container_id).exit_code == 43
    assert cri.status(container_id).stop_signal == api.SIGNAL_SIGUSR2


@pytest.mark.second_opinion
def test_stop_is_idempotent(cri: CRI) -> None:
    """Stopping what has ended is success."""
    _, container_id = cri.run_in_pod()
    cri.stop(container_id)
    cri.stop(container_id)


def test_stop_of_an_unknown_container(cri: CRI) -> None:
    """Stopping what does not exist is success; containerd 1.6 says NOT_FOUND, later ones agree with us."""
    cri.stop(ABSENT)


def test_stop_of_a_created_container(cri: CRI) -> None:
    """Stopping a container that never started is success and leaves it as it is."""
    pod = cri.pod()
    container_id = cri.create(cri.run_pod(pod), cri.container(), pod)
    cri.stop(container_id)
    assert cri.status(container_id).state == api.CONTAINER_CREATED


@pytest.mark.second_opinion
def test_second_stop_may_be_more_impatient(cri: CRI) -> None:
    """A stop without grace ends a container that another stop is still waiting for."""
    _, container_id = cri.run_in_pod(*STUBBORN)
    request = api.StopContainerRequest(container_id=container_id, timeout=60)
    waiting = cri.runtime.StopContainer.future(request, timeout=90)
    time.sleep(0.5)
    began = time.monotonic()
    cri.stop(container_id, timeout=0)
    assert time.monotonic() - began < scaled(10)
    waiting.result()
    assert cri.status(container_id).state == api.CONTAINER_EXITED


# -- what containers of a pod share


@pytest.mark.second_opinion
def test_network_and_ipc_are_shared(cri: CRI) -> None:
    """Two containers of a pod talk over localhost, see one /dev/shm and one IPC namespace, and have their own roots."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    one = cri.run(pod_id, cri.container("nc", "-ll", "-p", "8000", "-e", "echo", "hello"), pod)
    other = cri.run(pod_id, cri.container(), pod)
    eventually(lambda: cri.execute(other, "nc", "127.0.0.1", "8000").stdout == b"hello\n")
    cri.shell(one, "echo shared > /dev/shm/file; echo own > /tmp/file")
    assert cri.output(other, "cat", "/dev/shm/file") == "shared\n"
    assert cri.execute(other, "cat", "/tmp/file").exit_code != 0
    for namespace in ("net", "ipc"):
        link = f"/proc/self/ns/{namespace}"
        assert cri.output(one, "readlink", link) == cri.output(other, "readlink", link)


@pytest.mark.second_opinion
def test_own_process_namespace(cri: CRI) -> None:
    """With pid CONTAINER the container's command is process 1 and sees no other."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    config = cri.container("sleep", "1000")
    container_id = cri.run(pod_id, config, pod)
    assert cri.output(container_id, "cat", "/proc/1/comm") == "sleep\n"
    assert cri.execute(container_id, "pidof", "pause").exit_code == 1


@pytest.mark.second_opinion
def test_shared_process_namespace(cri: CRI) -> None:
    """With pid POD the containers see each other's processes, and process 1 is the pause program."""
    pod = cri.pod()
    pod.linux.security_context.namespace_options.pid = api.POD
    pod_id = cri.run_pod(pod)
    config = cri.container("sleep", "1000")
    config.linux.security_context.namespace_options.pid = api.POD
    cri.run(pod_id, config, pod)
    other = cri.container()
    other.linux.security_context.namespace_options.pid = api.POD
    container_id = cri.run(pod_id, other, pod)
    assert cri.output(container_id, "cat", "/proc/1/comm") == "pause\n"
    assert cri.output(container_id, "pidof", "sleep")


@pytest.mark.second_opinion
def test_host_process_namespace(cri: CRI) -> None:
    """With pid NODE the container sees the processes of the host."""
    pod = cri.pod()
    pod.linux.security_context.namespace_options.pid = api.NODE
    pod_id = cri.run_pod(pod)
    config = cri.container()
    config.linux.security_context.namespace_options.pid = api.NODE
    container_id = cri.run(pod_id, config, pod)
    assert cri.output(container_id, "readlink", "/proc/self/ns/pid").strip() == str(
        Path("/proc/self/ns/pid").readlink()
    )


@pytest.mark.second_opinion
def test_process_namespace_of_another_container(cri: CRI) -> None:
    """With pid TARGET, as of ephemeral containers, the container sees the processes of the named one."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    target = cri.container("sleep", "1000")
    target_id = cri.run(pod_id, target, pod)
    config = cri.container()
    config.linux.security_context.namespace_options.pid = api.TARGET
    config.linux.security_context.namespace_options.target_id = target_id
    container_id = cri.run(pod_id, config, pod)
    assert cri.output(container_id, "cat", "/proc/1/comm") == "sleep\n"


# -- mounts, user and resources, as far as every pod needs them


@pytest.mark.second_opinion
def test_mounts(cri: CRI, tmp_path: Path) -> None:
    """Host directories and files appear in the container, writable or not, through symbolic links too."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("content")
    (tmp_path / "link").symlink_to("real")
    mounts = [
        _mount(tmp_path / "link", "/rw"),
        _mount(tmp_path / "real", "/ro", readonly=True),
        _mount(tmp_path / "real" / "file", "/one-file"),
    ]
    _, container_id = cri.run_in_pod(mounts=mounts)
    assert cri.output(container_id, "cat", "/rw/file", "/ro/file", "/one-file") == "content" * 3
    cri.shell(container_id, "echo new > /rw/new")
    assert (tmp_path / "real" / "new").read_text() == "new\n"
    assert cri.execute(container_id, "touch", "/ro/new").exit_code != 0
    reported = {mount.container_path: mount for mount in cri.status(container_id).mounts}
    assert reported["/ro"].readonly
    assert not reported["/rw"].readonly
    assert reported["/one-file"].host_path == str(tmp_path / "real" / "file")


@pytest.mark.second_opinion
def test_missing_host_path_is_made(cri: CRI, tmp_path: Path) -> None:
    """A host path that does not exist becomes a directory, as users of dockershim rely on."""
    _, container_id = cri.run_in_pod(mounts=[_mount(tmp_path / "new" / "directory", "/data")])
    assert (tmp_path / "new" / "directory").is_dir()
    assert cri.execute(container_id, "touch", "/data/file").exit_code == 0


def test_no_anonymous_volume_is_left(cri: CRI) -> None:
    """What an image's VOLUME makes is not told as a mount, and goes with the container."""
    _, container_id = cri.run_in_pod(image=images.VOLUME)
    assert cri.output(container_id, "cat", "/data/file") == "from the image\n"
    assert not cri.status(container_id).mounts


@pytest.mark.second_opinion
def test_user_by_number(cri: CRI) -> None:
    """run_as_user, run_as_group and supplemental groups are those of the container's processes."""
    config = cri.container()
    context = config.linux.security_context
    context.run_as_user.value, context.run_as_group.value = 1234, 2345
    context.supplemental_groups.extend([3456, 4567])
    pod = cri.pod()
    container_id = cri.run(cri.run_pod(pod), config, pod)
    assert cri.shell(container_id, "id -u; id -g") == "1234\n2345\n"
    assert {"3456", "4567"} <= set(cri.output(container_id, "id", "-G").split())


@pytest.mark.second_opinion
def test_user_by_name(cri: CRI) -> None:
    """run_as_username is looked up in the image, groups included."""
    config = cri.container()
    config.linux.security_context.run_as_username = "alice"
    pod = cri.pod()
    container_id = cri.run(cri.run_pod(pod), config, pod)
    assert cri.shell(container_id, "id -u; id -g; id -G") == "1003\n100\n100 2000\n"


@pytest.mark.second_opinion
def test_memory_limit_and_oom(cri: CRI) -> None:
    """A container that takes more memory than its limit is killed, and the reason is OOMKilled."""
    config = cri.container("sh", "-c", "sleep 0.5; tail /dev/zero")
    config.linux.resources.memory_limit_in_bytes = 16 << 20
    config.linux.resources.oom_score_adj = 999
    pod = cri.pod()
    status = cri.wait_for_exit(cri.run(cri.run_pod(pod), config, pod), within=30)
    assert status.reason == "OOMKilled"
    assert status.exit_code == 137


def test_resources_are_told_and_updated(cri: CRI) -> None:
    """ContainerStatus tells the limits in force, and UpdateContainerResources changes them at once."""
    config = cri.container()
    resources = config.linux.resources
    resources.cpu_period, resources.cpu_quota, resources.cpu_shares = 100_000, 50_000, 512
    resources.memory_limit_in_bytes = 64 << 20
    pod = cri.pod()
    container_id = cri.run(cri.run_pod(pod), config, pod)
    told = cri.status(container_id).resources.linux
    assert (told.cpu_period, told.cpu_quota) == (100_000, 50_000)
    assert told.memory_limit_in_bytes == 64 << 20
    update = api.LinuxContainerResources(cpu_period=100_000, cpu_quota=20_000, memory_limit_in_bytes=96 << 20)
    cri.runtime.UpdateContainerResources(api.UpdateContainerResourcesRequest(container_id=container_id, linux=update))
    told = cri.status(container_id).resources.linux
    assert told.cpu_quota == 20_000
    assert told.memory_limit_in_bytes == 96 << 20


@pytest.mark.second_opinion
def test_memory_limit_is_updated(cri: CRI) -> None:
    """UpdateContainerResources changes the cgroup of the running container."""
    config = cri.container()
    config.linux.resources.memory_limit_in_bytes = 64 << 20
    pod = cri.pod()
    container_id = cri.run(cri.run_pod(pod), config, pod)
    update = api.LinuxContainerResources(memory_limit_in_bytes=96 << 20)
    cri.runtime.UpdateContainerResources(api.UpdateContainerResourcesRequest(container_id=container_id, linux=update))
    limits = [
        int(file.read_text())
        for name in ("memory.limit_in_bytes", "memory.max")
        for file in Path("/sys/fs/cgroup").rglob(f"*{container_id}*/{name}")
    ]
    assert limits == [96 << 20]


@pytest.mark.second_opinion
@pytest.mark.parametrize("score", [0, 500, 1000, -997])
def test_oom_score(cri: CRI, score: int) -> None:
    """The container starts with any oom_score_adj; a negative one is clamped where the runtime may not set it."""
    config = cri.container()
    config.linux.resources.oom_score_adj = score
    pod = cri.pod()
    container_id = cri.run(cri.run_pod(pod), config, pod)
    actual = int(cri.output(container_id, "cat", "/proc/1/oom_score_adj"))
    assert actual == score if score >= 0 else score <= actual <= 0


@pytest.mark.second_opinion
def test_thirty_containers_in_a_pod(cri: CRI) -> None:
    """Thirty containers made at once in one pod all run."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    requests = [
        api.CreateContainerRequest(pod_sandbox_id=pod_id, config=cri.container(), sandbox_config=pod) for _ in range(30)
    ]
    created = [
        future.result().container_id for future in [cri.runtime.CreateContainer.future(each) for each in requests]
    ]
    starts = [cri.runtime.StartContainer.future(api.StartContainerRequest(container_id=each)) for each in created]
    for start in starts:
        start.result()
    running = api.ContainerStateValue(state=api.CONTAINER_RUNNING)
    assert set(cri.container_ids(state=running)) == set(created)


def _mount(host: Path, container: str, *, readonly: bool = False) -> api.Mount:
    return api.Mount(host_path=str(host), container_path=container, readonly=readonly)
