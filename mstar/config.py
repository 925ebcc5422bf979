"""The configuration of a run as one frozen tree, with every default in exactly one place.

A section is a stage, or something that several stages share; a stage sees its own section and nothing else
decides for it. The strings below the fields are their descriptions, which `mstar config --schema` prints with
units and ranges. Every field says which stages' files it changes (`changes(...)`, `FREE`, `BY_CONTENT`): that
is what their fingerprints are made of (see fingerprints.py). How a YAML file becomes this tree, and what is
said about a mistake in it, is in config_file.py; `train`, `deepspeed`, `storage` and `cluster` have files of
their own.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mstar.config_cluster import Cluster
from mstar.config_storage import StorageSettings
from mstar.config_train import Deepspeed, Train
from mstar.settings import BY_CONTENT, FREE, Section, changes

Temperature = Annotated[float, Field(gt=0, le=2)]
Share = Annotated[float, Field(gt=0, le=1)]
SAMPLING = ("generate", "score", "train", "evaluate")
"""The stages in which a model reads problems."""
TestName = Annotated[str, Field(pattern=r"^[a-z0-9]([-_a-z0-9]{0,51}[a-z0-9])?$")]
Column = Literal[
    "id", "question", "image", "images", "answer", "answers", "answer_type", "choices", "precision",
    "unit", "source",
]  # fmt: skip
PAPER_GRID = tuple(round(0.3 + 0.1 * step, 1) for step in range(14))


class Model(Section):
    path: Annotated[str, BY_CONTENT]
    """Folder of the first policy (relative to the config file), one at `s3://bucket/prefix`, or the id of a
    model on a hub.
    """
    revision: Annotated[str | None, BY_CONTENT] = None
    """Of a model on a hub: branch, tag or commit; a run pins the commit at its first use."""
    dtype: Annotated[Literal["float32", "bfloat16"], changes(*SAMPLING)] = "float32"
    """Type of the weights while generating and scoring, and of the arithmetic in training; trained weights
    are kept in float32.
    """
    device: Annotated[Literal["cpu", "cuda"], changes(*SAMPLING)] = "cpu"
    """Where the `transformers` engine and the `single` trainer run."""
    threads: Annotated[int | None, FREE] = Field(None, ge=1, le=1024)
    """CPU threads of torch; null takes the cores that this process may use."""


class Iterations(Section):
    count: Annotated[int, FREE] = Field(14, ge=1, le=10_000)
    """Turns of the loop."""
    problems_share: Annotated[Share, changes("generate")] = 0.25
    """Share of the training problems that one iteration takes (0.25 is the paper's best interval)."""


class Data(Section):
    train: Annotated[str, BY_CONTENT]
    """Problems to learn from: JSONL, Parquet or a dataset folder (relative to the config file), or an
    address, `s3://bucket/key` or `hf://datasets/owner/name/split`; see docs/problems.md.
    """
    validation: Annotated[str | None, BY_CONTENT] = None
    """Problems for the temperature sweep; needed by every `adapt.policy` that reads measurements."""
    tests: Annotated[dict[TestName, str], BY_CONTENT] = Field(min_length=1)
    """Test sets by name (lower-case letters, digits, dashes, underscores). The first is the in-distribution
    one and is evaluated after every iteration.
    """
    columns: Annotated[dict[Column, Annotated[str, Field(min_length=1)]], changes(*SAMPLING)] = Field(
        default_factory=dict
    )
    """Your own names of columns, such as `{question: problem, answer: solution}`. Rows without an id or an
    answer type then get one, and `<image>` in a question says where an image is; see docs/problems.md.
    """
    unusable: Annotated[Literal["skip", "stop"], changes("generate", "evaluate")] = "skip"
    """What happens to a problem that the model cannot read (a prompt too long, an image that its processor
    refuses): it is left out, counted and named; or the run stops.
    """


class Images(Section):
    min_pixels: Annotated[int | None, changes(*SAMPLING)] = Field(None, ge=1)
    """Smallest image after resizing, in pixels; null keeps what the policy's image processor says."""
    max_pixels: Annotated[int | None, changes(*SAMPLING)] = Field(None, ge=1)
    """Largest image after resizing, in pixels; null keeps what the policy's image processor says."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low, high = self.min_pixels, self.max_pixels
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_pixels is {low}, above max_pixels {high}; swap them")
        return self


class Prompt(Section):
    version: Annotated[Literal["reasoning-1", "question-1"], changes(*SAMPLING)] = "reasoning-1"
    """`reasoning-1` asks for short steps and a last line `Answer: ...`; `question-1` is the question."""
    step_separator: Annotated[str, changes(*SAMPLING)] = Field("\n", min_length=1)
    """What stands between two steps of a response; the process reward model reads its scores there."""
    max_tokens: Annotated[int, changes("generate", "evaluate", before=2**31)] = Field(8192, ge=16, le=2**31)
    """Longest prompt in tokens, those of its images included; a longer one is unusable: data.unusable."""


class Generate(Section):
    engine: Annotated[Literal["transformers", "vllm"], changes("generate", "evaluate", per_stage=True)] = (
        "transformers"
    )
    """What samples the responses; `vllm` is for GPUs and needs the extra of that name (section `vllm`)."""
    samples_per_problem: Annotated[int, changes("generate")] = Field(16, ge=1, le=1024)
    """Responses per problem and iteration."""
    temperature: Annotated[Temperature, changes("generate")] = 1.0
    """Temperature of the first iteration; from then on `adapt` decides."""
    top_p: Annotated[Share, changes("generate", "evaluate")] = 1.0
    """Nucleus of the sampling, as a share of probability."""
    max_tokens: Annotated[int, changes("generate", "evaluate")] = Field(1024, ge=1, le=131_072)
    """Longest response, in tokens; a longer one is cut and counts as wrong."""
    problems_per_chunk: Annotated[int, changes("generate", "score")] = Field(64, ge=1, le=65_536)
    """Problems in one Parquet part: what a killed stage loses at most."""
    rows_in_flight: Annotated[int, FREE] = Field(512, ge=1, le=65_536)
    """Responses that are decoded at the same time; lower it when memory is short."""
    tokens_per_prefill: Annotated[int, FREE] = Field(16_384, ge=16)
    """Prompt tokens, padding and images included, that go through the model at once; lower it when memory is
    short.
    """


class Vllm(Section):
    """The engine `vllm`; it also reads `generate.rows_in_flight` and `generate.tokens_per_prefill`."""

    tensor_parallel_size: Annotated[int, FREE] = Field(1, ge=1, le=1024)
    """GPUs over which one copy of the policy is spread; `--shard` runs several copies."""
    gpu_memory_share: Annotated[Share, FREE] = 0.9
    """Of each GPU's memory, for weights, keys and values; another process needs the rest. For CPUs there is
    `cache_gib`.
    """
    cache_gib: Annotated[float | None, FREE] = Field(None, gt=0)
    """Memory for keys and values in GiB; null takes what `gpu_memory_share` leaves, and on a CPU 4 GiB, or a
    quarter of the free memory where that is less.
    """
    eager: Annotated[bool | None, FREE] = None
    """Start at once instead of compiling the model first, and sample slower; null does so on a CPU only."""
    verify_weights: Annotated[bool, FREE] = True
    """Refuse to sample where vLLM answers otherwise than training noted in the checkpoint; where it noted
    nothing, than transformers, which loads the policy first.
    """
    stalled_seconds: Annotated[float, FREE] = Field(600.0, gt=0)
    """The stage ends with an error when no token has come for so long; started again, it goes on."""


class Score(Section):
    prm: Annotated[str | None, BY_CONTENT] = None
    """Folder of a process reward model (relative to the config file), one at `s3://bucket/prefix`, or its id
    on a hub; null rewards the outcome alone.
    """
    prm_revision: Annotated[str | None, BY_CONTENT] = None
    """Of a process reward model on a hub: branch, tag or commit; a run pins the commit at its first use."""
    aggregate: Annotated[Literal["min", "mean", "product", "last"], changes("score", "evaluate")] = "min"
    """How the step scores of a response become one number."""
    tokens_per_batch: Annotated[int, FREE] = Field(16_384, ge=16)
    """Tokens that the process reward model reads at once, padding included."""
    deadline_seconds: Annotated[float, changes("score", "evaluate")] = Field(5.0, gt=0, le=600)
    """Processor time that one symbolic answer check may take, in seconds; then it is killed: wrong."""
    workers: Annotated[int, FREE] = Field(1, ge=1, le=256)
    """Processes for symbolic answer checks; none is started before the first one is needed."""


class Select(Section):
    rule: Annotated[Literal["all", "top_k", "threshold", "random_k"], changes("select")] = "top_k"
    """Which correct responses are kept: every one, the highest rewards, rewards above `threshold`, or a
    random few.
    """
    keep_per_problem: Annotated[int | None, changes("select")] = Field(2, ge=1)
    """Most responses kept per problem; null sets no limit (rules `all` and `threshold` only)."""
    threshold: Annotated[float, changes("select", "evaluate")] = Field(0.0, ge=0, lt=1)
    """A response is kept only if its reward is above this; `all` ignores it."""

    @model_validator(mode="after")
    def _limit_where_needed(self) -> Self:
        if self.keep_per_problem is None and self.rule in ("top_k", "random_k"):
            raise ValueError(f"keep_per_problem is null; rule {self.rule} needs a number; 2 is the paper's")
        return self


class Evaluate(Section):
    every: Annotated[int, changes("evaluate")] = Field(2, ge=1)
    """Iterations between two temperature sweeps on the validation problems."""
    temperatures: Annotated[tuple[Temperature, ...], changes("evaluate")] = Field(PAPER_GRID, min_length=1)
    """The grid of the sweep, rising."""
    samples_per_problem: Annotated[int, changes("evaluate")] = Field(16, ge=1, le=1024)
    """K: responses per validation problem and temperature."""
    problems_per_part: Annotated[int, changes("evaluate")] = Field(256, ge=1, le=65_536)
    """Problems in one Parquet part: what a killed evaluation loses at most."""
    out_of_distribution_at: Annotated[tuple[Annotated[int, Field(ge=0)], ...], changes("evaluate")] = ()
    """Iterations after which the other test sets are evaluated too. They always are before the first
    iteration and after number `iterations.count - 1`, but not where `stop` ends the run earlier."""

    @model_validator(mode="after")
    def _grid_rises(self) -> Self:
        written = [f"{temperature:.6f}" for temperature in self.temperatures]
        if written != sorted(set(written)):
            found = f"temperatures is {list(self.temperatures)}"
            raise ValueError(f"{found}; it must rise without repeats, told apart by six decimals")
        return self


class Adapt(Section):
    policy: Annotated[
        Literal["fixed", "schedule", "reward_pass_at_k", "pass_at_k", "balance"], changes("adapt")
    ] = "reward_pass_at_k"
    """How the next sampling temperature is chosen; the last three take the best of the validation sweep."""
    k: Annotated[int, changes("evaluate", "adapt")] = Field(2, ge=1)
    """For `reward_pass_at_k`: how many responses of highest PRM score may contain a correct one (2 is the
    paper's).
    """
    smooth: Annotated[bool, changes("adapt")] = False
    """Fit a parabola over the grid and take its peak instead of the raw argmax, which is noisy."""
    final_temperature: Annotated[Temperature, changes("adapt")] = 1.0
    """For `schedule`: reached at the last iteration, linearly from `generate.temperature`."""
    balance_target: Annotated[int, changes("evaluate", "adapt")] = Field(8, ge=1)
    """For `balance`: n*, the unique correct responses per problem that are enough."""
    min_problems: Annotated[int, changes("adapt", before=1)] = Field(50, ge=1)
    """A sweep of fewer validation problems says too little: the temperature is held."""


class Stop(Section):
    stale_sweeps: Annotated[int | None, changes("adapt")] = Field(None, ge=1)
    """Stop after this many sweeps without a better value of what `adapt.policy` reads; null never does."""


class Tracking(Section):
    metrics_port: Annotated[int | None, FREE] = Field(None, ge=1, le=65_535)
    """Port on which metrics are served for Prometheus while the run lasts; null serves none."""
    pushgateway: Annotated[str | None, FREE] = Field(None, pattern=r"^https?://[^/\s@]+(/[^\s@]*)?$")
    """Address of a Pushgateway that gets the metrics of every finished stage; null takes `MSTAR_PUSHGATEWAY`,
    which may hold a user and password too. See docs/tracking.md.
    """
    to: Annotated[tuple[Literal["mlflow", "wandb", "tensorboard"], ...], FREE] = ()
    """Where else the figures of finished stages go; each needs the extra of its name, and see
    docs/tracking.md.
    """
    project: Annotated[str, FREE] = Field("mstar", min_length=1, max_length=128)
    """The experiment of MLflow, or the project of W&B, in which the run appears."""


class Config(Section):
    name: Annotated[str, FREE] = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$")
    """Name of the run: lower-case letters, digits and dashes, at most 53 characters."""
    output: Annotated[str, FREE] = Field(min_length=1)
    """Folder of the run, relative to where the command is started, or `s3://bucket/prefix`."""
    seed: Annotated[int, changes(*SAMPLING, "select")] = Field(0, ge=0, lt=2**31)
    """All randomness comes from this."""
    model: Model
    iterations: Iterations = Iterations()
    data: Data
    images: Images = Images()
    prompt: Prompt = Prompt()
    generate: Generate = Generate()
    vllm: Vllm = Vllm()
    score: Score = Score()
    select: Select = Select()
    train: Train = Train()
    deepspeed: Deepspeed = Deepspeed()
    evaluate: Evaluate = Evaluate()
    adapt: Adapt = Adapt()
    stop: Stop = Stop()
    storage: StorageSettings = StorageSettings()
    cluster: Cluster = Cluster()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _policies_have_what_they_read(self) -> Self:
        policy = self.adapt.policy
        reads = policy in ("reward_pass_at_k", "pass_at_k", "balance")
        if reads and self.data.validation is None:
            raise ValueError(
                f"adapt.policy is {policy}, which needs a sweep of data.validation; name it or use fixed"
            )
        if policy == "reward_pass_at_k" and self.score.prm is None:
            raise ValueError(
                "adapt.policy is reward_pass_at_k, which ranks by a PRM; set score.prm or use pass_at_k"
            )
        if policy == "reward_pass_at_k" and self.adapt.k > self.evaluate.samples_per_problem:
            raise ValueError(f"adapt.k is {self.adapt.k}; it must not exceed evaluate.samples_per_problem")
        if self.stop.stale_sweeps is not None and not reads:
            raise ValueError(f"stop.stale_sweeps needs a sweep to watch; adapt.policy {policy} reads none")
        beyond = [at for at in self.evaluate.out_of_distribution_at if at >= self.iterations.count]
        if beyond:
            raise ValueError(
                f"evaluate.out_of_distribution_at has {beyond[0]}; iterations.count must exceed it"
            )
        return self
