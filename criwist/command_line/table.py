"""The options of ``twistd criwist``, one a row.

The older shims' spellings stand beside ours, so that a unit file of theirs needs another program and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from criwist.command_line import values as values
from criwist.command_line.addresses import bind_address, cri_endpoint


@frozen
class Option:
    """One option.  Names are without dashes."""

    name: str
    #: As it would be written.
    default: str
    #: From text to the value, ValueError if it is wrong.
    read: Callable[[str], Any]
    doc: str
    #: The member of Config that the value goes into as it is; ``""``: it depends on others.
    member: str = ""
    #: Names under which the older shims have it.
    aliases: tuple[str, ...] = ()
    boolean: bool = False
    #: May be given several times; the values are parted by commas.
    repeated: bool = False


_NETWORK_PLUGINS = values.choice("cni", "kubenet", "bridge", other={"": "bridge", "no-op": "bridge"})
_HAIRPIN_MODES = values.choice("none", "hairpin-veth", "promiscuous-bridge")
_LOG_DRIVERS = values.choice("json-file", "local", other={"": ""})
_MTU = values.whole(0, 65535)

_GENERAL = (
    Option(
        "endpoint",
        "unix:///run/criwist.sock",
        cri_endpoint,
        "where the CRI is served: unix:///path, tcp:// on a loopback address, or fd:// for a socket unit's; "
        "also --container-runtime-endpoint",
        "endpoint",
        ("container-runtime-endpoint",),
    ),
    Option(
        "root-directory",
        "/var/lib/criwist",
        values.absolute,
        "where criwist keeps its state; also --cri-dockerd-root-directory and --dockershim-root-directory",
        "root_directory",
        ("cri-dockerd-root-directory", "dockershim-root-directory"),
    ),
    Option("log-level", "info", values.log_level, "debug, info, warn, error or critical"),
    Option("v", "", values.verbosity, "klog's verbosity: 4 and more is --log-level debug, less is info"),
)

_ENGINE = (
    Option(
        "docker-endpoint",
        "",
        values.text,
        "the engine: unix:///path or tcp://host:port [default: DOCKER_HOST, else unix:///var/run/docker.sock]",
    ),
    Option("docker-tls-ca", "", values.absolute_or_none, "authority that signs the engine's certificate; asks for TLS"),
    Option("docker-tls-cert", "", values.absolute_or_none, "our certificate for the engine; asks for TLS"),
    Option("docker-tls-key", "", values.absolute_or_none, "the key of our certificate"),
    Option(
        "runtime-request-timeout",
        "2m0s",
        values.some_time,
        "time limit of calls that change something in the engine; reads get half of it, starts and removals twice",
        "runtime_request_timeout",
    ),
    Option(
        "runtime-cgroups",
        "",
        values.absolute_or_none,
        "cgroup that the engine's processes are moved into [default: they stay where they are]",
        "runtime_cgroups",
    ),
)

_IMAGES = (
    Option(
        "pod-infra-container-image",
        "",
        values.image_reference,
        "image of sandboxes [default: one that criwist carries]",
        "pod_infra_container_image",
    ),
    Option(
        "image-pull-progress-deadline",
        "1m0s",
        values.duration,
        "a pull that makes no progress for so long is cancelled; 0: never",
        "image_pull_progress_deadline",
    ),
    Option(
        "pinned-images",
        "",
        values.listed,
        "images that a kubelet must not remove: shell patterns, parted by commas; may be repeated",
        "pinned_images",
        repeated=True,
    ),
    Option(
        "pinned-image-labels",
        "",
        values.label_list,
        "the same by label: key or key=value, parted by commas; may be repeated",
        "pinned_image_labels",
        repeated=True,
    ),
)

_NETWORK = (
    Option("network-plugin", "cni", _NETWORK_PLUGINS, "cni, kubenet, or bridge: Docker's own", "network_plugin"),
    Option("cni-conf-dir", "/etc/cni/net.d", values.absolute, "where CNI configurations are", "cni_conf_dir"),
    Option(
        "cni-bin-dir",
        "/opt/cni/bin",
        values.absolute_list,
        "where CNI plugins are; several parted by commas",
        "cni_bin_dirs",
    ),
    Option("cni-cache-dir", "/var/lib/cni/cache", values.absolute, "where CNI results are kept", "cni_cache_dir"),
    Option("network-plugin-mtu", "0", _MTU, "kubenet: MTU of pods; 0: the plugin's default", "network_plugin_mtu"),
    Option(
        "hairpin-mode",
        "none",
        _HAIRPIN_MODES,
        "kubenet: how a pod reaches itself by its service: none, hairpin-veth or promiscuous-bridge",
        "hairpin_mode",
    ),
    Option(
        "pod-cidr",
        "",
        values.pod_cidr,
        "addresses of this node's pods; two, parted by a comma, for dual stack [default: what the kubelet says]",
        "pod_cidr",
    ),
    Option(
        "ipv6-dual-stack",
        "true",
        values.boolean,
        "taken for compatibility: pods always have all addresses that their network gives",
        boolean=True,
    ),
)

_STREAMING = (
    Option(
        "streaming-bind-addr",
        "127.0.0.1:0",
        bind_address,
        "where exec, attach and port-forward are served; port 0: any",
        "streaming_bind_addr",
    ),
    Option("streaming-tls-cert", "", values.absolute_or_none, "certificate of the streaming server"),
    Option("streaming-tls-key", "", values.absolute_or_none, "key of the streaming server"),
    Option(
        "streaming-insecure",
        "false",
        values.boolean,
        "lets the streaming server be reached from elsewhere without TLS",
        "streaming_insecure",
        boolean=True,
    ),
    Option(
        "streaming-idle-timeout",
        "0",
        values.duration,
        "sessions that are idle for so long are ended; 0: never",
        "streaming_idle_timeout",
    ),
)

_LOGS = (
    Option(
        "log-mode",
        "cri",
        values.choice("cri", "symlink"),
        "container logs: files in CRI format (cri), or links to Docker's as the older shims made (symlink)",
        "log_mode",
    ),
    Option(
        "container-log-driver",
        "",
        _LOG_DRIVERS,
        "Docker's log driver for containers: json-file or local [default: the daemon's]",
        "container_log_driver",
    ),
    Option(
        "container-log-max-size",
        "",
        values.size,
        "with --container-log-driver: size at which Docker rotates its own file",
        "container_log_max_size",
    ),
    Option(
        "container-log-max-files",
        "0",
        values.whole(0, 1000),
        "with --container-log-driver: how many files Docker keeps; 0: its default",
        "container_log_max_files",
    ),
)

OPTIONS: Sequence[Option] = (*_GENERAL, *_ENGINE, *_IMAGES, *_NETWORK, *_STREAMING, *_LOGS)

#: klog's options, and whether they are boolean.  criwist logs through twistd, which has options of its own for it.
KLOG: Mapping[str, bool] = {
    "add-dir-header": True,
    "alsologtostderr": True,
    "legacy-stderr-threshold-behavior": True,
    "log-backtrace-at": False,
    "log-dir": False,
    "log-file": False,
    "log-file-max-size": False,
    "log-flush-frequency": False,
    "logging-format": False,
    "logtostderr": True,
    "one-output": True,
    "skip-headers": True,
    "skip-log-headers": True,
    "stderrthreshold": False,
    "vmodule": False,
}
