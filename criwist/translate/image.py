"""A Docker image as a CRI image.

Takes an item of ``GET /images/json`` and an inspected image alike; a list's items lack the user, so a caller that
wants ``uid`` or ``username`` inspects.  Engines differ: ``VirtualSize`` is gone from API 1.44 on, an image without
names has ``<none>`` in its lists or none, and only the containerd image store tells a manifest's annotations.  That of
Docker 28 has an image that was pulled by digest among those with a tag, under the digest.
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
#: What tells a digest from a tag in a reference.
_DIGEST = "@"
_INT64_MAX = 2**63 - 1


def image(told: JSONObject, *, pinned: bool, beside: int = 0) -> pb.Image:
    """The CRI image for what the engine told of one.

    :param beside: bytes that it takes beside the size that was told.
    :param pinned: the kubelet is to leave it alone when it collects garbage.
    """
    uid, username = image_user(text(told, "Config", "User"))
    identifier = text(told, "Id")
    return pb.Image(
        id=identifier,
        repo_tags=[name for name in _names(told, "RepoTags") if _DIGEST not in name],
        repo_digests=_digests(told),
        size=min(max(0, number(told, "Size") or number(told, "VirtualSize")) + max(0, beside), _INT64_MAX),
        uid=None if uid is None else pb.Int64Value(value=uid),
        username=username,
        spec=pb.ImageSpec(image=identifier, annotations=text_map(told, "Descriptor", "annotations")),
        pinned=pinned,
    )


def image_user(user: str) -> tuple[int | None, str]:
    """Numeric id or name of the user that an image's ``Config.User`` names, which is ``user[:group]``.

    One of the two at most is set: a kubelet takes an image without either as root's.
    """
    name = user.partition(":")[0]
    if name.isascii() and name.isdigit() and len(name) <= len(str(_INT64_MAX)) and int(name) <= _INT64_MAX:
        return int(name), ""
    return None, name


def is_pinned(
    told: JSONObject, *, patterns: Sequence[str], labels: Sequence[str], always: Collection[str] = ()
) -> bool:
    """Whether an image is pinned.

    :param patterns: shell patterns for references and ids.  Each is held against every tag and digest of the
        image, as Docker shows it and spelled out (``docker.io/library/...``), and against its id.
    :param labels: ``key``, or ``key=value``; the image's label must be there, or have that value.
    :param always: ids of images that are pinned whatever they are called.
    """
    if text(told, "Id") in always:
        return True
    names = [text(told, "Id"), *_names(told, "RepoTags"), *_names(told, "RepoDigests")]
    spelled = {spelling for name in names for spelling in (name, _spelled_out(name))}
    if any(fnmatchcase(name, pattern) for pattern in patterns for name in spelled):
        return True
    own = text_map(told, "Config", "Labels") or text_map(told, "Labels")
    return any(_has_label(own, wanted) for wanted in labels)


def image_info(inspected: JSONObject, *, history: Sequence[JSONObject]) -> dict[str, Any]:
    """What ImageStatus tells in ``info`` when it is asked to be verbose; JSON-able."""
    config = member(inspected, "Config")
    return {
        "labels": text_map(config, "Labels"),
        "config": dict(config),
        "history": [dict(layer) for layer in history],
        "created": text(inspected, "Created"),
        "platform": {key: text(inspected, key) for key in ("Os", "Architecture", "Variant") if text(inspected, key)},
        "layers": texts(inspected, "RootFS", "Layers"),
    }


def _digests(told: JSONObject) -> list[str]:
    names = [*_names(told, "RepoDigests"), *(name for name in _names(told, "RepoTags") if _DIGEST in name)]
    return list(dict.fromkeys(names))


def _names(told: JSONObject, key: str) -> list[str]:
    return [name for name in texts(told, key) if _NO_NAME not in name]


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _spelled_out(name: str) -> str:
    """A reference with its registry and repository; an id, or whatever else is no reference, as it is."""
    try:
        return str(parse(name))
    except InvalidArgument:
        return name
