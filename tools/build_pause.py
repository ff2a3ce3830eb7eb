"""Build the pause programs that criwist ships, one for each architecture, or check them.

    python tools/build_pause.py            write criwist/pause/pause-amd64 and pause-arm64
    python tools/build_pause.py --check    build and compare; exit status 1 if a program differs

The compilers are those of Debian 12: gcc 12 for both, one of them a cross compiler (``gcc-x86-64-linux-gnu`` or
``gcc-aarch64-linux-gnu``).  Another version may generate other instructions, so ``--check`` requires this one.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PAUSE = Path(__file__).resolve().parent.parent / "criwist" / "pause"

#: By Go's name of the architecture.
COMPILERS = {"amd64": "x86_64-linux-gnu-gcc", "arm64": "aarch64-linux-gnu-gcc"}

#: The major version that the shipped programs were built with.
COMPILER_VERSION = "12"

# No libc, no start files; nothing that depends on time, path or machine; one segment, so that a kernel with 64 KiB
# pages runs it too; no floating-point registers, because the kernel does not align the stack as a caller would.
FLAGS = (
    "-std=gnu11",
    "-Os",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-ffreestanding",
    "-mgeneral-regs-only",
    "-fno-stack-protector",
    "-fno-ident",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-fno-pie",
    "-no-pie",
    "-nostdlib",
    "-static",
    "-s",
    "-Wl,--build-id=none",
    "-Wl,-z,norelro",
    "-Wl,-z,noseparate-code",
    "-Wl,-z,noexecstack",
    "-Wl,-z,max-page-size=65536",
)


def build(architecture: str) -> bytes:
    """Return the pause program of an architecture, an ELF file."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "pause")
        # A relative source path: the compiler could put an absolute one into the result.
        command = [COMPILERS[architecture], *FLAGS, "-o", str(output), "pause.c"]
        subprocess.run(command, check=True, cwd=PAUSE)
        return output.read_bytes()


def obstacle(architecture: str) -> str:
    """Return why this machine cannot reproduce the shipped program; ``""`` if it can."""
    compiler = COMPILERS[architecture]
    if shutil.which(compiler) is None:
        return f"{compiler} is not installed"
    version = subprocess.run([compiler, "-dumpversion"], check=True, capture_output=True, text=True).stdout.strip()
    if version.split(".")[0] != COMPILER_VERSION:
        return f"{compiler} is version {version}, the shipped program was built with {COMPILER_VERSION}"
    return ""


def main() -> int:
    """Build or check, and return the exit status."""
    parser = argparse.ArgumentParser(description="Build the pause program.")
    parser.add_argument("--check", action="store_true", help="compare with the shipped programs and write nothing")
    check: bool = parser.parse_args().check
    status = 0
    for architecture in COMPILERS:
        if problem := obstacle(architecture):
            print(f"{architecture}: {problem}", file=sys.stderr)
            status = 1
            continue
        built, shipped = build(architecture), PAUSE / f"pause-{architecture}"
        if not check:
            shipped.write_bytes(built)
            print(f"{shipped.name}: {len(built)} bytes")
        elif not shipped.exists() or shipped.read_bytes() != built:
            print(f"{shipped.name} differs from a build of pause.c", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
