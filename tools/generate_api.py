#!/usr/bin/env python3
"""Generate the Python modules of ``criwist/api/runtime/v1/api.proto``.

Generated code decides which protobuf and grpcio can run it: code generated since protobuf 5.27 refuses every older
runtime, and every runtime that is two major versions newer.  Code of protobuf 4.25 carries no such check and runs on
all later ones.  So one fixed, old grpcio-tools generates the modules, in a virtual environment of its own, because
that release conflicts with a newer protobuf.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = "criwist/api/runtime/v1/api.proto"
#: The release whose protoc is used; ``setup.cfg`` asks for its protobuf and grpcio, or later ones.
GRPCIO_TOOLS = "1.62.3"
#: grpcio-tools imports pkg_resources, which setuptools dropped in version 81.
REQUIREMENTS = (f"grpcio-tools=={GRPCIO_TOOLS}", "setuptools<81")
ENVIRONMENT = ROOT / ".cache" / f"grpcio-tools-{GRPCIO_TOOLS}"


def compiler() -> Path:
    """Return the Python that has this grpcio-tools; install it at first use."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "complete").exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
        (ENVIRONMENT / "complete").touch()
    return python


def main() -> int:
    """Run protoc from the repository's root, so that the modules import each other by their full names."""
    arguments = ["-I.", "--python_out=.", "--pyi_out=.", "--grpc_python_out=.", PROTO]
    return subprocess.run([compiler(), "-m", "grpc_tools.protoc", *arguments], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
