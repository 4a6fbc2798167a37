"""The session with a debugger in backends/gpu/README.md: python3 step.py PROGRAM. 77: there is no gdb."""
import pathlib
import shutil
import subprocess
import sys

if not shutil.which("gdb"):
    print("skipped: gdb is not installed")
    sys.exit(77)
commands = pathlib.Path(__file__).with_name("step.gdb")
run = subprocess.run(["gdb", "-batch", "-nx", "-ex", "set pagination off", "-x", commands, sys.argv[1]], capture_output=True, text=True, timeout=300)
text = run.stdout + run.stderr
if "ptrace" in text:
    print("skipped: gdb may not trace programs here")
    sys.exit(77)
# Value 3 of block 2 is 2 * 64 + 3; the sum over its warp of 128 .. 159; the frames name kernel and launch.
missing = [want for want in ("= 131", "= 4592", "block_sum<64", "average (a=", "simt::Block::main") if want not in text]
if missing:
    print(text, f"not in the output: {missing}")
sys.exit(1 if missing else 0)
