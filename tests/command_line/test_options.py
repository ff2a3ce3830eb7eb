"""The command line of ``twistd criwist``: ``criwist.command_line.options`` and its modules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.python.usage import UsageError

from criwist import __version__
from criwist.command_line.options import Options
from criwist.command_line.table import KLOG, OPTIONS
from criwist.command_line.values import duration
from criwist.config import Config, TLSFiles


def parsed(*arguments: str, environment: Mapping[str, str] | None = None) -> Options:
    """Options after parsing."""
    options = Options(environment or {})
    options.parseOptions(list(arguments))
    return options


def config(*arguments: str, environment: Mapping[str, str] | None = None) -> Config:
    """The configuration for a command line."""
    return parsed(*arguments, environment=environment).config()


def test_nothing_said() -> None:
    """An empty command line gives the configuration's own defaults."""
    assert config() == Config()


#: One option as it may be written, the member of Config that it sets, and the value.
ACCEPTED: list[tuple[str, str, Any]] = [
    ("--endpoint=unix:///run/a.sock", "endpoint", "unix:///run/a.sock"),
    ("--endpoint=/run/a.sock", "endpoint", "unix:///run/a.sock"),
    ("--container-runtime-endpoint=tcp://127.0.0.1:3735", "endpoint", "tcp://127.0.0.1:3735"),
    ("--container-runtime-endpoint=fd://", "endpoint", "fd://"),
    ("--endpoint=tcp://[::1]:3735", "endpoint", "tcp://[::1]:3735"),
    ("--endpoint=tcp://localhost:3735", "endpoint", "tcp://localhost:3735"),
    ("--docker-endpoint=unix:///run/docker.sock", "docker_endpoint", "unix:///run/docker.sock"),
    ("--docker-endpoint=tcp://engine.example:2000", "docker_endpoint", "tcp://engine.example:2000"),
    ("--docker-endpoint=tcp://engine.example", "docker_endpoint", "tcp://engine.example:2375"),
    ("--docker-endpoint=tcp://[fd00::1]/", "docker_endpoint", "tcp://[fd00::1]:2375"),
    ("--root-directory=/a", "root_directory", "/a"),
    ("--cri-dockerd-root-directory=/a", "root_directory", "/a"),
    ("--dockershim-root-directory=/a", "root_directory", "/a"),
    (
        "--pod-infra-container-image=registry.k8s.io/pause:3.10",
        "pod_infra_container_image",
        "registry.k8s.io/pause:3.10",
    ),
    ("--image-pull-progress-deadline=1m30s", "image_pull_progress_deadline", 90.0),
    ("--image-pull-progress-deadline=0", "image_pull_progress_deadline", 0.0),
    ("--writable-layer-interval=30s", "writable_layer_interval", 30.0),
    ("--writable-layer-interval=0", "writable_layer_interval", 0.0),
    ("--runtime-request-timeout=1h", "runtime_request_timeout", 3600.0),
    ("--network-plugin=kubenet", "network_plugin", "kubenet"),
    ("--network-plugin=bridge", "network_plugin", "bridge"),
    ("--network-plugin=no-op", "network_plugin", "bridge"),
    ("--network-plugin=", "network_plugin", "bridge"),
    ("--cni-conf-dir=/a", "cni_conf_dir", "/a"),
    ("--cni-bin-dir=/a,/b", "cni_bin_dirs", ("/a", "/b")),
    ("--cni-cache-dir=/a", "cni_cache_dir", "/a"),
    ("--network-plugin-mtu=1460", "network_plugin_mtu", 1460),
    ("--hairpin-mode=promiscuous-bridge", "hairpin_mode", "promiscuous-bridge"),
    ("--pod-cidr=10.0.0.0/24,fd00::/64", "pod_cidr", "10.0.0.0/24,fd00::/64"),
    ("--streaming-bind-addr=127.0.0.1", "streaming_bind_addr", "127.0.0.1:0"),
    ("--streaming-bind-addr=127.0.0.1:10010", "streaming_bind_addr", "127.0.0.1:10010"),
    ("--streaming-bind-addr=localhost:10010", "streaming_bind_addr", "127.0.0.1:10010"),
    ("--streaming-bind-addr=::1", "streaming_bind_addr", "[::1]:0"),
    ("--streaming-bind-addr=[::1]", "streaming_bind_addr", "[::1]:0"),
    ("--streaming-bind-addr=[::1]:1", "streaming_bind_addr", "[::1]:1"),
    ("--streaming-insecure", "streaming_insecure", True),
    ("--streaming-insecure=false", "streaming_insecure", False),
    ("--streaming-idle-timeout=4h", "streaming_idle_timeout", 14400.0),
    ("--runtime-cgroups=/system.slice/docker.service", "runtime_cgroups", "/system.slice/docker.service"),
    ("--log-mode=symlink", "log_mode", "symlink"),
    ("--container-log-driver=local", "container_log_driver", "local"),
    ("--pinned-images=pause:*, nginx", "pinned_images", ("pause:*", "nginx")),
    ("--pinned-image-labels=keep,keep=yes", "pinned_image_labels", ("keep", "keep=yes")),
    ("--cadvisor-socket=/run/criwist/cadvisor.sock", "cadvisor_socket", "/run/criwist/cadvisor.sock"),
    ("--cadvisor-socket=unix:///run/c.sock", "cadvisor_socket", "/run/c.sock"),
    ("--cadvisor-socket=", "cadvisor_socket", ""),
    ("--metrics-bind-addr=127.0.0.1:9105", "metrics_bind_addr", "127.0.0.1:9105"),
    ("--metrics-bind-addr=localhost", "metrics_bind_addr", "127.0.0.1:0"),
    ("--metrics-bind-addr=", "metrics_bind_addr", ""),
    ("--log-level=debug", "log_level", "debug"),
    ("--log-level=Warning", "log_level", "warn"),
    ("--log-level=fatal", "log_level", "critical"),
    ("--v=2", "log_level", "info"),
    ("-v=4", "log_level", "debug"),
]


@pytest.mark.parametrize(("argument", "member", "value"), ACCEPTED)
def test_accepted(argument: str, member: str, value: Any) -> None:
    """Each spelling sets its member and no other; a value after ``=`` and one as the next argument are the same."""
    expected = attrs.evolve(Config(), **{member: value})
    assert config(argument) == expected
    name, equals, text = argument.partition("=")
    if equals and value is not False:
        assert config(name, text) == expected


def test_every_option_is_tried() -> None:
    """The table above has every option that sets a member of its own."""
    tried = {argument.partition("=")[0].lstrip("-") for argument, _, _ in ACCEPTED}
    lacking = [option.name for option in OPTIONS if option.member and tried.isdisjoint({option.name, *option.aliases})]
    assert lacking == ["container-log-max-size", "container-log-max-files"]


#: A command line, and the beginning of what is said of it.
REFUSED: list[tuple[list[str], str]] = [
    (["--endpoint=fd://3"], "--endpoint='fd://3': expected unix:///path"),
    (["--container-runtime-endpoint=run/a.sock"], "--container-runtime-endpoint='run/a.sock': expected unix:///path"),
    (["--endpoint=unix://run/a.sock"], "--endpoint='unix://run/a.sock': expected unix:///path"),
    (["--endpoint=unix:///" + "a" * 107], "--endpoint='unix:///aaa"),
    (["--endpoint=tcp://0.0.0.0:1"], "--endpoint='tcp://0.0.0.0:1': expected a loopback address"),
    (["--endpoint=tcp://node.example:1"], "--endpoint='tcp://node.example:1': expected a loopback address"),
    (["--endpoint=tcp://127.0.0.1"], "--endpoint='tcp://127.0.0.1': expected unix:///path or tcp://127.0.0.1:port"),
    (["--endpoint=tcp://127.0.0.1:0"], "--endpoint='tcp://127.0.0.1:0': expected a port that is not 0"),
    (["--endpoint=tcp://127.0.0.1:65536"], "--endpoint='tcp://127.0.0.1:65536': expected unix:///path"),
    (["--endpoint=npipe:////./pipe/x"], "--endpoint='npipe:////./pipe/x': expected"),
    (["--endpoint="], "--endpoint='': expected"),
    (["--docker-endpoint=ssh://a"], "--docker-endpoint='ssh://a': expected unix:///path or tcp://host:port"),
    (["--docker-endpoint=tcp://a:b"], "--docker-endpoint='tcp://a:b': expected"),
    (["--docker-endpoint=tcp://a:0"], "--docker-endpoint='tcp://a:0': expected"),
    (["--docker-endpoint=tcp://"], "--docker-endpoint='tcp://': expected"),
    (["--docker-tls-ca=ca.pem"], "--docker-tls-ca='ca.pem': expected an absolute path"),
    (["--docker-tls-ca=/ca.pem"], "--docker-tls-ca='/ca.pem': needs a tcp:// engine"),
    (["--docker-tls-cert=/c", "--docker-endpoint=tcp://a"], "--docker-tls-cert='/c': needs --docker-tls-key"),
    (["--docker-tls-key=/k", "--docker-endpoint=tcp://a"], "--docker-tls-key='/k': needs --docker-tls-cert"),
    (["--cri-dockerd-root-directory=a"], "--cri-dockerd-root-directory='a': expected an absolute path"),
    (["--pod-infra-container-image=Pause"], "--pod-infra-container-image='Pause': expected an image reference"),
    (["--image-pull-progress-deadline=60"], "--image-pull-progress-deadline='60': expected a duration like 1m30s"),
    (["--image-pull-progress-deadline=-1s"], "--image-pull-progress-deadline='-1s': expected a duration"),
    (["--image-pull-progress-deadline="], "--image-pull-progress-deadline='': expected a duration"),
    (["--writable-layer-interval=never"], "--writable-layer-interval='never': expected a duration"),
    (["--runtime-request-timeout=0"], "--runtime-request-timeout='0': expected a duration longer than 0"),
    (["--network-plugin=flannel"], "--network-plugin='flannel': expected one of cni, kubenet, bridge"),
    (["--cni-bin-dir=/a,b"], "--cni-bin-dir='/a,b': expected absolute paths, comma-separated"),
    (["--cni-bin-dir="], "--cni-bin-dir='': expected absolute paths"),
    (["--network-plugin-mtu=70000"], "--network-plugin-mtu='70000': expected a whole number from 0 to 65535"),
    (["--network-plugin-mtu=1_0"], "--network-plugin-mtu='1_0': expected a whole number"),
    (["--hairpin-mode=x"], "--hairpin-mode='x': expected one of none, hairpin-veth, promiscuous-bridge"),
    (["--pod-cidr=10.0.0.0"], "--pod-cidr='10.0.0.0': expected 10.88.0.0/24"),
    (["--ipv6-dual-stack=maybe"], "--ipv6-dual-stack='maybe': expected true or false"),
    (["--ipv6-dual-stack", "false"], "unexpected argument 'false'"),
    (["--streaming-bind-addr=node:1"], "--streaming-bind-addr='node:1': expected an IP address"),
    (["--streaming-bind-addr=[::1"], "--streaming-bind-addr='[::1': expected an IP address"),
    (["--streaming-bind-addr=127.0.0.1:x"], "--streaming-bind-addr='127.0.0.1:x': expected an IP address"),
    (["--streaming-bind-addr=0.0.0.0:10010"], "--streaming-bind-addr='0.0.0.0:10010': is reachable from other"),
    (["--streaming-bind-addr=:10010"], "--streaming-bind-addr=':10010': is reachable from other machines"),
    (["--streaming-bind-addr="], "--streaming-bind-addr='': is reachable from other machines"),
    (["--streaming-tls-cert=/c"], "--streaming-tls-cert='/c': needs --streaming-tls-key"),
    (["--cadvisor-socket=run/c.sock"], "--cadvisor-socket='run/c.sock': expected the absolute path of a socket"),
    (["--cadvisor-socket=/run/"], "--cadvisor-socket='/run/': expected the absolute path of a socket"),
    (["--cadvisor-socket=/" + "a" * 107], "--cadvisor-socket='/aaa"),
    (
        ["--cadvisor-socket=/var/run/containerd//containerd.sock"],
        "--cadvisor-socket='/var/run/containerd//containerd.sock': expected a path of its own",
    ),
    (["--cadvisor-socket=/run/criwist.sock"], "--cadvisor-socket='/run/criwist.sock': expected another path than"),
    (["--metrics-bind-addr=node:1"], "--metrics-bind-addr='node:1': expected an IP address"),
    (["--metrics-bind-addr=0.0.0.0:9105"], "--metrics-bind-addr='0.0.0.0:9105': is reachable from other machines"),
    (["--metrics-tls-cert=/c", "--metrics-tls-key=/k"], "--metrics-tls-cert='/c': needs --metrics-bind-addr"),
    (["--metrics-tls-ca=/c"], "--metrics-tls-ca='/c': needs --metrics-bind-addr"),
    (["--metrics-bind-addr=:1", "--metrics-tls-cert=/c"], "--metrics-tls-cert='/c': needs --metrics-tls-key"),
    (
        ["--metrics-bind-addr=127.0.0.1:1", "--metrics-tls-ca=/c"],
        "--metrics-tls-ca='/c': needs --metrics-tls-cert and --metrics-tls-key",
    ),
    (["--streaming-insecure=2"], "--streaming-insecure='2': expected true or false"),
    (["--log-mode=json"], "--log-mode='json': expected one of cri, symlink"),
    (["--container-log-driver=journald"], "--container-log-driver='journald': expected one of json-file, local"),
    (["--container-log-max-size=10m"], "--container-log-max-size='10m': needs --container-log-driver"),
    (["--container-log-max-files=3"], "--container-log-max-files='3': needs --container-log-driver"),
    (
        ["--container-log-driver=local", "--container-log-max-size=big"],
        "--container-log-max-size='big': expected a size",
    ),
    (["--pinned-image-labels==a"], "--pinned-image-labels='=a': expected labels"),
    (["--log-level=loud"], "--log-level='loud': expected one of trace, debug"),
    (["-v=x"], "-v='x': expected a whole number"),
    (["--log-level"], "--log-level: needs a value"),
    (["--pod-infra-container-imag=a"], "there is no option --pod-infra-container-imag; do you mean --pod-infra-"),
    (["serve"], "unexpected argument 'serve'"),
]


@pytest.mark.parametrize(("arguments", "problem"), REFUSED)
def test_refused(arguments: list[str], problem: str) -> None:
    """A wrong value is a usage error with the option as written, the value, and the expected form."""
    with pytest.raises(UsageError) as caught:
        parsed(*arguments)
    assert str(caught.value).startswith(problem)


def test_last_wins() -> None:
    """An option given twice, under any of its names, has its last value."""
    assert config("--endpoint=/a", "--container-runtime-endpoint=/b").endpoint == "unix:///b"


def test_lists_add_up() -> None:
    """The values of repeatable options are joined."""
    assert config("--pinned-images=a,b", "--pinned-images", "c").pinned_images == ("a", "b", "c")


def test_log_level_before_verbosity() -> None:
    """``--log-level`` wins over klog's ``--v``."""
    assert config("--log-level=error", "--v=9").log_level == "error"
    assert config("--v=9", "--log-level=info").log_level == "info"


def test_log_driver_sizes() -> None:
    """Log sizes need a log driver."""
    made = config("--container-log-driver=json-file", "--container-log-max-size=10Mi", "--container-log-max-files=3")
    assert (made.container_log_max_size, made.container_log_max_files) == ("10Mi", 3)


@pytest.mark.parametrize("name", sorted(KLOG))
def test_klog(name: str) -> None:
    """klog's options are accepted in both spellings, with a warning that they have no effect."""
    for spelled in (f"--{name}", f"--{name.replace('-', '_')}"):
        options = parsed(spelled if KLOG[name] else f"{spelled}=/var/log/x")
        assert options.config() == Config()
        assert [warning for warning in options.warnings if warning.startswith(f"{spelled} has no effect")]


def test_dual_stack() -> None:
    """``--ipv6-dual-stack`` is accepted; switching it off gives a warning that it has no effect."""
    assert parsed("--ipv6-dual-stack").warnings == []
    assert "has no effect" in parsed("--ipv6-dual-stack=false").warnings[0]


#: Environment, command line, and the engine's address and TLS files.
ENGINES: list[tuple[dict[str, str], list[str], tuple[str, TLSFiles | None]]] = [
    ({}, [], ("unix:///var/run/docker.sock", None)),
    ({"DOCKER_HOST": "unix:///a"}, [], ("unix:///a", None)),
    ({"DOCKER_HOST": "unix:///a"}, ["--docker-endpoint=unix:///b"], ("unix:///b", None)),
    ({"DOCKER_HOST": "unix:///a"}, ["--docker-endpoint="], ("unix:///a", None)),
    ({"DOCKER_HOST": "tcp://a"}, [], ("tcp://a:2375", None)),
    (
        {"DOCKER_HOST": "tcp://a", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"},
        [],
        ("tcp://a:2376", TLSFiles("/certs/ca.pem", "/certs/cert.pem", "/certs/key.pem")),
    ),
    (
        {"DOCKER_HOST": "tcp://a:1", "DOCKER_CERT_PATH": "/certs"},
        ["--docker-tls-ca=/ca"],
        ("tcp://a:1", TLSFiles("/ca")),
    ),
    (
        {"DOCKER_HOST": "tcp://a", "DOCKER_CERT_PATH": "/certs"},
        ["--docker-endpoint=tcp://b", "--docker-tls-cert=/c", "--docker-tls-key=/k"],
        ("tcp://b:2376", TLSFiles("", "/c", "/k")),
    ),
    ({"DOCKER_HOST": "unix:///a", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"}, [], ("unix:///a", None)),
]


@pytest.mark.parametrize(("environment", "arguments", "expected"), ENGINES)
def test_engine(environment: dict[str, str], arguments: list[str], expected: tuple[str, TLSFiles | None]) -> None:
    """The engine's address and TLS files come from the options, else from the environment, else from the defaults."""
    made = config(*arguments, environment=environment)
    assert (made.docker_endpoint, made.docker_tls) == expected


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"DOCKER_HOST": "ssh://a"}, "DOCKER_HOST='ssh://a': expected"),
        ({"DOCKER_HOST": "tcp://a", "DOCKER_TLS_VERIFY": "1"}, "DOCKER_TLS_VERIFY is set: expected DOCKER_CERT_PATH"),
        ({"DOCKER_HOST": "tcp://a", "DOCKER_CERT_PATH": "certs"}, "DOCKER_CERT_PATH='certs': expected an absolute"),
    ],
)
def test_bad_environment(environment: dict[str, str], problem: str) -> None:
    """A wrong value in the environment is a usage error that names the variable."""
    with pytest.raises(UsageError) as caught:
        parsed(environment=environment)
    assert str(caught.value).startswith(problem)


def test_unencrypted_engine() -> None:
    """An unencrypted connection to the engine is accepted with a warning."""
    assert "neither encrypted" in parsed("--docker-endpoint=tcp://a").warnings[0]
    assert parsed("--docker-endpoint=tcp://a", "--docker-tls-ca=/ca").warnings == []


def test_metrics_from_elsewhere() -> None:
    """The metrics are reachable from other machines with TLS, for clients with a certificate if a CA is given."""
    arguments = ["--metrics-bind-addr=0.0.0.0:1", "--metrics-tls-cert=/c", "--metrics-tls-key=/k"]
    assert config(*arguments).metrics_tls == TLSFiles("", "/c", "/k")
    assert config(*arguments, "--metrics-tls-ca=/a").metrics_tls == TLSFiles("/a", "/c", "/k")
    assert config(*arguments).metrics_bind_addr == "0.0.0.0:1"


def test_streaming_from_elsewhere() -> None:
    """The streaming server is reachable from other machines with TLS, or with --streaming-insecure and a warning."""
    secure = parsed("--streaming-bind-addr=0.0.0.0:1", "--streaming-tls-cert=/c", "--streaming-tls-key=/k")
    assert secure.config().streaming_tls == TLSFiles("", "/c", "/k")
    assert secure.warnings == []
    bold = parsed("--streaming-bind-addr=[::]:1", "--streaming-insecure")
    assert bold.config().streaming_bind_addr == "[::]:1"
    assert len(bold.warnings) == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` prints criwist's version and exits with status 0."""
    with pytest.raises(SystemExit) as ended:
        parsed("--version")
    assert not ended.value.code
    assert capsys.readouterr().out == f"criwist {__version__}\n"


def test_buildinfo(capsys: pytest.CaptureFixture[str]) -> None:
    """``--buildinfo`` prints the versions of Python and the main libraries and exits with status 0."""
    with pytest.raises(SystemExit) as ended:
        parsed("--buildinfo")
    assert not ended.value.code
    printed = capsys.readouterr().out
    for name in (f"criwist {__version__}", "Python 3", "twisted ", "grpcio ", "protobuf "):
        assert name in printed


def test_help() -> None:
    """``--help`` lists every option of criwist, with its default."""
    usage = Options({}).getUsage()
    for option in OPTIONS:
        assert f"--{option.name}=" in usage
    assert "[default: unix:///run/criwist.sock]" in re.sub(r"\s+", " ", usage)


#: ExecStart lines of the older shims' units, and of a kubelet with dockershim's options.
UNITS = [
    "--container-runtime-endpoint unix:///run/cri-dockerd.sock --network-plugin=cni --cni-bin-dir=/opt/cni/bin "
    "--cni-cache-dir=/var/lib/cni/cache --cni-conf-dir=/etc/cni/net.d "
    "--pod-infra-container-image=registry.k8s.io/pause:3.9",
    "--network-plugin=kubenet --pod-cidr=10.244.0.0/24 --hairpin-mode=hairpin-veth --network-plugin-mtu=1460 --v=2 "
    "--logtostderr=true --streaming-bind-addr=127.0.0.1:10010 --ipv6-dual-stack --runtime-cgroups=/system.slice/docker",
    "--docker-endpoint=unix:///var/run/docker.sock --image-pull-progress-deadline=5m0s --runtime-request-timeout=15m0s "
    "--cri-dockerd-root-directory=/var/lib/cri-dockerd --log-level=info",
]


@pytest.mark.parametrize("unit", UNITS)
def test_units_of_older_shims(unit: str) -> None:
    """Command lines of the older shims are accepted unchanged."""
    assert config(*unit.split()).root_directory


DURATIONS = [
    ("1h2m3s", 3723.0),
    ("1.5h", 5400.0),
    (".5s", 0.5),
    ("1.s", 1.0),
    ("500ms", 0.5),
    ("250us", 0.00025),
    ("250µs", 0.00025),
    ("250μs", 0.00025),
    ("5ns", 5e-9),
    ("+1s", 1.0),
    ("0", 0.0),
    ("0s", 0.0),
]


@pytest.mark.parametrize(("text", "seconds"), DURATIONS)
def test_durations(text: str, seconds: float) -> None:
    """Go's durations are parsed into seconds."""
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "1", "s", ".s", "1s ", " 1s", "1 s", "1d", "-1s", "1e3s", "٣s", "300000h1", "3000000h"]
)
def test_no_durations(text: str) -> None:
    """A duration that Go refuses, or that is negative, is refused."""
    with pytest.raises(ValueError, match="expected a duration"):
        duration(text)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 999), st.sampled_from(["h", "m", "s", "ms", "us", "ns"])), min_size=1, max_size=4)
)
def test_durations_add_up(parts: list[tuple[int, str]]) -> None:
    """A duration is the sum of its parts."""
    expected = sum(duration(f"{count}{unit}") for count, unit in parts)
    assert duration("".join(f"{count}{unit}" for count, unit in parts)) == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([option.name for option in OPTIONS]), st.text(max_size=30))
def test_any_value(name: str, value: str) -> None:
    """Every value of every option is accepted, or is a usage error that names the option."""
    try:
        assert isinstance(config(f"--{name}={value}"), Config)
    except UsageError as error:
        assert f"--{name}" in str(error)  # noqa: PT017 - either is right
