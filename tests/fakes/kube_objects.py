"""Objects of the Kubernetes API as the fake of it reads them: errors, quantities, selectors, and pods as a server takes
and changes them. What a real server knows and this does not is refused with 501, so that no test passes by it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from fractions import Fraction
from typing import Any

Object = dict[str, Any]

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_NAME = re.compile(rf"{_DNS_LABEL.pattern}(\.{_DNS_LABEL.pattern})*")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_QUALIFIED = re.compile(rf"({_DNS_NAME.pattern}/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_QUANTITY = re.compile(r"([+-]?[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(m|k|[MGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?")
_STANDARD = ("cpu", "memory", "ephemeral-storage")
_BINARY = "KMGTPE"
OVER = ("Succeeded", "Failed")

# Fields that a pod may have; of those with None nothing below is looked at, and they have no effect here.
_ENV = {"name": str, "value": str, "valueFrom": None}
_CONTAINER = {
    "name": str,
    "image": str,
    "command": [str],
    "args": [str],
    "env": [_ENV],
    "envFrom": None,
    "imagePullPolicy": str,
    "lifecycle": None,
    "livenessProbe": None,
    "ports": None,
    "readinessProbe": None,
    "resizePolicy": None,
    "resources": {"limits": dict, "requests": dict, "claims": None},
    "restartPolicy": str,
    "securityContext": None,
    "startupProbe": None,
    "stdin": bool,
    "stdinOnce": bool,
    "terminationMessagePath": str,
    "terminationMessagePolicy": str,
    "tty": bool,
    "volumeDevices": None,
    "volumeMounts": None,
    "workingDir": str,
}
_TOLERATION = {"key": str, "operator": str, "value": str, "effect": str, "tolerationSeconds": int}
_METADATA = {
    "name": str,
    "generateName": str,
    "namespace": str,
    "labels": dict,
    "annotations": dict,
    "ownerReferences": None,
    "finalizers": [str],
    "creationTimestamp": None,
}
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_RULE = {"key": str, "operator": str, "values": [str]}
POD: Object = {
    "apiVersion": str,
    "kind": str,
    "metadata": _METADATA,
    "status": None,
    "spec": {
        "activeDeadlineSeconds": int,
        "affinity": {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [_RULE]}]}}},
        "automountServiceAccountToken": bool,
        "containers": [_CONTAINER],
        "dnsConfig": None,
        "dnsPolicy": str,
        "enableServiceLinks": bool,
        "ephemeralContainers": None,
        "hostAliases": None,
        "hostIPC": bool,
        "hostNetwork": bool,
        "hostPID": bool,
        "hostUsers": bool,
        "hostname": str,
        "imagePullSecrets": None,
        "initContainers": None,
        "nodeName": str,
        "nodeSelector": dict,
        "os": None,
        "overhead": None,
        "preemptionPolicy": str,
        "priority": int,
        "priorityClassName": str,
        "readinessGates": None,
        "resourceClaims": None,
        "resources": None,
        "restartPolicy": str,
        "runtimeClassName": str,
        "schedulerName": str,
        "schedulingGates": None,
        "securityContext": None,
        "serviceAccount": str,
        "serviceAccountName": str,
        "setHostnameAsFQDN": bool,
        "shareProcessNamespace": bool,
        "subdomain": str,
        "terminationGracePeriodSeconds": int,
        "tolerations": [_TOLERATION],
        "topologySpreadConstraints": None,
        "volumes": None,
    },
}


class ApiError(Exception):
    """An answer of the server that is no object."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details,
            "code": code,
        }


def unknown_to_this_fake(what: str) -> ApiError:
    return ApiError(501, "NotImplemented", f"this fake does not know {what}")


def not_found(resource: str, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource} "{name}" not found', name=name, kind=resource)


def forbidden_pod(name: str, why: str) -> ApiError:
    return ApiError(403, "Forbidden", f'pods "{name}" is forbidden: {why}', name=name, kind="pods")


def quantity(text: object) -> Fraction:
    """ValueError when that is none."""
    found = _QUANTITY.fullmatch(str(text))
    if not found:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number, suffix = Fraction(found[1].rstrip(".")), found[2] or ""
    if suffix == "m":
        return number / 1000
    if suffix[-1:] == "i":
        return number * Fraction(1024) ** (_BINARY.index(suffix[0]) + 1)
    if suffix[:1] in ("e", "E") and suffix != "E":
        return number * Fraction(10) ** int(suffix[1:])
    return number * Fraction(1000) ** ((_BINARY.index(suffix.upper()) + 1) if suffix else 0)


def selects(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether a label selector does."""
    for part in filter(None, (part.strip() for part in re.split(r",(?![^(]*\))", selector))):
        if found := re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", part):
            is_one = labels.get(found[1]) in [value.strip() for value in found[3].split(",")]
            good = is_one == (found[2] == "in")
        elif found := re.fullmatch(r"([^=!\s]+)\s*(!=|==?)\s*([^=!\s]*)", part):
            good = (labels.get(found[1]) == found[3]) == (found[2] != "!=")
        elif found := re.fullmatch(r"(!?)([^=!\s]+)", part):
            good = (found[2] in labels) == (not found[1])
        else:
            raise ApiError(400, "BadRequest", f'unable to parse requirement: found "{part}"')
        if not good:
            return False
    return True


def selects_fields(selector: str, found: Object) -> bool:
    """Whether a field selector does; of those that pods have."""
    known = ("metadata.name", "metadata.namespace", "spec.nodeName", "spec.restartPolicy", "status.phase")
    for part in filter(None, selector.split(",")):
        wanted = re.fullmatch(r"([\w.]+)(!=|==?)(.*)", part)
        if not wanted or wanted[1] not in (known if found["kind"] == "Pod" else known[:2]):
            field = wanted[1] if wanted else part
            raise ApiError(400, "BadRequest", f'field label not supported: "{field}"')
        section, _, name = wanted[1].partition(".")
        if (found.get(section, {}).get(name, "") == wanted[3]) != (wanted[2] != "!="):
            return False
    return True


def read_pod(body: object, namespace: str, *, strict: bool) -> Object:
    """A pod as it was sent, checked, and with what a server adds. ApiError when it is refused."""
    if not isinstance(body, dict) or (body.get("apiVersion"), body.get("kind")) != ("v1", "Pod"):
        raise ApiError(400, "BadRequest", "the object provided is unrecognized (must be of type Pod)")
    if strict and (unknown := list(_unknown(body, POD, ""))):
        fields = ", ".join(f'unknown field "{field}"' for field in unknown)
        raise ApiError(
            400, "BadRequest", f'Pod in version "v1" cannot be handled as a Pod: strict decoding error: {fields}'
        )
    if wrong := next(_wrong_types(body, POD, ""), None):
        what = f"json: cannot unmarshal {wrong[1]} into Go struct field {wrong[0]}"
        raise ApiError(400, "BadRequest", f'Pod in version "v1" cannot be handled as a Pod: {what}')
    pod = deepcopy(body)
    name = pod.get("metadata", {}).get("name", "")
    if pod["metadata"].setdefault("namespace", namespace) != namespace:
        raise ApiError(400, "BadRequest", "the namespace of the provided object does not match the namespace sent")
    _add_defaults(pod)
    if problems := list(_problems(pod)):
        raise invalid(name, problems)
    for field in ("initContainers", "ephemeralContainers", "schedulingGates", "nodeName"):
        if pod["spec"].get(field):
            raise unknown_to_this_fake(f"a pod's {field}")
    if pod["spec"]["restartPolicy"] != "Never" or len(pod["spec"]["containers"]) != 1:
        raise unknown_to_this_fake("pods that are restarted, or have several containers")
    return pod


def invalid(name: str, problems: Iterable[tuple[str, str]]) -> ApiError:
    causes = [{"field": field, "message": message, "reason": "FieldValueInvalid"} for field, message in problems]
    texts = [f"{cause['field']}: {cause['message']}" for cause in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return ApiError(422, "Invalid", f'Pod "{name}" is invalid: {text}', name=name, kind="Pod", causes=causes)


def patched(pod: Object, patch: Object) -> Object:
    """The pod with a merge patch. ApiError when a field may not be changed any more."""
    if unknown := list(_unknown(patch, POD, "")):
        raise ApiError(400, "BadRequest", f'strict decoding error: unknown field "{unknown[0]}"')
    changed = _merged(pod, patch)
    name, before, after = pod["metadata"]["name"], pod["spec"], changed["spec"]
    if {**before, "activeDeadlineSeconds": 0} != {**after, "activeDeadlineSeconds": 0}:
        what = "Forbidden: pod updates may not change fields other than `spec.activeDeadlineSeconds`, …"
        raise invalid(name, [("spec", what)])
    old, new = before.get("activeDeadlineSeconds"), after.get("activeDeadlineSeconds")
    if old is not None and new is None:
        raise invalid(name, [("spec.activeDeadlineSeconds", "Invalid value: must not be unset")])
    if old is not None and new is not None and new > old:
        what = f"Invalid value: {new}: must be less than or equal to previous value"
        raise invalid(name, [("spec.activeDeadlineSeconds", what)])
    if problems := list(_problems(changed)):
        raise invalid(name, problems)
    return changed


def requests(pod: Object) -> Counter[str]:
    """What a pod takes of a node."""
    found: Counter[str] = Counter()
    for container in pod["spec"]["containers"]:
        for name, amount in container["resources"].get("requests", {}).items():
            found[name] += quantity(amount)  # type: ignore[assignment]
    return found


def exceeded(quota: Object, pods: Iterable[Object], new: Object) -> str:
    """How a pod would exceed a quota, in the server's words; empty when it fits."""
    hard = {name: quantity(amount) for name, amount in quota["spec"]["hard"].items()}
    asked = _counted(new)
    for name in hard:
        # Where it is counted, every pod has to say how much it takes.
        if name.rpartition(".")[2] in ("cpu", "memory") and name not in asked:
            container = new["spec"]["containers"][0]["name"]
            return f"failed quota: {quota['metadata']['name']}: must specify {name} for: {container}"
    used: Counter[str] = Counter()
    for pod in pods:
        used.update(_counted(pod))
    over = [name for name in hard if asked[name] and used[name] + asked[name] > hard[name]]
    if not over:
        return ""

    def listed(amounts: Mapping[str, Any]) -> str:
        return ",".join(f"{name}={_plain(amounts[name])}" for name in over)

    name = quota["metadata"]["name"]
    return f"exceeded quota: {name}, requested: {listed(asked)}, used: {listed(used)}, limited: {listed(hard)}"


def _counted(pod: Object) -> Counter[str]:
    """What of a pod counts for quotas."""
    found: Counter[str] = Counter({"pods": 1, "count/pods": 1})
    for container in pod["spec"]["containers"]:
        for kind in ("requests", "limits"):
            for name, amount in container["resources"].get(kind, {}).items():
                found[f"{kind}.{name}"] += quantity(amount)  # type: ignore[assignment]
                if kind == "requests" and name in _STANDARD:
                    found[name] += quantity(amount)  # type: ignore[assignment]
    return found


def _plain(amount: Any) -> str:
    number = Fraction(amount)
    return str(number) if number.denominator == 1 else f"{int(number * 1000)}m"


def _merged(target: object, patch: object) -> Any:
    if not isinstance(patch, dict):
        if isinstance(patch, list):
            raise unknown_to_this_fake("patches of lists")
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _unknown(body: object, known: Any, path: str) -> Iterator[str]:
    if isinstance(known, list) and isinstance(body, list):
        for number, each in enumerate(body):
            yield from _unknown(each, known[0], f"{path}[{number}]")
    elif isinstance(known, dict) and isinstance(body, dict):
        for name, value in body.items():
            below = f"{path}.{name}".lstrip(".")
            if name not in known:
                yield below
            else:
                yield from _unknown(value, known[name], below)


def _wrong_types(body: object, known: Any, path: str) -> Iterator[tuple[str, str]]:
    if known is None or body is None:
        return
    kind = known if isinstance(known, type) else type(known)
    if not isinstance(body, kind) or (kind is int and isinstance(body, bool)):
        yield path, {str: "string", int: "number", bool: "bool", list: "array"}.get(type(body), "object")
    elif isinstance(known, dict) and isinstance(body, dict):
        for name in body.keys() & known.keys():
            yield from _wrong_types(body[name], known[name], f"{path}.{name}".lstrip("."))
    elif isinstance(known, list) and isinstance(body, list):
        for each in body:
            yield from _wrong_types(each, known[0], path)
    elif kind is dict and isinstance(body, dict):  # labels, amounts: all of them texts, amounts may be numbers
        is_amount = path.endswith(("limits", "requests"))
        for name, value in body.items():
            if not isinstance(value, (str, int, float) if is_amount else str):
                yield f"{path}.{name}", "number"


def _add_defaults(pod: Object) -> None:
    spec = pod.setdefault("spec", {})
    for name, value in {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0,
        "serviceAccountName": "default",
        "serviceAccount": "default",
    }.items():
        spec.setdefault(name, value)
    spec["tolerations"] = [
        *(spec.get("tolerations") or []),
        *(
            {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            for key in ("not-ready", "unreachable")
        ),
    ]
    for container in spec.get("containers") or []:
        _, _, tag = container.get("image", "").rpartition("/")[2].partition(":")
        container.setdefault("imagePullPolicy", "Always" if tag in ("", "latest") else "IfNotPresent")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        resources = container.setdefault("resources", {})
        if limits := resources.get("limits"):
            resources["requests"] = {**limits, **resources.get("requests", {})}
    requested = requests_or_nothing(pod)
    limits = [container["resources"].get("limits", {}) for container in spec.get("containers") or []]
    is_guaranteed = bool(limits) and all({"cpu", "memory"} <= each.keys() for each in limits)
    quality = "Guaranteed" if is_guaranteed else "Burstable" if {"cpu", "memory"} & requested else "BestEffort"
    pod["status"] = {"phase": "Pending", "qosClass": quality}


def requests_or_nothing(pod: Object) -> set[str]:
    return {
        name for container in pod["spec"].get("containers") or [] for name in container["resources"].get("requests", {})
    }


def _problems(pod: Object) -> Iterator[tuple[str, str]]:
    """Field and message of what is wrong with a pod's values."""
    spec = pod["spec"]
    yield from _problems_of_names(pod["metadata"])
    if spec["restartPolicy"] not in ("Always", "OnFailure", "Never"):
        choices = 'supported values: "Always", "OnFailure", "Never"'
        yield "spec.restartPolicy", f'Unsupported value: "{spec["restartPolicy"]}": {choices}'
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        yield "spec.activeDeadlineSeconds", f"Invalid value: {deadline}: must be between 1 and 2147483647, inclusive"
    if spec["terminationGracePeriodSeconds"] < 0:
        yield "spec.terminationGracePeriodSeconds", "Invalid value: must be greater than or equal to 0"
    for number, toleration in enumerate(spec["tolerations"]):
        yield from _problems_of_toleration(toleration, f"spec.tolerations[{number}]")
    required = spec.get("affinity", {}).get("nodeAffinity", {}).get(_REQUIRED)
    for rule in [each for term in (required or {}).get("nodeSelectorTerms", []) for each in term["matchExpressions"]]:
        if (rule["operator"] in ("In", "NotIn")) != bool(rule.get("values")):
            yield f"spec.affinity.nodeAffinity.{_REQUIRED}", "Required value: must be specified when `operator` is …"
    if not spec.get("containers"):
        yield "spec.containers", "Required value"
    for number, container in enumerate(spec.get("containers") or []):
        yield from _problems_of_container(container, f"spec.containers[{number}]")


def _problems_of_names(metadata: Object) -> Iterator[tuple[str, str]]:
    name = metadata.get("name", "")
    if not name:
        yield "metadata.name", "Required value: name or generateName is required"
    elif not _DNS_NAME.fullmatch(name) or len(name) > 253:
        yield "metadata.name", f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of …'
    for key, value in metadata.get("labels", {}).items():
        if not _is_qualified(key):
            yield "metadata.labels", f'Invalid value: "{key}": name part must consist of alphanumeric characters, …'
        if not _LABEL_VALUE.fullmatch(value) or len(value) > 63:
            yield "metadata.labels", f'Invalid value: "{value}": a valid label must be an empty string or consist of …'
    for key in metadata.get("annotations", {}):
        if not _is_qualified(key):
            yield "metadata.annotations", f'Invalid value: "{key}": name part must consist of …'


def _problems_of_toleration(toleration: Object, path: str) -> Iterator[tuple[str, str]]:
    if toleration.get("operator", "Equal") not in ("Exists", "Equal"):
        yield f"{path}.operator", "Unsupported value"
    if toleration.get("operator") == "Exists" and toleration.get("value"):
        yield f"{path}.operator", "Invalid value: value must be empty when `operator` is Exists"
    if toleration.get("effect", "") not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute"):
        yield f"{path}.effect", "Unsupported value"


def _problems_of_container(container: Object, path: str) -> Iterator[tuple[str, str]]:
    if not _DNS_LABEL.fullmatch(container.get("name", "")):
        yield f"{path}.name", "Invalid value: a lowercase RFC 1123 label must consist of …"
    if not container.get("image"):
        yield f"{path}.image", "Required value"
    for each in container.get("env", []):
        if not re.fullmatch(r"[^=\0]+", each.get("name", "")):
            yield f"{path}.env", "Invalid value: a valid environment variable name must consist of …"
    limits, asked = (container["resources"].get(kind, {}) for kind in ("limits", "requests"))
    for kind, amounts in (("limits", limits), ("requests", asked)):
        for name, amount in amounts.items():
            if problem := _problem_of_amount(name, amount):
                yield f"{path}.resources.{kind}[{name}]", problem
    yield from _problems_of_both(limits, asked, f"{path}.resources")


def _problems_of_both(limits: Object, asked: Object, path: str) -> Iterator[tuple[str, str]]:
    """What is requested must agree with what it is limited to."""
    for name in asked:
        if name not in _STANDARD and name not in limits:
            yield f"{path}.limits", "Required value: Limit must be set for non overcommitable resources"
        elif name in limits and _is_more(asked[name], limits[name]):
            limit = f"must be less than or equal to {name} limit of {limits[name]}"
            yield f"{path}.requests", f'Invalid value: "{asked[name]}": {limit}'
        elif name not in _STANDARD and str(asked[name]) != str(limits[name]):
            yield f"{path}.requests", f"Invalid value: must be equal to {name} limit of {limits[name]}"


def _problem_of_amount(name: str, amount: object) -> str:
    if not _is_qualified(name) or ("/" not in name and name not in _STANDARD):
        return "Invalid value: must be a standard resource type or fully qualified"
    try:
        number = quantity(amount)
    except ValueError as problem:
        return f'Invalid value: "{amount}": {problem}'
    if number < 0:
        return f'Invalid value: "{amount}": must be greater than or equal to 0'
    is_whole = name in _STANDARD or number.denominator == 1
    return "" if is_whole else f'Invalid value: "{amount}": must be an integer'


def _is_more(one: object, other: object) -> bool:
    try:
        return quantity(one) > quantity(other)
    except ValueError:
        return False  # said already


def _is_qualified(key: str) -> bool:
    return bool(_QUALIFIED.fullmatch(key)) and len(key.rpartition("/")[2]) <= 63
