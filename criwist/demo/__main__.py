"""``python -m criwist.demo pod.yaml``: run a v1 Pod manifest through a CRI socket, show its state, remove it."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import grpc

from criwist.demo.busybox import BUSYBOX_REFERENCE, busybox_image, load
from criwist.demo.manifest import read_pod
from criwist.demo.progress import Progress
from criwist.demo.runner import DemoError, Runner
from criwist.demo.sections import ManifestError
from criwist.errors import CriwistError

try:
    import yaml
except ImportError:
    sys.exit("the demo reads YAML: pip install 'criwist[demo]'")


def main(arguments: Sequence[str]) -> int:
    """Run the demo, and return the exit status: 0, or 1 if a container failed."""
    options = _parser().parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="criwist-demo-"))
    directory.chmod(0o755)
    try:
        document = yaml.safe_load(Path(options.manifest).read_text(encoding="utf-8"))
        plan = read_pod(document, directory)
        for path in plan.not_applied:
            print(f"not applied: {path}")
        runner = Runner(options.endpoint, sys.stdout)
        runner.print_runtime()
        if options.load_busybox and not runner.has_image(BUSYBOX_REFERENCE):
            _load_busybox(options.docker_endpoint)
            runner.wait_for_image(BUSYBOX_REFERENCE)
        return runner.run(plan, seconds=options.seconds, keep=options.keep)
    finally:
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)


def _load_busybox(docker_endpoint: str) -> None:
    archive = busybox_image().archive(BUSYBOX_REFERENCE)
    with Progress(f"loading {BUSYBOX_REFERENCE}") as progress:
        load(archive, lambda sent, total: progress.update(f"{sent >> 10} of {total >> 10} KiB"), docker_endpoint)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m criwist.demo", description=__doc__)
    parser.add_argument("manifest", help="a v1 Pod in YAML")
    parser.add_argument("--endpoint", default="unix:///run/criwist.sock", help="the CRI socket (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="how long the pod may run (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the pod")
    parser.add_argument(
        "--load-busybox", action="store_true", help=f"make {BUSYBOX_REFERENCE} of the machine's static busybox first"
    )
    parser.add_argument("--docker-endpoint", default="", help="where --load-busybox loads it (DOCKER_HOST)")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except grpc.RpcError as error:
        sys.exit(f"criwist.demo: {error.code().name}: {error.details()}")
    except (ManifestError, DemoError, CriwistError, OSError, yaml.YAMLError) as error:
        sys.exit(f"criwist.demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
