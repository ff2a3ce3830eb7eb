"""The options of ``twistd criwist``, one a row.

Each has the older shims' names as aliases, so that a unit file of theirs needs another program and no other change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from criwist.command_line import values as values
from criwist.command_line.addresses import bind_address, cadvisor_socket, cri_endpoint, metrics_address


@frozen
class Option:
    """One option.  Names are without dashes."""

    name: str
    #: As a user would write it.
    default: str
    #: Parses the value; raises ValueError if it is wrong.
    read: Callable[[str], Any]
    doc: str
    #: The member of Config that takes the value; ``""``: ``options`` computes it.
    member: str = ""
    #: The option's names in the older shims.
    aliases: tuple[str, ...] = ()
    boolean: bool = False
    #: May be given several times; the values are joined with commas.
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
        "address of the CRI: unix:///path, tcp:// on a loopback address, or fd:// for the socket of a socket unit; "
        "also --container-runtime-endpoint",
        "endpoint",
        ("container-runtime-endpoint",),
    ),
    Option(
        "root-directory",
        "/var/lib/criwist",
        values.absolute,
        "directory for criwist's state; also --cri-dockerd-root-directory and --dockershim-root-directory",
        "root_directory",
        ("cri-dockerd-root-directory", "dockershim-root-directory"),
    ),
    Option("log-level", "info", values.log_level, "least level in the log: debug, info, warn, error or critical"),
    Option("v", "", values.verbosity, "klog's verbosity: 4 and more is --log-level debug, less is info"),
)

_ENGINE = (
    Option(
        "docker-endpoint",
        "",
        values.text,
        "address of the engine: unix:///path or tcp://host:port "
        "[default: DOCKER_HOST, else unix:///var/run/docker.sock]",
    ),
    Option("docker-tls-ca", "", values.absolute_or_none, "CA that signs the engine's certificate; turns TLS on"),
    Option("docker-tls-cert", "", values.absolute_or_none, "criwist's certificate for the engine; turns TLS on"),
    Option("docker-tls-key", "", values.absolute_or_none, "key of that certificate"),
    Option(
        "runtime-request-timeout",
        "2m0s",
        values.positive_duration,
        "time limit of calls that change the engine's state; reads get half of it, starts and removals twice as much",
        "runtime_request_timeout",
    ),
    Option(
        "runtime-cgroups",
        "",
        values.absolute_or_none,
        "cgroup to move the engine's processes to [default: criwist does not move them]",
        "runtime_cgroups",
    ),
)

_IMAGES = (
    Option(
        "pod-infra-container-image",
        "",
        values.image_reference,
        "image of sandboxes [default: criwist's own]",
        "pod_infra_container_image",
    ),
    Option(
        "image-pull-progress-deadline",
        "1m0s",
        values.duration,
        "criwist cancels a pull without progress for this time; 0: never",
        "image_pull_progress_deadline",
    ),
    Option(
        "pinned-images",
        "",
        values.word_list,
        "images that kubelet must not remove: shell patterns, comma-separated; may be repeated",
        "pinned_images",
        repeated=True,
    ),
    Option(
        "pinned-image-labels",
        "",
        values.label_list,
        "the same by image label: key or key=value, comma-separated; may be repeated",
        "pinned_image_labels",
        repeated=True,
    ),
)

_NETWORK = (
    Option("network-plugin", "cni", _NETWORK_PLUGINS, "cni, kubenet, or bridge: Docker's own", "network_plugin"),
    Option("cni-conf-dir", "/etc/cni/net.d", values.absolute, "directory of CNI configurations", "cni_conf_dir"),
    Option(
        "cni-bin-dir",
        "/opt/cni/bin",
        values.absolute_list,
        "directories of CNI plugins, comma-separated",
        "cni_bin_dirs",
    ),
    Option("cni-cache-dir", "/var/lib/cni/cache", values.absolute, "directory of cached CNI results", "cni_cache_dir"),
    Option("network-plugin-mtu", "0", _MTU, "kubenet: MTU of pods; 0: the plugin's default", "network_plugin_mtu"),
    Option(
        "hairpin-mode",
        "none",
        _HAIRPIN_MODES,
        "kubenet: how a pod reaches itself through its service: none, hairpin-veth or promiscuous-bridge",
        "hairpin_mode",
    ),
    Option(
        "pod-cidr",
        "",
        values.pod_cidr,
        "CIDR of this node's pods, or two, comma-separated, for dual stack [default: the kubelet's]",
        "pod_cidr",
    ),
    Option(
        "ipv6-dual-stack",
        "true",
        values.boolean,
        "accepted for compatibility, without effect: pods always get all addresses that their network assigns",
        boolean=True,
    ),
)

_STREAMING = (
    Option(
        "streaming-bind-addr",
        "127.0.0.1:0",
        bind_address,
        "address for exec, attach and port-forward; port 0: any free one",
        "streaming_bind_addr",
    ),
    Option("streaming-tls-cert", "", values.absolute_or_none, "certificate of the streaming server"),
    Option("streaming-tls-key", "", values.absolute_or_none, "key of the streaming server"),
    Option(
        "streaming-insecure",
        "false",
        values.boolean,
        "allow a streaming address that other machines can reach without TLS",
        "streaming_insecure",
        boolean=True,
    ),
    Option(
        "streaming-idle-timeout",
        "0",
        values.duration,
        "criwist ends sessions that are idle for this time; 0: never",
        "streaming_idle_timeout",
    ),
)

_LOGS = (
    Option(
        "log-mode",
        "cri",
        values.choice("cri", "symlink"),
        "container logs: files in CRI format (cri), or links to Docker's files like those of the older shims (symlink)",
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
        "with --container-log-driver: number of files that Docker keeps; 0: its default",
        "container_log_max_files",
    ),
)

_STATS = (
    Option(
        "writable-layer-interval",
        "1m0s",
        values.duration,
        "how often criwist measures the disk space of a container's writable layer; 0: never",
        "writable_layer_interval",
    ),
)

_OBSERVABILITY = (
    Option(
        "cadvisor-socket",
        "",
        cadvisor_socket,
        "socket for kubelet --containerd, from which its cAdvisor learns names of containers, like "
        "/run/criwist/cadvisor.sock [default: none]",
        "cadvisor_socket",
    ),
    Option(
        "metrics-bind-addr",
        "",
        metrics_address,
        "address for metrics in Prometheus' format, loopback unless TLS is given, like 127.0.0.1:9105 [default: none]",
        "metrics_bind_addr",
    ),
    Option("metrics-tls-cert", "", values.absolute_or_none, "certificate of the metrics server"),
    Option("metrics-tls-key", "", values.absolute_or_none, "key of the metrics server"),
    Option(
        "metrics-tls-ca",
        "",
        values.absolute_or_none,
        "CA that signs the certificates of clients that may read the metrics [default: every client may]",
    ),
)

OPTIONS: Sequence[Option] = (*_GENERAL, *_ENGINE, *_IMAGES, *_NETWORK, *_STREAMING, *_LOGS, *_STATS, *_OBSERVABILITY)

#: klog's options, and whether they are boolean.  criwist logs through twistd, which has its own options for logging.
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
