"""The effective configuration as one immutable value, made by ``command_line.options``."""

from __future__ import annotations

from attrs import frozen

MINUTE = 60.0


@frozen
class TLSFiles:
    """PEM files of a TLS endpoint; ``""``: not used."""

    ca: str = ""
    certificate: str = ""
    key: str = ""


@frozen
class Config:
    """The operator's settings.  Durations are seconds, sizes bytes, paths absolute."""

    #: CRI listening address: ``unix:///path`` or ``tcp://127.0.0.1:port``.
    endpoint: str = "unix:///run/criwist.sock"
    #: Engine address: ``unix:///path`` or ``tcp://host:port``.
    docker_endpoint: str = "unix:///var/run/docker.sock"
    docker_tls: TLSFiles | None = None
    root_directory: str = "/var/lib/criwist"
    #: ``""``: criwist's own pause image.
    pod_infra_container_image: str = ""
    #: 0: no deadline.
    image_pull_progress_deadline: float = MINUTE
    runtime_request_timeout: float = 2 * MINUTE
    #: ``cni``, ``kubenet``, ``bridge``.
    network_plugin: str = "cni"
    cni_conf_dir: str = "/etc/cni/net.d"
    cni_bin_dirs: tuple[str, ...] = ("/opt/cni/bin",)
    cni_cache_dir: str = "/var/lib/cni/cache"
    #: 0: the plugin's own default.
    network_plugin_mtu: int = 0
    #: ``promiscuous-bridge``, ``hairpin-veth``, ``none``; kubenet only.
    hairpin_mode: str = "none"
    #: One CIDR, or one for each family with a comma between them; ``""``: UpdateRuntimeConfig sets it.
    pod_cidr: str = ""
    #: Host, or host and port; for port 0 the system chooses one.
    streaming_bind_addr: str = "127.0.0.1:0"
    streaming_tls: TLSFiles | None = None
    #: Allow a streaming address that is not loopback without TLS.
    streaming_insecure: bool = False
    #: 0: sessions may be idle for ever.
    streaming_idle_timeout: float = 0.0
    #: Cgroup for the engine's processes; ``""``: criwist does not move them.
    runtime_cgroups: str = ""
    #: ``cri`` or ``symlink``.
    log_mode: str = "cri"
    #: ``json-file`` or ``local``; ``""``: the daemon's default.
    container_log_driver: str = ""
    container_log_max_size: str = ""
    container_log_max_files: int = 0
    #: Seconds between two measurements of a container's writable layer; 0: they are not measured.
    writable_layer_interval: float = MINUTE
    #: Image references (shell patterns) and image labels (``key`` or ``key=value``) that mark an image
    #: as pinned.
    pinned_images: tuple[str, ...] = ()
    pinned_image_labels: tuple[str, ...] = ()
    #: Path of the socket for kubelet's cAdvisor; ``""``: none.
    cadvisor_socket: str = ""
    #: Host and port of the metrics; ``""``: none.
    metrics_bind_addr: str = ""
    metrics_tls: TLSFiles | None = None
    log_level: str = "info"
