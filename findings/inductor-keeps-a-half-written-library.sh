#!/usr/bin/env bash
# Guess: torch.compile's cache survives a kill: what the compiler had not finished is compiled again,
# as the cache's Python files and graphs are, which are written under another name and renamed.
# What happens (torch 2.13.0 and 2.14.1): the C++ compiler writes a kernel's library under its final
# name. Killed midway (a wall time, an out-of-memory killer, a power cut) it leaves a file of 0 bytes
# or more, and every later start with that TORCHINDUCTOR_CACHE_DIR ends with
# "ImportError: ... file too short", until somebody deletes the file.
# Cause: torch/_inductor/codecache.py, CppPythonBindingsCodeCache: a library that exists is loaded;
# the lock beside it keeps two writers apart, and is gone with the first one's life.
# Why it matters: whoever keeps the cache between jobs, to compile once, can lose all jobs that
# follow to one that was killed in its first minute. Delete libraries that are shorter than their ELF
# header says before the first step.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  torch==2.13.0 numpy==2.4.6
cat >compiled.py <<'PYTHON'
import torch

function = torch.compile(lambda x: (x.sin() * x.cos() + 1).relu())
print("torch", torch.__version__, "result", function(torch.zeros(64, 64)).sum().item())
PYTHON
# A compiler that is killed, with the program that called it, when it has begun to write the library
# of the kernel (of the C++ file that ends in .main.cpp): only in the first run.
cat >compiler <<'BASH'
#!/usr/bin/env bash
output=
for argument in "$@"; do
  if [[ ${previous:-} == -o ]]; then output=$argument; fi
  previous=$argument
done
if [[ -n ${KILLED_AT_WORK:-} && $output == *.main.so ]]; then
  : >"$output"
  kill -KILL "$(cat "$PROGRAM")"
  exit 1
fi
exec g++ "$@"
BASH
chmod +x compiler
export CXX="$folder/compiler" TORCHINDUCTOR_CACHE_DIR="$folder/cache" PROGRAM="$folder/program"
export TORCHINDUCTOR_COMPILE_THREADS=1 OMP_NUM_THREADS=1

run() { # status of compiled.py, whose process id lies in $PROGRAM
  bash -c 'echo $$ >"$PROGRAM"; exec venv/bin/python compiled.py' 2>errors || return $?
}

killed=0
KILLED_AT_WORK=1 run || killed=$?
left=$(find cache -name '*.main.so' -size 0 | wc -l)
again=0
run || again=$?
reason=$(grep -o 'file too short' errors | head -n 1 || true)
find cache -name '*.main.so' -size 0 -delete
mended=0
run || mended=$?
echo "first run killed (status $killed), libraries of 0 bytes left: $left"
echo "second run: status $again, ${reason:-no such error}; with that file deleted: status $mended"
if [[ $left -eq 0 || $again -eq 0 || $reason != "file too short" || $mended -ne 0 ]]; then
  echo "changed: a library that was not finished is no obstacle any more"
  exit 1
fi
