"""The rights of the unit: it allows criwist its networks, mounts and cgroups."""

from __future__ import annotations

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI
from tests.harness.clock import eventually
from tools.node.guest import Guest
from tools.node.install import NETWORK, SUBNET

MIB = 1 << 20
GREETER = ("nc", "-ll", "-p", "8000", "-e", "echo", "hello")


def test_cni(node: Guest, cri: CRI) -> None:
    """A pod serves at its address in the CNI network and at its host port; its removal leaves nothing behind."""
    port = 23080
    pod = cri.pod(port_mappings=[api.PortMapping(protocol=api.TCP, container_port=8000, host_port=port)])
    pod_id, _ = cri.run_in_pod(*GREETER, pod=pod)
    address = cri.pod_status(pod_id).network.ip
    assert address.startswith(SUBNET.removesuffix("0/24"))
    for target in (f"{address} 8000", f"10.0.2.15 {port}"):
        eventually(lambda target=target: node.run(f"busybox nc -w 5 {target} < /dev/null", check=False) == "hello\n")  # type: ignore[misc]
    leases = f"/var/lib/cni/networks/{NETWORK}"
    assert node.succeeds(f"test -e {leases}/{address}")
    cri.stop_pod(pod_id)
    cri.remove_pod(pod_id)
    assert not node.succeeds(f"test -e {leases}/{address}")
    assert node.run("ip -brief link show type veth") == ""
    assert str(port) not in node.run("iptables-save")


def test_bidirectional_mount(node: Guest, cri: CRI) -> None:
    """The node sees a mount that a container makes below a bidirectional mount."""
    node.run("mkdir -p /srv/shared")
    config = cri.container(
        mounts=[
            api.Mount(host_path="/srv/shared", container_path="/mnt", propagation=api.PROPAGATION_BIDIRECTIONAL),
        ]
    )
    context = config.linux.security_context
    context.capabilities.add_capabilities.append("SYS_ADMIN")
    context.apparmor.profile_type = api.SecurityProfile.Unconfined
    pod = cri.pod()
    container_id = cri.run(cri.run_pod(pod), config, pod)
    try:
        cri.shell(
            container_id, "mkdir /mnt/mine && mount -t tmpfs criwist-test /mnt/mine && echo here > /mnt/mine/file"
        )
        assert node.run("cat /srv/shared/mine/file") == "here\n"
    finally:
        node.run("umount /srv/shared/mine")


def test_image_volume(node: Guest, cri: CRI) -> None:
    """criwist mounts an image where the engine sees it, and unmounts it with the container."""
    volume = api.Mount(container_path="/image", readonly=True, image=api.ImageSpec(image=images.BUSYBOX))
    _, container_id = cri.run_in_pod(mounts=[volume])
    assert cri.output(container_id, "cat", "/image/data/file") == "from the image\n"
    cri.stop(container_id)
    cri.remove(container_id)
    assert "/image-volumes/" not in node.run("findmnt --noheadings --output TARGET --list")


def test_cgroups(node: Guest, cri: CRI) -> None:
    """A container is a scope in its pod's slice, and criwist writes cgroup files without a field in the Engine API."""
    pod = cri.pod()
    pod.linux.cgroup_parent = "kubepods-burstable-podrights.slice"
    _, container_id = cri.run_in_pod(pod=pod)
    scope = f"docker-{container_id}.scope"
    assert node.run(f"systemctl show --value --property=Slice {scope}").strip() == pod.linux.cgroup_parent
    v2 = node.succeeds("test -e /sys/fs/cgroup/cgroup.controllers")
    file, value = ("memory.high", str(64 * MIB)) if v2 else ("pids.max", "99")
    request = api.UpdateContainerResourcesRequest(container_id=container_id)
    request.linux.unified[file] = value
    cri.runtime.UpdateContainerResources(request)
    assert node.run(f"find /sys/fs/cgroup -path '*/{scope}/{file}' -exec cat {{}} +").strip() == value
