"""The section `cluster` of the configuration: how stages run as tasks of Kubeflow Pipelines; see config.py.

It is read where pipelines are compiled (pipelines/placing.py) and by nothing else: no stage knows where it
runs.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mstar.settings import FREE, Section


def _like(pattern: str, rule: str) -> AfterValidator:
    """Texts of one form; `rule` says which, with an example."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not {rule}")
        return text

    return AfterValidator(check)


WORD = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
DOMAIN = "[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
Quantity = Annotated[str, _like("[0-9]+(Ki|Mi|Gi|Ti|K|M|G|T)?", "an amount of memory; write 64Gi or 500Mi")]
Cores = Annotated[str, _like("[0-9]+([.][0-9]+)?|[0-9]+m", "a number of cores; write '4', '0.5' or 500m")]
Name = Annotated[
    str, _like(DOMAIN, "a name in Kubernetes; write lower-case letters, digits, dashes and dots")
]
Key = Annotated[str, _like(f"({DOMAIN}/)?{WORD}", "the key of a label; write name or domain.example/name")]
Value = Annotated[
    str, _like(f"({WORD})?", "the value of a label; write letters, digits, dashes, dots, at most 63")
]
Variable = Annotated[
    str, _like("[A-Za-z_][A-Za-z0-9_]*", "an environment variable; write letters, digits and underscores")
]
Path = Annotated[str, _like("/[^:]+", "a path in a container; it begins with /")]
Prefix = Annotated[
    str,
    _like("[a-z0-9][a-z0-9._:/-]*", "the beginning of an image's name; write registry.example/team/mstar-"),
]
Tag = Annotated[
    str, _like("[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", "a tag of an image; write letters, digits, dots, dashes")
]
Resource = Annotated[str, _like("[a-z0-9.-]+/[A-Za-z0-9._-]+", "a resource of nodes; write nvidia.com/gpu")]
ImageName = Literal["slim", "rollout", "train", "rollout-cpu", "train-cpu"]
STORAGE_SECRET = "mstar-storage"
FROM_SECRET = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "HF_TOKEN",
)


class Toleration(Section):
    """A taint that pods put up with; see Kubernetes' documentation."""

    key: str | None = None
    """Of the taint; null is for every taint."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Whether the taint's value counts."""
    value: str | None = None
    """Of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Of the taint; null is for every effect."""

    @model_validator(mode="after")
    def _is_one_that_kubernetes_takes(self) -> Self:
        if self.key is None and self.operator != "Exists":
            raise ValueError("a toleration without key is for every taint; give it the operator Exists")
        if self.operator == "Exists" and self.value is not None:
            raise ValueError(
                f"a toleration with the operator Exists has the value {self.value}; drop one of them"
            )
        return self


class Volume(Section):
    """A PersistentVolumeClaim in the pods."""

    claim: Name
    """Its name."""
    path: Path
    """Where it is mounted."""
    folder: str = ""
    """The folder of the volume that is mounted; its root unless set."""


class Task(Section):
    """The pods of one stage; what is given here goes before what all have."""

    image: Annotated[ImageName | None, FREE] = None
    """Which of the images (docs/images.md); null takes the component's own."""
    cpu: Annotated[Cores, FREE] = "1"
    """Cores asked for, and the most that are used."""
    memory: Annotated[Quantity, FREE] = "4Gi"
    """Memory asked for, and the most that is used."""
    gpus: Annotated[int, FREE] = Field(0, ge=0, le=64)
    """Accelerators of the kind `cluster.accelerator`."""
    shared_memory: Annotated[Quantity | None, FREE] = None
    """Size of /dev/shm, which counts as memory; null leaves the runtime's 64 MiB."""
    timeout_seconds: Annotated[int | None, FREE] = Field(None, ge=1)
    """A pod that takes longer is ended; started again, its stage goes on. Null sets no limit."""
    retries: Annotated[int, FREE] = Field(2, ge=0, le=100)
    """How often Kubeflow starts the pod again when it failed, if the cluster lets it (docs/kubeflow.md)."""
    node_selector: Annotated[dict[Key, Value], FREE] = Field(default_factory=dict)
    """Labels that a node must have, besides those of `cluster.node_selector`."""
    tolerations: Annotated[tuple[Toleration, ...], FREE] = ()
    """Taints that these pods put up with, besides those of `cluster.tolerations`."""


class ProcessorTask(Task):
    """A stage that loads processors and tokenizers, but no weights."""

    memory: Annotated[Quantity, FREE] = "8Gi"
    """Memory asked for, and the most that is used."""


class GpuTask(Task):
    """A stage in which a model works."""

    cpu: Annotated[Cores, FREE] = "8"
    """Cores asked for, and the most that are used."""
    memory: Annotated[Quantity, FREE] = "64Gi"
    """Memory asked for, and the most that is used."""
    gpus: Annotated[int, FREE] = Field(1, ge=0, le=64)
    """Accelerators of the kind `cluster.accelerator`."""
    shared_memory: Annotated[Quantity | None, FREE] = "16Gi"
    """Size of /dev/shm, which counts as memory; null leaves the runtime's 64 MiB."""


class Tasks(Section):
    """Every task of the pipelines by its component's name."""

    prepare: ProcessorTask = ProcessorTask()
    """Writes the run's folder."""
    begin: Task = Task()
    """Says whether a turn is to be done."""
    generate: GpuTask = GpuTask()
    """Samples responses."""
    score: GpuTask = GpuTask()
    """Checks answers and asks the process reward model."""
    select: Task = Task()
    """Keeps the best responses."""
    train: GpuTask = GpuTask()
    """Fine-tunes the policy."""
    evaluate: GpuTask = GpuTask()
    """Measures the policy."""
    adapt: Task = Task()
    """Decides the next temperature, and writes the report."""
    report: Task = Task()
    """Writes the report of the whole run."""
    verify: Task = Task()
    """Reads all that counts in a run."""


class Cluster(Section):
    """Pods, images and secrets; see docs/kubeflow.md."""

    image_prefix: Annotated[Prefix, FREE] = "mstar-"
    """What stands before `slim`, `rollout` and `train` in the images' names, such as
    `registry.example/team/mstar-`.
    """
    image_tag: Annotated[Tag | None, FREE] = None
    """Tag of the images; null takes the version of mstar that compiles the pipelines."""
    pull_policy: Annotated[Literal["Always", "IfNotPresent", "Never"], FREE] = "IfNotPresent"
    """When a node fetches an image."""
    pull_secrets: Annotated[tuple[Name, ...], FREE] = ()
    """Secrets with the registry's credentials."""
    shards: Annotated[int, FREE] = Field(1, ge=1, le=1000)
    """Pods that share a generate, score or evaluate stage; the form of the pipeline begins with it."""
    turns: Annotated[int, FREE] = Field(14, ge=1, le=96)
    """Turns of the loop that the pipeline has room for; each that a run does not need costs a short pod."""
    ttl_seconds: Annotated[int, FREE] = Field(604_800, ge=60)
    """How long the pods of a finished pipeline run are kept, with their logs."""
    user: Annotated[int, FREE] = Field(10001, ge=1, lt=2**31)
    """The user that pods run as, by number; any will do."""
    group: Annotated[int, FREE] = Field(10001, ge=0, lt=2**31)
    """The group that pods run as, by number."""
    accelerator: Annotated[Resource, FREE] = "nvidia.com/gpu"
    """The resource of which a task asks for `gpus`."""
    queue: Annotated[Value | None, FREE] = None
    """A LocalQueue of Kueue that admits the pods; null runs them without."""
    priority: Annotated[Value | None, FREE] = None
    """A WorkloadPriorityClass of Kueue."""
    node_selector: Annotated[dict[Key, Value], FREE] = Field(default_factory=dict)
    """Labels that every node must have."""
    tolerations: Annotated[tuple[Toleration, ...], FREE] = ()
    """Taints that all pods put up with."""
    labels: Annotated[dict[Key, Value], FREE] = Field(default_factory=dict)
    """Labels of all pods."""
    annotations: Annotated[dict[Key, str], FREE] = Field(default_factory=dict)
    """Annotations of all pods."""
    environment: Annotated[dict[Variable, str], FREE] = Field(default_factory=dict)
    """Environment variables of all pods; secrets do not belong here."""
    secrets: Annotated[dict[Name, dict[Variable, str]], FREE] = {
        STORAGE_SECRET: {name: name for name in FROM_SECRET}
    }
    """Environment variables that come from secrets: `{secret: {VARIABLE: key}}`. What does not exist is left
    out.
    """
    volumes: Annotated[tuple[Volume, ...], FREE] = ()
    """Claims that all pods mount, such as the one where runs lie when there is no S3."""
    cache_claim: Annotated[Name | None, FREE] = None
    """A claim for what is read from buckets and hubs, which all pods share; null gives every pod a folder of
    its own.
    """
    tasks: Tasks = Tasks()
    """What single tasks need."""

    @model_validator(mode="after")
    def _no_variable_twice(self) -> Self:
        named = [name for keys in self.secrets.values() for name in keys] + list(self.environment)
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"{twice[0]} is given twice in environment and secrets; keep one of them")
        return self
