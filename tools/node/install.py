"""criwist on the node as its users install it: a virtual environment, the unit file, options; then the tests."""

from __future__ import annotations

import shlex

from tools.node.guest import Guest
from tools.node.places import ROOT
from tools.node.wheels import PYTHON, TREE, for_tests, tree, wheels

_PREFIX = "/opt/criwist"
_WHEELS = "/root/wheels"
_FOR_TESTS = "/opt/for-tests"
#: Where the tests lie; without criwist's own modules, so that they import what is installed.
TESTS = "/root/criwist"

_DEFAULTS = """\
CRIWIST_OPTIONS="--network-plugin bridge"
"""

#: The unit's own limit of a start is for real machines.
_PATIENCE = """\
[Service]
TimeoutStartSec=900s
"""


def install(guest: Guest) -> None:
    """Install and start criwist, as README says."""
    directory = wheels()
    guest.put(directory, (path.name for path in directory.iterdir()), _WHEELS)
    pip = (
        f"{_PREFIX}/bin/pip install --quiet --no-compile --no-index --find-links {_WHEELS} --disable-pip-version-check"
    )
    guest.run(f"python3 -m venv {_PREFIX}", within=600)
    guest.run(f"{pip} criwist", within=1200)
    guest.write((ROOT / "etc/systemd/criwist.service").read_bytes(), "/etc/systemd/system/criwist.service")
    guest.write(_DEFAULTS, "/etc/default/criwist")
    guest.write(_PATIENCE, "/etc/systemd/system/criwist.service.d/emulation.conf")
    guest.run("systemctl daemon-reload && systemctl enable --now criwist.service", within=300)


def install_tests(guest: Guest) -> None:
    """Put the tests beside it, with what they import; where both have a module, criwist's own is taken."""
    directory = for_tests()
    names = (str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    guest.put(directory, names, _FOR_TESTS)
    guest.run(f"echo {_FOR_TESTS} > {_PREFIX}/lib/python{PYTHON}/site-packages/for-tests.pth")
    guest.put(ROOT, tree(*TREE), TESTS)


def pytest_command(arguments: str, environment: dict[str, str]) -> str:
    """The shell command that runs pytest in the node."""
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    return f"cd {TESTS} && {variables} {_PREFIX}/bin/python -m pytest -p no:cacheprovider {arguments}"
