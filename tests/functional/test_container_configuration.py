"""The fields of a container's configuration that every pod needs: image, command, environment, mounts and user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI
from tests.harness.engine import Engine


@pytest.mark.second_opinion
@pytest.mark.parametrize("form", ["tag", "id"])
def test_image_by_tag_and_by_id(cri: CRI, form: str) -> None:
    """A container runs from an image named by tag or by id; kubelet uses the id after a pull."""
    image = cri.image(images.BUSYBOX)
    assert image is not None
    _, container_id = cri.run_in_pod(image=images.BUSYBOX if form == "tag" else image.id)
    assert cri.status(container_id).state == api.CONTAINER_RUNNING


@pytest.mark.second_opinion
@pytest.mark.parametrize(
    ("command", "args", "words"),
    [
        ([], [], "entrypoint command"),
        ([], ["args"], "entrypoint args"),
        (["sh", "-c", 'echo "$0 $*" > /out/words', "mine"], [], "mine"),
        (["sh", "-c", 'echo "$0 $*" > /out/words', "mine"], ["args"], "mine args"),
    ],
)
def test_command_and_args(cri: CRI, tmp_path: Path, command: list[str], args: list[str], words: str) -> None:
    """``command`` replaces the image's entrypoint and command, ``args`` replaces the command alone."""
    config = cri.container(image=images.ENTRYPOINT, args=args, mounts=[_mount(tmp_path, "/out")])
    del config.command[:]
    config.command.extend(command)
    pod = cri.pod()
    cri.wait_for_exit(cri.run(cri.run_pod(pod), config, pod))
    assert (tmp_path / "words").read_text().strip() == words


@pytest.mark.second_opinion
def test_environment_and_directory(cri: CRI) -> None:
    """Variables of the configuration override those of the image; so does the working directory, if there is one."""
    envs = [api.KeyValue(key="FROM_IMAGE", value=b"no"), api.KeyValue(key="ODD", value=b"a = 'b'\tc")]
    config: dict[str, Any] = {"image": images.ENTRYPOINT, "envs": envs}
    _, container_id = cri.run_in_pod(**config)
    assert cri.shell(container_id, 'echo "$FROM_IMAGE|$ODD|$PWD"') == "no|a = 'b'\tc|/work\n"
    _, container_id = cri.run_in_pod(**config, working_dir="/tmp")
    assert cri.output(container_id, "pwd") == "/tmp\n"


@pytest.mark.second_opinion
def test_mounts(cri: CRI, tmp_path: Path) -> None:
    """Host directories and files are mounted, writable or read-only, through symbolic links too."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("content")
    (tmp_path / "link").symlink_to("real")
    mounts = [
        _mount(tmp_path / "link", "/rw"),
        _mount(tmp_path / "real", "/ro", readonly=True),
        _mount(tmp_path / "real" / "file", "/one-file"),
    ]
    _, container_id = cri.run_in_pod(mounts=mounts)
    assert cri.output(container_id, "cat", "/rw/file", "/ro/file", "/one-file") == "content" * 3
    cri.shell(container_id, "echo new > /rw/new")
    assert (tmp_path / "real" / "new").read_text() == "new\n"
    assert cri.execute(container_id, "touch", "/ro/new").exit_code != 0
    reported = {mount.container_path: mount for mount in cri.status(container_id).mounts}
    assert reported["/ro"].readonly
    assert not reported["/rw"].readonly
    assert reported["/one-file"].host_path == str(tmp_path / "real" / "file")


@pytest.mark.second_opinion
def test_missing_host_path_is_made(cri: CRI, tmp_path: Path) -> None:
    """CreateContainer creates a missing host path as a directory; users of dockershim rely on that."""
    _, container_id = cri.run_in_pod(mounts=[_mount(tmp_path / "new" / "directory", "/data")])
    assert (tmp_path / "new" / "directory").is_dir()
    assert cri.execute(container_id, "touch", "/data/file").exit_code == 0


def test_no_anonymous_volume_is_left(cri: CRI, engine: Engine) -> None:
    """The volume of an image's VOLUME has the image's files, is no mount of the status, and goes with the container."""

    def volumes() -> int:
        return len(engine.get("/volumes")["Volumes"] or ())

    before = volumes()
    _, container_id = cri.run_in_pod(image=images.VOLUME)
    assert cri.output(container_id, "cat", "/data/file") == "from the image\n"
    assert not cri.status(container_id).mounts
    assert volumes() == before + 1
    cri.remove(container_id)
    assert volumes() == before


@pytest.mark.second_opinion
def test_user_by_number(cri: CRI) -> None:
    """A container's processes have the ids of run_as_user, run_as_group and supplemental groups."""
    config = cri.container()
    context = config.linux.security_context
    context.run_as_user.value, context.run_as_group.value = 1234, 2345
    context.supplemental_groups.extend([3456, 4567])
    pod = cri.pod()
    container_id = cri.run(cri.run_pod(pod), config, pod)
    assert cri.shell(container_id, "id -u; id -g") == "1234\n2345\n"
    assert {"3456", "4567"} <= set(cri.output(container_id, "id", "-G").split())


@pytest.mark.second_opinion
def test_user_by_name(cri: CRI) -> None:
    """run_as_username resolves to the user and the groups that the image has for it."""
    config = cri.container()
    config.linux.security_context.run_as_username = "alice"
    pod = cri.pod()
    container_id = cri.run(cri.run_pod(pod), config, pod)
    assert cri.shell(container_id, "id -u; id -g; id -G") == "1003\n100\n100 2000\n"


def _mount(host: Path, container: str, *, readonly: bool = False) -> api.Mount:
    return api.Mount(host_path=str(host), container_path=container, readonly=readonly)
