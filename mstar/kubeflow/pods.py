"""The logs of a pipeline run. Kubeflow's API has none, so they are read from the pods, by the kubeconfig."""

from collections.abc import Iterator
from typing import Any

from mstar.errors import UserError

CONTAINER = "main"


def read_logs(run_id: str, namespace: str, verb: str | None) -> Iterator[tuple[str, str]]:
    """(pod, its log) in the order of their starts, or those of one stage. UserError where the cluster does
    not answer.
    """
    from kubernetes import client, config
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        config.load_config()
    except config.ConfigException as error:
        raise UserError(
            f"logs are read from the cluster, and there is no kubeconfig ({error}); set KUBECONFIG"
        ) from None
    core = client.CoreV1Api()
    try:
        pods = core.list_namespaced_pod(
            namespace, label_selector=f"pipeline/runid={run_id}", _request_timeout=30
        ).items
        for pod in sorted(pods, key=lambda one: one.metadata.creation_timestamp):
            found = _verb_of(pod)
            if found is None or verb not in (None, found):
                continue
            try:
                text = core.read_namespaced_pod_log(
                    pod.metadata.name, namespace, container=CONTAINER, _request_timeout=30
                )
            except ApiException as error:
                text = f"(no log: {error.reason})\n"
            yield pod.metadata.name, text
    except ApiException as error:
        raise UserError(
            f"the cluster refuses the pods of namespace {namespace} ({error.status} {error.reason}); name "
            "another with --namespace, or ask for the right to read pods and their logs"
        ) from None
    except HTTPError as error:
        raise UserError(f"the cluster does not answer ({error}); see kubectl cluster-info") from None


def _verb_of(pod: Any) -> str | None:
    """The stage that a pod does: the word after `mstar` in its command. None for Kubeflow's own pods."""
    for container in pod.spec.containers:
        words = [*(container.command or []), *(container.args or [])]
        if container.name == CONTAINER and "mstar" in words[:-1]:
            return str(words[words.index("mstar") + 1])
    return None
