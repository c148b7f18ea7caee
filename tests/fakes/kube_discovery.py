"""What a fake cluster says that it can do: its version, its resources, and the parameters of its calls."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

_VERBS = {
    "pods": ["create", "delete", "get", "list", "patch", "watch"],
    "nodes": ["get", "list", "watch"],
    "resourcequotas": ["get", "list", "watch"],
}
_KINDS = {
    "pods": ("Pod", "po", True),
    "nodes": ("Node", "no", False),
    "resourcequotas": ("ResourceQuota", "quota", True),
}


def answer(path: str) -> Object | None:
    """The answer of a path that is about the server itself, else None."""
    return _ANSWERS.get(path.rstrip("/"))


def _resources() -> list[Object]:
    return [
        {
            "name": name,
            "singularName": kind.lower(),
            "namespaced": is_namespaced,
            "kind": kind,
            "verbs": _VERBS[name],
            "shortNames": [short],
            **({"categories": ["all"]} if name == "pods" else {}),
        }
        for name, (kind, short, is_namespaced) in _KINDS.items()
    ] + [
        {"name": f"pods/{sub}", "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}
        for sub, kind, verbs in (("exec", "PodExecOptions", ["create", "get"]), ("log", "Pod", ["get"]))
    ]


def _operation(kind: str) -> Object:
    return {
        "operationId": f"patchCoreV1{kind}",
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": "string"}} for name in ("dryRun", "fieldValidation")
        ],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": kind},
    }


_ANSWERS: dict[str, Object] = {
    "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.5", "platform": "linux/amd64"},
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": _resources()},
    "/openapi/v3": {"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=1"}}},
    # So that a client leaves validation to the server, as it does with a real one.
    "/openapi/v3/api/v1": {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.32.5"},
        "paths": {
            "/api/v1/namespaces/{namespace}/pods/{name}": {"patch": _operation("Pod")},
            "/api/v1/nodes/{name}": {"patch": _operation("Node")},
        },
        "components": {"schemas": {}},
    },
}
