"""The functional tests that run inside the node by default: those whose outcome depends on the node.

Emulated, one test takes about 15 seconds, and there are many hundreds.  The selection has the tests that depend on the
kernel, on systemd or on the engine's rights.  Tests that are the same on every machine or take long by their nature are
left to ``make test``, and so is the second opinion, which is about the tests.  ``CRIWIST_NODE_ALL=1`` runs everything,
in some hours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

_WHERE = "tests/functional"

#: Files whose tests run: how nodes differ there, and the names of the tests; without names all tests of the file run.
ON_A_NODE: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "test_node_cgroups.py": ("slices and scopes that systemd makes", ()),
    "test_node_security.py": ("AppArmor, scores of the OOM killer, low ports", ()),
    "test_node_journald.py": ("the journal", ()),
    "test_fields_resources.py": (
        "the cgroups' version and driver",
        (
            *("test_cpu", "test_memory_without_swap", "test_memory_with_swap", "test_unlimited_swap", "test_unlimited"),
            *(
                "test_processes",
                "test_unified",
                "test_unified_key_that_the_kernel_refuses",
                "test_unified_on_cgroup_v1",
            ),
            *("test_hugepages", "test_hugepages_that_cannot_be_limited", "test_quota_is_enforced"),
            "test_oom_score_of_a_running_container",
        ),
    ),
    "test_fields_mounts.py": (
        "propagation, recursive read-only, AppArmor's rules for mounts",
        (
            *("test_socket", "test_readonly_is_not_recursive", "test_recursive_readonly"),
            *("test_propagation_from_the_host", "test_propagation_to_the_host", "test_propagation_is_reported"),
            *("test_bidirectional_needs_a_shared_mount", "test_relabelling_without_selinux"),
        ),
    ),
    "test_fields_image_volumes.py": (
        "overlay mounts of image layers",
        ("test_image", "test_it_is_read_only", "test_sub_path", "test_nothing_is_left", "test_image_in_use_stays"),
    ),
    "test_fields_annotations.py": ("annotations that a newer engine passes to the OCI runtime", ()),
    "test_network_cni.py": (
        "bridges, packet filters, queues and plugins as the distribution has them",
        (
            *("test_pods_reach_each_other_and_the_host", "test_host_ports", "test_dual_stack", "test_bandwidth"),
            *("test_udp_host_port", "test_host_ports_are_known_after_a_restart"),
            "test_namespace_is_mounted_while_the_pod_exists",
        ),
    ),
    "test_network_configuration.py": (
        "plugins of the distribution's version",
        ("test_every_version", "test_alternative_versions", "test_check"),
    ),
    "test_network_teardown.py": (
        "rules that plugins leave in the packet filter",
        ("test_pause_killed_before_stop", "test_host_port_of_a_pod_from_before_a_reboot"),
    ),
    "test_network_kinds.py": ("hairpin traffic through the kernel's bridge", ("test_kubenet",)),
    "test_logs_drivers.py": ("the engine's log drivers", ("test_local", "test_api", "test_none", "test_symlink_mode")),
    "test_fields_privileged.py": ("an engine with all capabilities", ()),
    "test_fields_namespaces.py": ("namespaces, user namespaces among them", ()),
    "test_fields_process.py": (
        "the device cgroup, terminals, CDI",
        ("test_terminal", "test_device", "test_device_without_permission", "test_device_by_link", "test_cdi_device"),
    ),
    "test_stats.py": (
        "cgroup files of both versions and drivers",
        (
            *("test_cpu", "test_half_a_core", "test_memory", "test_no_limit", "test_swap", "test_pressure"),
            *("test_network", "test_pod_of_kubelet", "test_pods_that_share_a_cgroup", "test_processes"),
        ),
    ),
    "test_pod_metrics.py": (
        "cgroup files of both versions and drivers",
        ("test_descriptors_match", "test_figures_agree_with_the_stats", "test_limits_and_throttling"),
    ),
    "test_kernel_resources.py": ("cgroup files", ()),
    "test_kernel_oom.py": ("whether the engine may lower scores", ()),
    "test_kernel_processes.py": ("/proc, freezing and killing", ("test_orphans", "test_others_live")),
    "test_kernel_mounts.py": (
        "overlay mounts",
        ("test_one_layer", "test_leftovers_of_a_crash", "test_running_container_keeps_its_tree"),
    ),
    "test_pause.py": ("signals of process 1, under the engine's profiles", ()),
    "test_status.py": ("engine, cgroup driver and handlers in Status", ()),
    "test_cadvisor_socket.py": ("cgroups of containers", ("test_pod", "test_each_cgroup_as_it_appears")),
    "test_harness.py": ("the tests' own engine and namespaces", ("test_session_has_its_own_network",)),
    "test_sandboxes.py": (
        "networks, sysctls and cgroups of pods",
        (
            *("test_hostname_and_dns", "test_address_is_the_containers", "test_pods_reach_each_other"),
            *("test_host_network", "test_host_port", "test_sysctls", "test_cgroup_parent"),
            *("test_killed_pause_is_not_ready", "test_stop_ends_the_containers", "test_remove_removes_the_containers"),
        ),
    ),
    "test_container_lifecycle.py": (
        "signals, and programs that cannot start",
        ("test_life_of_a_container", "test_running_container_is_removed_by_force", "test_bad_command"),
    ),
    "test_container_status.py": ("paths of logs", ("test_status_has_the_configuration",)),
    "test_container_stop.py": (
        "signals",
        ("test_stop_is_graceful", "test_stop_kills_after_the_grace", "test_stop_uses_the_configurations_signal"),
    ),
    "test_container_namespaces.py": ("namespaces", ()),
    "test_container_configuration.py": ("mounts, and users of the image", ("test_mounts", "test_user_by_name")),
    "test_container_resources.py": (
        "the OOM killer, and limits in cgroups",
        ("test_memory_limit_and_oom", "test_resources_are_reported_and_updated", "test_oom_score"),
    ),
    "test_exec_sync.py": (
        "processes that AppArmor and cgroups confine are ended",
        (
            *("test_streams_and_exit_code", "test_missing_executable", "test_timeout_kills_descendants"),
            *("test_end_with_an_open_pipe", "test_container_that_ends_meanwhile"),
        ),
    ),
    "test_engine_changes.py": (
        "an engine that is ended",
        ("test_out_of_memory", "test_engine_is_killed_and_comes_back"),
    ),
    "test_logs_format.py": (
        "files of the engine's",
        ("test_line", "test_long_line", "test_planted_link", "test_planted_link_on_the_way"),
    ),
    "test_network_netns.py": ("network namespaces", ()),
    "test_network_dns.py": ("resolv.conf", ("test_first_instruction", "test_host_network", "test_nothing_asked_for")),
    "test_fields_security.py": ("capabilities, seccomp, AppArmor, masked paths", ()),
    "test_service.py": ("its socket, its end", ("test_socket_is_for_owner_and_group", "test_ends_with_calls_open")),
}

#: Patterns of files whose tests do not run, each with the reason; files above are excepted.
ELSEWHERE: Mapping[str, str] = {
    "test_bad_input.py": "refused before a kernel sees it",
    "test_demo.py": "starts an engine of its own as a user without a node does",
    "test_docker_client.py": "the docker command is the same program everywhere",
    "test_docker_contract.py": "the engine's API, seen from our client; every other test goes through it",
    "test_fields_users.py": "arithmetic of ids that the image's files decide",
    "test_hostile_calls.py": "names, labels and calls, which no kernel sees",
    "test_events.py": "what criwist makes of the engine's events, which test_engine_changes shows there",
    "test_image_*.py": "the engine's store of images",
    "test_isolation_of_long_calls.py": "measures time, which emulation distorts",
    "test_newer_engines.py": "fetches engines, of which the node's is one",
    "test_replays.py": "fetches an engine and containerd",
    "test_kernel_checkpoints.py": "fetches CRIU, which Debian 13 has not",
    "test_dashboard.py": "the same numbers everywhere",
    "test_metrics.py": "the same numbers everywhere, and an engine that is away or behind",
    "test_page.py": "a browser, which a node has not; its figures are those of test_stats",
    "test_network_capabilities.py": "arguments of the same plugins as those of test_network_cni",
    "test_v1alpha2.py": "names of services",
    "test_logs_*.py": "floods, which emulation turns into half hours, and many starts of criwist",
    "test_network_*.py": "scripts as plugins, and one more configuration of what the node's CNI tests show",
    "test_pull_deadline.py": "registries that stall",
    "test_streaming_*.py": "protocols and kubectls; exec_sync and network_netns show their effect on a container",
}


def everything() -> bool:
    """Return whether all tests are to run, on both runtimes."""
    return os.environ.get("CRIWIST_NODE_ALL") == "1"


def inside() -> list[str]:
    """Return pytest's arguments for the node by default."""
    return [_WHERE] if everything() else list(_chosen())


def _chosen() -> Iterator[str]:
    for file, (_, tests) in ON_A_NODE.items():
        if not tests:
            yield f"{_WHERE}/{file}"
        for test in tests:
            yield f"{_WHERE}/{file}::{test}"
