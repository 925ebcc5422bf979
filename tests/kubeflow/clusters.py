"""A namespace where pods are restricted, by `kubectl`, in whatever cluster KUBECONFIG names."""

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

NEEDS = "needs Kubernetes: kubectl on PATH, and KUBECONFIG for a cluster where a namespace may be made"
LOOK_SECONDS = 0.2
FINALIZER = "mstar.example/looked-at"
"""A pod that has it stays after its end, until somebody has looked."""


class Namespace:
    """Made and deleted by `namespace`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def kubectl(self, *arguments: str, given: Any = None) -> str:
        """What it prints; `given` is an object for its standard input. AssertionError where it fails."""
        done = subprocess.run(
            ["kubectl", "--namespace", self.name, *arguments],
            input=None if given is None else json.dumps(given),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def admits(self, *pods: dict[str, Any]) -> None:
        """Asks the server whether it would take these; AssertionError with its words where it would not."""
        self.kubectl(
            "create",
            "--dry-run=server",
            "--filename=-",
            given={"apiVersion": "v1", "kind": "List", "items": pods},
        )

    def start(self, pod: dict[str, Any]) -> "Pod":
        pod["metadata"]["finalizers"] = [FINALIZER]
        self.kubectl("create", "--filename=-", given=pod)
        return Pod(self, pod["metadata"]["name"])


@dataclass(frozen=True)
class Ended:
    """What is left of a pod."""

    exit_code: int
    log: str


class Pod:
    """A pod with one container."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        self.namespace = namespace
        self.name = name

    def wait_for(self, happened: Callable[[], bool]) -> None:
        """Until this has happened, or the pod has ended."""
        while self._ended() is None and not happened():
            time.sleep(LOOK_SECONDS)

    def wait(self) -> Ended:
        """Until it has ended; then it is gone."""
        while (exit_code := self._ended()) is None:
            time.sleep(LOOK_SECONDS)
        log = self.log()
        release = '{"metadata": {"finalizers": null}}'
        self.namespace.kubectl("patch", "pod", self.name, "--type=merge", "--patch", release)
        self.namespace.kubectl("delete", "pod", self.name, "--ignore-not-found", "--grace-period=1")
        return Ended(exit_code, log)

    def delete(self) -> None:
        """As a cluster ends a pod: with a signal, and with another one after the grace period."""
        self.namespace.kubectl("delete", "pod", self.name, "--wait=false")

    def log(self) -> str:
        """What it has said; nothing before it has begun."""
        return "" if "waiting" in self._state() else self.namespace.kubectl("logs", self.name)

    def _ended(self) -> int | None:
        code: int | None = self._state().get("terminated", {}).get("exitCode")
        return code

    def _state(self) -> dict[str, Any]:
        status = json.loads(self.namespace.kubectl("get", "pod", self.name, "--output=json"))["status"]
        state: dict[str, Any] = {"waiting": {}}
        for container in status.get("containerStatuses", ()):
            state = container["state"]
        reason = state.get("waiting", {}).get("reason", "")
        assert reason in ("", "ContainerCreating", "PodInitializing"), f"{self.name}: {state}"
        return state


@contextmanager
def restricted_namespace() -> Iterator[Namespace]:
    """The test is skipped where there is no cluster, and fails where it does not answer."""
    if not os.environ.get("KUBECONFIG") or shutil.which("kubectl") is None:
        pytest.skip(NEEDS)
    made = Namespace(f"mstar-tests-{uuid.uuid4().hex[:8]}")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    made.kubectl(
        "create",
        "--filename=-",
        given={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.name, "labels": labels}},
    )
    try:
        made.kubectl("wait", "serviceaccount/default", "--for=create", "--timeout=60s")
        yield made
    finally:
        made.kubectl("delete", "namespace", made.name, "--wait=false")
