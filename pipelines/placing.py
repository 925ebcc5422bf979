"""How a task is placed on a cluster: what the section `cluster` of a config says, in kfp's words."""

from kfp import dsl, kubernetes

from mstar import __version__
from mstar.config_cluster import Cluster, Task, Toleration

CACHE = "/cache"
"""Where what is read from buckets and hubs lies on a claim; without one it goes to the images' /tmp."""
RETRY_WAIT, LONGEST_RETRY_WAIT = "10s", "300s"


def placed(task: dsl.PipelineTask, cluster: Cluster, name: str = "") -> dsl.PipelineTask:
    """The task, with everything that its pod needs; `name` is its component's, where kfp calls it otherwise.

    Nothing is cached by Kubeflow, as a stage that is done says so itself in seconds.
    """
    needs: Task = getattr(cluster.tasks, name or task.component_spec.name.replace("-", "_"))
    task.set_caching_options(False)
    task.set_retry(needs.retries, RETRY_WAIT, 2.0, LONGEST_RETRY_WAIT)
    _choose_image(task, cluster, needs)
    _ask_for(task, cluster, needs)
    _give_environment(task, cluster)
    _mount(task, cluster, needs)
    _schedule(task, cluster, needs)
    return task


def _choose_image(task: dsl.PipelineTask, cluster: Cluster, needs: Task) -> None:
    target = needs.image or task.container_spec.image.removeprefix("mstar-")
    task.set_container_image(f"{cluster.image_prefix}{target}:{cluster.image_tag or __version__}")
    kubernetes.set_image_pull_policy(task, cluster.pull_policy)
    if cluster.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(cluster.pull_secrets))


def _ask_for(task: dsl.PipelineTask, cluster: Cluster, needs: Task) -> None:
    task.set_cpu_request(needs.cpu).set_cpu_limit(needs.cpu)
    task.set_memory_request(needs.memory).set_memory_limit(needs.memory)
    if needs.gpus:
        task.set_accelerator_type(cluster.accelerator).set_accelerator_limit(needs.gpus)
    if needs.timeout_seconds:
        kubernetes.set_timeout(task, needs.timeout_seconds)
    kubernetes.set_security_context(
        task, run_as_user=cluster.user, run_as_group=cluster.group, run_as_non_root=True
    )


def _give_environment(task: dsl.PipelineTask, cluster: Cluster) -> None:
    for variable, value in cluster.environment.items():
        task.set_env_variable(variable, value)
    for secret, keys in cluster.secrets.items():
        variables = {key: variable for variable, key in keys.items()}
        kubernetes.use_secret_as_env(task, secret, variables, optional=True)


def _mount(task: dsl.PipelineTask, cluster: Cluster, needs: Task) -> None:
    if needs.shared_memory:
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", "Memory", needs.shared_memory)
    if cluster.cache_claim:
        kubernetes.mount_pvc(task, cluster.cache_claim, CACHE)
        task.set_env_variable("XDG_CACHE_HOME", CACHE)
    for volume in cluster.volumes:
        kubernetes.mount_pvc(task, volume.claim, volume.path, volume.folder)


def _schedule(task: dsl.PipelineTask, cluster: Cluster, needs: Task) -> None:
    for key, value in (cluster.node_selector | needs.node_selector).items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in (*cluster.tolerations, *needs.tolerations):
        _tolerate(task, toleration)
    for key, value in (_queue(cluster) | cluster.labels).items():
        kubernetes.add_pod_label(task, key, value)
    for key, value in cluster.annotations.items():
        kubernetes.add_pod_annotation(task, key, value)


def _tolerate(task: dsl.PipelineTask, toleration: Toleration) -> None:
    kubernetes.add_toleration(task, **toleration.model_dump())


def _queue(cluster: Cluster) -> dict[str, str]:
    """Kueue is told by labels."""
    said = {"queue-name": cluster.queue, "priority-class": cluster.priority}
    return {f"kueue.x-k8s.io/{key}": value for key, value in said.items() if value}
