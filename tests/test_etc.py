"""The example files of ``etc/`` name options that exist, and agree with each other."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import yaml

from criwist.command_line.options import Options
from criwist.config import Config

ETC = Path(__file__).resolve().parents[1] / "etc"
UNIT = (ETC / "systemd/criwist.service").read_text("utf-8")
FLAGS = (ETC / "kubelet/kubelet-flags.env").read_text("utf-8")


def unit() -> configparser.ConfigParser:
    """Return the unit file by section and key."""
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    parser.read_string(UNIT)
    return parser


def suggested() -> Config:
    """Return the configuration of all options that the unit file's comments suggest."""
    comments = "\n".join(re.findall(r"^# +(.*)$", UNIT, re.MULTILINE))
    found = re.findall(r"^(?:CRIWIST_OPTIONS=\")?(--[^\"\n]*)\"?$", comments, re.MULTILINE)
    assert len(found) == 2
    options = Options({})
    options.parseOptions(" ".join(found).split())
    return options.config()


def kubelet_flags() -> list[dict[str, str]]:
    """Return the flags of each line for kubelet, commented ones too."""
    lines = re.findall(r"^#?KUBELET_EXTRA_ARGS=(.*)$", FLAGS, re.MULTILINE)
    return [dict(re.findall(r"(--[\w-]+)=(\S+)", line)) for line in lines]


def test_unit_suggests_options() -> None:
    """criwist takes the options that the unit file suggests, and the unit creates the directory of their socket."""
    config = suggested()
    assert config.metrics_bind_addr
    assert Path(config.cadvisor_socket).parent == Path("/run") / unit()["Service"]["RuntimeDirectory"]


def test_unit_order() -> None:
    """The unit starts after the engine and before kubelet, and needs neither."""
    section = unit()["Unit"]
    assert (section["After"], section["Before"]) == ("docker.service", "kubelet.service")
    assert not {"Requires", "Wants", "BindsTo", "Requisite"} & set(section)


def test_kubelet_flags() -> None:
    """kubelet's flags name criwist's sockets, and those of cAdvisor's are for kubelets that use containerd's client."""
    lines = kubelet_flags()
    assert [line.get("--containerd") for line in lines] == [None, *[suggested().cadvisor_socket] * 2]
    configuration = yaml.safe_load((ETC / "kubelet/kubelet-config.yaml").read_text("utf-8"))
    endpoints = {line.get("--container-runtime-endpoint", configuration["containerRuntimeEndpoint"]) for line in lines}
    assert endpoints == {Config().endpoint}
