"""Install criwist on the node as its users do: a virtual environment, the unit file, options; then the tests."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tools.node.guest import Guest
from tools.node.image import Image
from tools.node.places import PYTHON, ROOT
from tools.node.wheels import TREE, for_tests, installed, tree, wheels

_PREFIX = "/opt/criwist"
_WHEELS = "/root/wheels"
_SITE = f"{_PREFIX}/lib/python{PYTHON}/site-packages"
_FOR_TESTS = "/opt/for-tests"
#: Directory of the tests, without criwist's own modules, so that they import the installed ones.
TESTS = "/root/criwist"

#: Debian installs CNI's plugins in another directory than Kubernetes expects.
_DEFAULTS = """\
CRIWIST_OPTIONS="--network-plugin cni --cni-bin-dir /usr/lib/cni"
"""

#: The pod network, by its name and addresses.
NETWORK, SUBNET = "node", "10.85.0.0/24"
_CONFLIST = {
    "cniVersion": "1.0.0",
    "name": NETWORK,
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": SUBNET}]], "routes": [{"dst": "0.0.0.0/0"}]},
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "firewall"},
    ],
}

#: The unit's own start limit is for real machines.
_PATIENCE = """\
[Service]
TimeoutStartSec=900s
"""


def install(guest: Guest, image: Image) -> None:
    """Install and start criwist, as README says, on a CNI network."""
    directory = wheels()
    guest.put(directory, (path.name for path in directory.iterdir()), _WHEELS)
    pip = f"pip --python {_PREFIX}/bin/python install --quiet --no-compile --no-index --disable-pip-version-check"
    guest.run(f"python3 -m venv --without-pip {_PREFIX}", within=600)
    guest.run(f"{pip} --find-links {_WHEELS} criwist", within=1200)
    guest.put(*_files(installed(directory, image), "*.pyc"), _SITE)
    guest.write((ROOT / "etc/systemd/criwist.service").read_bytes(), "/etc/systemd/system/criwist.service")
    guest.write(_DEFAULTS, "/etc/default/criwist")
    guest.write(json.dumps(_CONFLIST), "/etc/cni/net.d/10-node.conflist")
    guest.write(_PATIENCE, "/etc/systemd/system/criwist.service.d/emulation.conf")
    guest.run("systemctl daemon-reload && systemctl enable --now criwist.service", within=900)


def install_tests(guest: Guest, image: Image, paths: Iterable[str]) -> None:
    """Install tests and the modules that they import; where both have a module, criwist's own takes precedence."""
    for directory in for_tests(image, paths):
        guest.put(*_files(directory, "*"), _FOR_TESTS)
    guest.write(f"{_FOR_TESTS}\n", f"{_SITE}/for-tests.pth")
    guest.put(ROOT, tree(*TREE), TESTS)


def _files(directory: Path, pattern: str) -> tuple[Path, list[str]]:
    return directory, [str(path.relative_to(directory)) for path in directory.rglob(pattern) if path.is_file()]


def pytest_command(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the shell command that runs pytest in the node."""
    variables = shlex.join(f"{name}={value}" for name, value in environment.items())
    return f"cd {TESTS} && env {variables} {_PREFIX}/bin/python -m pytest -p no:cacheprovider {shlex.join(arguments)}"
