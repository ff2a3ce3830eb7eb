"""A Docker image as a CRI image.

An image's document is an item of ``GET /images/json`` or an inspected image; a list's items lack the user, so a caller
that wants ``uid`` or ``username`` inspects.  Engines differ: ``VirtualSize`` is gone from API 1.44 on, an image without
names has ``<none>`` in its lists or none, and only the containerd image store reports a manifest's annotations.  The
store of Docker 28 lists an image that was pulled by digest among those with a tag, under the digest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import InvalidArgument
from criwist.interfaces.engine import JSONObject
from criwist.reference import parse
from criwist.translate.engine_json import member, number, text, text_map, texts

_NO_NAME = "<none>"
#: The mark of a digest in a reference.
_DIGEST = "@"
_INT64_MAX = 2**63 - 1


def image(document: JSONObject, *, pinned: bool, extra_size: int = 0) -> pb.Image:
    """Return the CRI image of the engine's *document*.

    :param extra_size: bytes that the image takes besides the size in the document.
    :param pinned: kubelet's garbage collection must keep it.
    """
    uid, username = image_user(text(document, "Config", "User"))
    identifier = text(document, "Id")
    return pb.Image(
        id=identifier,
        repo_tags=[name for name in _names(document, "RepoTags") if _DIGEST not in name],
        repo_digests=_digests(document),
        size=min(max(0, number(document, "Size") or number(document, "VirtualSize")) + max(0, extra_size), _INT64_MAX),
        uid=None if uid is None else pb.Int64Value(value=uid),
        username=username,
        spec=pb.ImageSpec(image=identifier, annotations=text_map(document, "Descriptor", "annotations")),
        pinned=pinned,
    )


def image_user(user: str) -> tuple[int | None, str]:
    """Return the numeric id or the name of the user in an image's ``Config.User``, which is ``user[:group]``.

    At most one of the two is set.  Kubelet treats an image without either as root's.
    """
    name = user.partition(":")[0]
    if name.isascii() and name.isdigit() and len(name) <= len(str(_INT64_MAX)) and int(name) <= _INT64_MAX:
        return int(name), ""
    return None, name


def is_pinned(
    document: JSONObject, *, patterns: Sequence[str], labels: Sequence[str], always: Collection[str] = ()
) -> bool:
    """Return whether an image is pinned.

    :param patterns: shell patterns for references and ids.  Each is compared with every tag and digest of the image,
        as Docker shows it and in full (``docker.io/library/...``), and with its id.
    :param labels: ``key``, or ``key=value``; the image must have the label, or have it with that value.
    :param always: ids of images that are pinned under any name.
    """
    if text(document, "Id") in always:
        return True
    names = [text(document, "Id"), *_names(document, "RepoTags"), *_names(document, "RepoDigests")]
    spelled = {spelling for name in names for spelling in (name, _spelled_out(name))}
    if any(fnmatchcase(name, pattern) for pattern in patterns for name in spelled):
        return True
    own = text_map(document, "Config", "Labels") or text_map(document, "Labels")
    return any(_has_label(own, wanted) for wanted in labels)


def image_info(inspected: JSONObject, *, history: Sequence[JSONObject]) -> dict[str, Any]:
    """Return the ``info`` of a verbose ImageStatus, fit for JSON."""
    config = member(inspected, "Config")
    return {
        "labels": text_map(config, "Labels"),
        "config": dict(config),
        "history": [dict(layer) for layer in history],
        "created": text(inspected, "Created"),
        "platform": {key: text(inspected, key) for key in ("Os", "Architecture", "Variant") if text(inspected, key)},
        "layers": texts(inspected, "RootFS", "Layers"),
    }


def _digests(document: JSONObject) -> list[str]:
    names = [*_names(document, "RepoDigests"), *(name for name in _names(document, "RepoTags") if _DIGEST in name)]
    return list(dict.fromkeys(names))


def _names(document: JSONObject, key: str) -> list[str]:
    return [name for name in texts(document, key) if _NO_NAME not in name]


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _spelled_out(name: str) -> str:
    """A reference with its registry and repository; an id, or any text that is no reference, unchanged."""
    try:
        return str(parse(name))
    except InvalidArgument:
        return name
