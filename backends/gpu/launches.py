"""The main kernels before any GPU has run them: python3 launches.py KERF [--check FILE | --write FILE].

Joins what kernels launch (`kerf kernels launches`) with what compilers say of them (budget.tsv): bytes and arithmetic of a problem, and of
the function that does the work registers, shared memory, occupancy and rounds on an H200: how often its 132 multiprocessors are
filled with blocks; far below 1 leaves most of them idle, a little above 1 wastes a round. Bytes are those that must move: inputs read
once, outputs written once. --check compares the table with that in FILE, --write puts it there. A launch of a function that
budget.tsv does not have is an error.
"""
import json
import pathlib
import subprocess
import sys

import budget

BEGIN, END = "python3 backends/gpu/launches.py build/release/bin/kerf\n```\n```text\n", "```\n"  # around the table in README.md
HEADER = ("kernel", "problem", "MB", "MFLOP", "function", "blocks x threads", "registers", "spills", "shared", "occupancy", "rounds")
TARGET, MULTIPROCESSORS = "sm_90", 132  # H200; NVIDIA Hopper Architecture In-Depth (2022)

# Kernel, tokens (None: any), a part of the problem that tells it from others of the kernel, and the function that does the work.
MAIN = [
    ("matmul.3_dot", 1, "q4_k", "dot_groups<Q4_K, 1>"),
    ("matmul.3_dot", 1, "q6_k", "dot_groups<Q6_K, 1>"),
    ("matmul.3_dot", 8, "q4_k", "dot_groups<Q4_K, 8>"),
    ("matmul.2_warp", 1, ", f16", "dot_warp<F16, 8, 1>"),
    ("matmul.4_tile", 16, "q4_k", "multiply_tiles<Q4_K, 16>"),
    ("matmul.4_tile", 512, "q4_k", "multiply_tiles<Q4_K, 64>"),
    ("matmul.4_tile_s8", 512, "q4_k", "multiply_tiles_s8<Q4_K, 64>"),
    ("matmul.4_tile_f16", 512, ", f16", "multiply_tiles<F16, 64>"),
    ("attention.2_split", 1, "f16", "attend_split<HalfRows, 8>"),
    ("attention.2_split", 1, "q8_0", "attend_split<AnyRows, 8>"),
    ("attention.f16.3_tile", 512, "f16", "attend_tiles<HalfCache, 128>"),
    ("expert_swiglu.3_dot", 1, "q4_k", "swiglu_rows<Q4_K, ByteInput>"),
    ("expert_swiglu.4_grouped", 512, "q4_k", "multiply_groups<Q4_K, 64>"),
    ("gated_delta_rule.1_serial", 1, "", "serial<4>"),
    ("gated_delta_rule.2_chunked", 512, "", "pass"),
    ("convert.decode.2_lanes", None, "q4_k", "decode_lanes<Q4_K, ToHalf>"),
    ("argmax.1_pieces", 1, "", "highest_of_pieces"),
    ("rms_norm.1_warp", 512, "", "warp_norm<0>"),
    ("rope_cache.1_warp", 1, "f16", "rope_and_write"),
    ("router.1_warp", 512, "", "route"),
]


def rows_of(kerf):
    tokens = [str(t) for t in sorted({t for _, t, _, _ in MAIN if t})]
    out = subprocess.run([kerf, "kernels", "launches", "emu/", "-T", ",".join(tokens), "--json"], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)["rows"]


def rounded(x):
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}"


def table(kerf):
    rows = rows_of(kerf)
    compiled = {}
    for line in (pathlib.Path(__file__).parent / "budget.tsv").read_text().splitlines()[1:]:
        _, target, _, function, *figures = line.split("\t")
        if target == TARGET:
            compiled[function] = dict(zip(budget.KEYS, map(int, figures)))
    names = {function.split("<")[0] for function in compiled}
    if unknown := sorted({x["function"] for r in rows for x in r["launches"]} - names):
        sys.exit(f"budget.tsv does not have {', '.join(unknown)}")
    lines = [HEADER]
    for kernel, tokens, part, function in MAIN:
        row = next(r for r in rows if r["kernel"] == f"emu/{kernel}" and tokens in (r["tokens"], None) and part in r["problem"])
        launch = next(x for x in row["launches"] if x["function"] == function.split("<")[0])
        figures, threads = compiled[function], launch["threads"]
        shared = figures["shared"] + launch["dynamic_shared_bytes"]
        at_once = budget.blocks_at_once(TARGET, figures["registers"], shared, threads)
        blocks = launch["blocks"][0] * launch["blocks"][1] * launch["blocks"][2]
        occupancy = at_once * -(-threads // 32) * 32 / budget.CUDA[TARGET][2]
        inputs = row["problem"].split(": ")[1].split(" -> ")[0].split(", i32")[0]
        lines.append((kernel, inputs, rounded(row["bytes"] / 1e6), rounded(row["flops"] / 1e6), function, f"{blocks} x {threads}", str(figures["registers"]), str(figures["spills"]),
                      f"{shared} B", f"{100 * occupancy:.0f} %", f"{blocks / at_once / MULTIPROCESSORS:.2f}"))
    widths = [max(map(len, column)) for column in zip(*lines)]
    is_text = (0, 1, 4)
    return "".join("  ".join(cell.ljust(w) if i in is_text else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))).rstrip() + "\n" for line in lines)


def main():
    text = table(sys.argv[1])
    if len(sys.argv) == 2:
        print(text, end="")
        return
    path = pathlib.Path(sys.argv[3])
    before, rest = path.read_text().split(BEGIN)
    written, after = rest.split(END, 1)
    if sys.argv[2] == "--write":
        path.write_text(before + BEGIN + text + END + after)
    elif written != text:
        sys.exit(f"{path} has another table: python3 backends/gpu/launches.py build/release/bin/kerf --write {path}")


main()
