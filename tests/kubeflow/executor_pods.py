"""The pod of a task, as Kubeflow Pipelines makes it of the compiled pipeline's two documents.

As its compiler and its driver do together, in release 2.17: a container of its own copies the launcher into
the pod, which starts the task's command; there are folders for artifacts; the task's container gets a safe
context except for the user, which is the pipeline's to choose. A setting for Kubernetes that is unknown
here fails. What Argo adds is not here; it is the same for every image.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

Spec = dict[str, Any]
LAUNCHER = "/kfp-launcher"
SCRATCH = ("gcs", "s3", "minio", ".local", ".cache", ".config")
"""Folders at the root that the launcher writes to, or packages that believe that HOME is there."""
SAFE: Spec = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def read_pods(compiled: Path) -> Iterator[Spec]:
    """Of every executor of a compiled pipeline, the pod."""
    spec, platform = yaml.safe_load_all(compiled.read_text())
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, executor in spec["deploymentSpec"]["executors"].items():
        yield build_pod(name, executor["container"], settings[name])


def build_pod(name: str, container: Mapping[str, Any], settings: Mapping[str, Any]) -> Spec:
    """Settings are those of kfp-kubernetes, in the platform's document."""
    main: Spec = {
        "name": "main",
        "image": container["image"],
        "command": [f"{LAUNCHER}/launch", "--executor_type", "container", "--"],
        "args": [*container["command"], *container.get("args", ())],
        "env": [dict(one) for one in container.get("env", ())],
        "resources": _resources(container["resources"]),
        "securityContext": deepcopy(SAFE),
        "volumeMounts": [_mount("kfp-launcher", LAUNCHER)],
    }
    launcher = {
        "name": "kfp-launcher",
        "image": "ghcr.io/kubeflow/kfp-launcher",
        "command": ["launcher-v2", "--copy", f"{LAUNCHER}/launch"],
        "securityContext": deepcopy(SAFE) | {"runAsNonRoot": True},
        "volumeMounts": [_mount("kfp-launcher", LAUNCHER)],
    }
    spec: Spec = {
        "restartPolicy": "Never",
        "securityContext": {"seccompProfile": SAFE["seccompProfile"]},
        "initContainers": [launcher],
        "containers": [main],
        "volumes": [{"name": "kfp-launcher", "emptyDir": {}}],
    }
    for folder in SCRATCH:
        _add_volume(spec, f"{folder.strip('.')}-scratch", f"/{folder}", {"emptyDir": {}})
    pod: Spec = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    for key, value in settings.items():
        _apply(pod, key, value)
    return pod


def _resources(asked: Mapping[str, Any]) -> Spec:
    limits = {"cpu": asked["resourceCpuLimit"], "memory": asked["resourceMemoryLimit"]}
    requests = {"cpu": asked["resourceCpuRequest"], "memory": asked["resourceMemoryRequest"]}
    if accelerator := asked.get("accelerator"):
        limits[accelerator["resourceType"]] = accelerator["resourceCount"]
    return {"limits": limits, "requests": requests}


def _apply(pod: Spec, key: str, value: Any) -> None:
    spec = pod["spec"]
    main = spec["containers"][0]
    match key:
        case "securityContext":
            main["securityContext"] |= {
                name: one if isinstance(one, bool) else int(one) for name, one in value.items()
            }
        case "imagePullPolicy":
            main["imagePullPolicy"] = value
        case "imagePullSecret":
            spec["imagePullSecrets"] = [{"name": one["secretName"]} for one in value]
        case "nodeSelector":
            spec["nodeSelector"] = value["labels"]
        case "tolerations":
            spec["tolerations"] = value
        case "activeDeadlineSeconds":
            spec["activeDeadlineSeconds"] = int(value)
        case "podMetadata":
            pod["metadata"] |= value
        case "secretAsEnv":
            main["env"] += [_from_secret(one, pair) for one in value for pair in one["keyToEnv"]]
        case "emptyDirMounts":
            for one in value:
                source = {name: one[name] for name in ("medium", "sizeLimit") if name in one}
                _add_volume(spec, one["volumeName"], one["mountPath"], {"emptyDir": source})
        case "pvcMount":
            for one in value:
                claim = one["constant"]
                source = {"persistentVolumeClaim": {"claimName": claim}}
                _add_volume(spec, claim, one["mountPath"], source, one.get("subPath", ""))
        case _:
            raise NotImplementedError(f"{key} of kfp-kubernetes")


def _from_secret(secret: Mapping[str, Any], pair: Mapping[str, str]) -> Spec:
    chosen = {"name": secret["secretName"], "key": pair["secretKey"], "optional": secret["optional"]}
    return {"name": pair["envVar"], "valueFrom": {"secretKeyRef": chosen}}


def _add_volume(spec: Spec, name: str, path: str, source: Spec, folder: str = "") -> None:
    spec["volumes"].append({"name": name} | source)
    spec["containers"][0]["volumeMounts"].append(_mount(name, path) | ({"subPath": folder} if folder else {}))


def _mount(name: str, path: str) -> Spec:
    return {"name": name, "mountPath": path}
