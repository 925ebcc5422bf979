"""A namespace where pods are restricted, in whatever cluster KUBECONFIG names."""

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:  # it takes half a second, and only slow tests need it
    from kubernetes.client import V1ContainerState

NEEDS = "needs Kubernetes: KUBECONFIG for a cluster where a namespace may be made"
LOOK_SECONDS = 0.2
FINALIZER = "mstar.example/looked-at"
STARTING = (None, "ContainerCreating", "PodInitializing")


@contextmanager
def restricted_namespace() -> Iterator["Namespace"]:
    """The test is skipped where there is no cluster, and fails where it does not answer."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip(NEEDS)
    from kubernetes import config

    config.load_config()
    made = Namespace(f"mstar-tests-{uuid.uuid4().hex[:8]}")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    made.core.create_namespace({"metadata": {"name": made.name, "labels": labels}})
    try:
        made.wait_until_ready()
        yield made
    finally:
        made.release()
        made.core.delete_namespace(made.name)


class Namespace:
    """Made and deleted by `restricted_namespace`."""

    def __init__(self, name: str) -> None:
        from kubernetes.client import CoreV1Api

        self.name = name
        self.core = CoreV1Api()

    def wait_until_ready(self) -> None:
        """Pods are refused before there is an account for them."""
        while not self.core.list_namespaced_service_account(self.name).items:
            time.sleep(LOOK_SECONDS)

    def admit(self, pod: dict[str, Any]) -> None:
        """Ask the server whether it would take this; AssertionError with its words where it would not."""
        from kubernetes.client.exceptions import ApiException

        try:
            self.core.create_namespaced_pod(self.name, pod, dry_run="All")
        except ApiException as error:
            raise AssertionError(json.loads(error.body)["message"]) from None

    def start(self, pod: dict[str, Any]) -> "Pod":
        """One of these, with a name of its own. It stays after its end, also where it is deleted."""
        metadata = {"generateName": f"{pod['metadata']['name']}-", "finalizers": [FINALIZER]}
        made = self.core.create_namespaced_pod(self.name, pod | {"metadata": metadata})
        return Pod(self, made.metadata.name)

    def release(self) -> None:
        """Let pods go that have been deleted."""
        for pod in self.core.list_namespaced_pod(self.name).items:
            self.core.patch_namespaced_pod(pod.metadata.name, self.name, {"metadata": {"finalizers": None}})

    def server(self) -> tuple[str, int]:
        """Host and port of the cluster's API."""
        found = urlsplit(self.core.api_client.configuration.host)
        return found.hostname or "", found.port or 443


@dataclass(frozen=True)
class Ended:
    """What is left of a pod."""

    exit_code: int
    log: str


class Pod:
    """A pod with one container."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        self.name = name
        self._core = namespace.core
        self._namespace = namespace.name

    def wait_for(self, happened: Callable[[], bool]) -> None:
        """Until this has happened, or the pod has ended."""
        while not self._state().terminated and not happened():
            time.sleep(LOOK_SECONDS)

    def wait(self) -> Ended:
        """Until it has ended."""
        while not (ended := self._state().terminated):
            time.sleep(LOOK_SECONDS)
        return Ended(ended.exit_code, self.log())

    def delete(self) -> None:
        """As a cluster ends a pod: with a signal, and with another one after the grace period."""
        self._core.delete_namespaced_pod(self.name, self._namespace)

    def log(self) -> str:
        """What it has said; nothing before it has begun."""
        state = self._state()
        if not (state.running or state.terminated):
            return ""
        said: str = self._core.read_namespaced_pod_log(self.name, self._namespace)
        return said

    def _state(self) -> "V1ContainerState":
        from kubernetes.client import V1ContainerState

        found = self._core.read_namespaced_pod(self.name, self._namespace).status.container_statuses
        state = found[0].state if found else V1ContainerState()
        assert not state.waiting or state.waiting.reason in STARTING, f"{self.name}: {state.waiting}"
        return state
