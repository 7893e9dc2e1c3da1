# The few verbs of this project. `make help` lists them.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION := 1

.PHONY: help install services demo test check docs mutate fuzz vectors measure-ingest measure-patient one-release bench bench-measures coverage references picture figures schedules films radiomics own-tables leukaemia audit planted-bugs chaos loopback images loopback-containers pretrain bench-device experiments robustness soak clean

help:  ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## create .venv from the pinned constraints (needs Python 3.11 or newer)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is missing"; echo; echo "hint: install it, or say where it is: make PYTHON=/opt/python3.12/bin/python3 demo"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps torchxrayvision
	@touch $(STAMP)

services:  ## the Debian packages that some tests start: Orthanc with DICOMweb, PostgreSQL
	tests/services/install.sh

demo: $(STAMP)  ## a whole synthetic federation, from DICOM files to a report
	$(BIN)/osteofed-coordinator demo --folder demo $(ARGS)

test: $(STAMP)  ## every test: unit, whole federations, Ray, deployed on loopback
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(STAMP)  ## ruff, mypy strict, import directions; known advisories where OSTEOFED_ADVISORIES names OSV's archive
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/house/advisories.py

docs: $(STAMP)  ## write docs/reference and docs/learners.md anew from code and data; a test fails where a page is not what it says
	PYTHONPATH=tests/house $(BIN)/python -m reference
	$(BIN)/python -m server.experiments.learners_page --kept

vectors: $(STAMP)  ## write the test vectors of the file formats anew, after one was changed on purpose
	$(BIN)/python -m tests.vectors.make

mutate: $(STAMP)  ## break the source on purpose, line by line: which breaks does no test notice? ARGS="--sample 15"
	$(BIN)/python -m tests.mutate $(ARGS)

fuzz: $(STAMP)  ## damaged films and tables for 10 minutes; ARGS="--minutes 60"
	$(BIN)/python tests/intake/fuzz.py $(ARGS)

measure-ingest: $(STAMP)  ## films per second and memory of an intake, real-size films beside pydicom, into docs/ingest.md
	$(BIN)/python tests/intake/measure_ingest.py

measure-patient: $(STAMP)  ## what one patient with 2,001 rows adds to time and memory of a round, into docs/one-patient.md
	$(BIN)/python tests/bench/one_patient.py

soak: $(STAMP)  ## 200 rounds, 50 hospitals, a model of 100 MB: memory, time, charges; into docs/endurance.md
	$(BIN)/python tests/bench/endurance.py $(ARGS)

one-release: $(STAMP)  ## a hospital killed at every instant between charge and sending: one release each, into docs/one-release.md
	$(BIN)/python tests/bench/release_kills.py

bench: $(STAMP)  ## a step with one gradient per patient beside an ordinary one; ARGS="--against CHECKOUT"
	$(BIN)/python tests/bench/dp_step.py $(ARGS)

bench-device: $(STAMP)  ## the same on a GPU, with encoders that learn, and films a second; ARGS="--device cpu"
	$(BIN)/python tests/bench/device.py $(ARGS)

bench-measures: $(STAMP)  ## the bootstrap beside scikit-learn's loop, DeLong beside the pair matrix, into docs/references.md
	$(BIN)/python tests/bench/measures.py $(ARGS)
	$(BIN)/python -m tests.bench.references

coverage: $(STAMP)  ## how often each interval of a table holds the truth, into docs/coverage.md
	$(BIN)/python tests/bench/coverage.py $(ARGS)

references: $(STAMP)  ## every statistic beside that of R or scikit-learn, into docs/references.md
	$(BIN)/python -m tests.bench.references

audit: $(STAMP)  ## the demo with canaries, then every method of the auditor over it
	$(BIN)/osteofed-coordinator demo --audit --folder audited-demo $(ARGS)

planted-bugs: $(STAMP)  ## plant every bug in real runs: which test fails, what the audit refutes; into docs/planted-bugs.md; ARGS="--only WORD"
	$(BIN)/python -m tests.practice.bug_table $(ARGS)

chaos: $(STAMP)  ## break every part of a real federation at the wrong moment, into docs/chaos.md (as root); ARGS="--only NAME"
	$(BIN)/python tests/chaos/chaos_table.py $(ARGS)

picture: $(STAMP)  ## the README's picture, from the page that make demo wrote; needs chromium
	$(BIN)/python tests/bench/report_picture.py $(ARGS)

figures: $(STAMP)  ## re-measure the figures of README.md and docs/
	$(BIN)/osteofed-coordinator figures --folder figures $(ARGS)

schedules: $(STAMP)  ## re-measure what each schedule reaches, into docs/schedules.md (half an hour)
	$(BIN)/python -m server.experiments.schedules

experiments: $(STAMP)  ## measure every system, arm by arm, into docs/experiments.md; ARGS="--only NAME --seeds N --setting full"
	$(BIN)/python -m server.experiments.command $(ARGS)

robustness: $(STAMP)  ## what bad hospitals cost under each rule, line by line, into docs/robustness.md
	$(BIN)/python -m server.experiments.robustness

loopback: $(STAMP)  ## a real SuperLink (TLS) and three SuperNodes as processes, a few rounds, torn down
	$(BIN)/osteofed-coordinator loopback --folder loopback $(ARGS)

images:  ## client and server images and their SBOMs: make images BASE=IMAGE@DIGEST (or a debootstrap folder)
	docker/build.sh "$(BASE)"

loopback-containers:  ## two hospitals and a coordinator in containers, a few rounds, torn down
	docker/loopback.sh "$(or $(WORK),loopback-containers)" $(ARGS)

films: $(STAMP)  ## what a border, a marker or another field costs, into docs/films.md; after make demo
	$(BIN)/python tests/bench/film_perturbations.py $(ARGS)

leukaemia: $(STAMP)  ## survival with districts as hospitals, on a table fetched into an environment of its own
	$(BIN)/python tests/bench/leukaemia.py

own-tables: $(STAMP)  ## seconds from four tables to a report by one command, into docs/how-to/own-disease.md
	$(BIN)/python tests/bench/own_tables.py

radiomics: $(STAMP)  ## how radiomics agree with IBSI and pyradiomics, and their time, into docs/radiomics.md
	$(BIN)/python tests/bench/radiomics.py $(ARGS)

pretrain: $(STAMP)  ## remake the default encoder on public synthetic films
	$(BIN)/osteofed-coordinator pretrain $(ARGS)

clean:  ## remove what the verbs above wrote, not the environment
	rm -rf demo audited-demo loopback loopback-containers docker/out figures/work outputs .pytest_cache .mypy_cache .ruff_cache
