"""What each GPU kernel takes of a multiprocessor, by the compilers: python3 budget.py BUILD_FOLDER [--write].

Reads the logs that cmake/gpu.cmake keeps beside the objects, prints a table, and compares it with backends/gpu/budget.tsv: a kernel
that takes more registers, stack, spills or shared memory than is written there fails, as does one that is not in it. --write
writes the file anew: the difference is for a person to read. `threads` is what KERF_GLOBAL in the source says; `occupancy` the share of a
multiprocessor's warps or waves that fit at once, bound by registers, shared memory and threads.
"""
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
KEYS = ("registers", "stack", "spills", "shared")
HEADER = ("vendor", "target", "file", "kernel", *KEYS, "threads", "occupancy")
# Registers and bytes of shared memory of a multiprocessor, its threads, and the unit that registers of a warp are given out in.
# Source: CUDA C++ Programming Guide 13.0, "Compute Capabilities", table of technical specifications.
CUDA = {"sm_75": (65536, 65536, 1024), "sm_80": (65536, 167936, 2048), "sm_90": (65536, 233472, 2048), "sm_120": (65536, 102400, 1536)}
RESERVED_SHARED = 1024  # of each block, from sm_80 on


def demangled(names):
    out = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout.splitlines()
    clean = {}
    for name, text in zip(names, out):
        text = re.sub(r"\b_GLOBAL__N__\w+::|\(anonymous namespace\)::|kerf::(quant|cuda|hip|nvcc|hipcc)::(nvcc::|hipcc::)?|kerf::", "", text)
        text = re.sub(r"\((\w+)\)(\d+)", r"\2", text)  # (Norm)1, (int)8
        clean[name] = re.sub(r"^(static )?void ", "", re.sub(r"\([^()]*\)$", "", text)).strip()
    return clean


def threads_of(source):
    """Kernel name -> threads of its blocks, where the source gives them as a number or by a constant of the file."""
    text = source.read_text()
    constants = {"kLanes": 32} | {name: int(value) for name, value in re.findall(r"\b(k[A-Z]\w*) = (\d+)[;,]", text)}
    found = {}
    for expression, name in re.findall(r"KERF_GLOBAL\(([^(),]+)(?:,.*)?\)\s*(\w+)\(", text):
        try:
            found[name] = eval(expression, {"__builtins__": {}}, constants)  # noqa: S307 - sums and products of our own constants
        except NameError:
            pass
    return found


def cuda_rows(log):
    target = kernel = None
    row = {}
    for line in log.read_text().splitlines():
        if m := re.search(r"Compiling entry function '(\S+)' for '(sm_\d+)a?'", line):
            kernel, target = m.groups()
            row = {"stack": 0, "spills": 0}
        elif m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            row["stack"], row["spills"] = int(m[1]), int(m[2]) + int(m[3])
        elif (m := re.search(r"Used (\d+) registers", line)) and kernel:
            smem = re.search(r"(\d+) bytes smem", line)
            yield "cuda", target, kernel, {**row, "registers": int(m[1]), "shared": int(smem[1]) if smem else 0}
            kernel = None


def hip_rows(log, targets):
    seen = {}
    row, kernel = {}, None
    names = {"VGPRs": "registers", "ScratchSize [bytes/lane]": "stack", "VGPRs Spill": "spills", "LDS Size [bytes/block]": "shared", "Occupancy [waves/SIMD]": "waves"}
    for line in log.read_text().splitlines():
        m = re.search(r"remark:\s+(.+?): (\S+) \[-Rpass-analysis=kernel-resource-usage\]", line)
        if not m:
            continue
        if m[1] == "Function Name":
            kernel, row = m[2], {}
        elif m[1] in names:
            row[names[m[1]]] = int(m[2])
        if m[1] == "LDS Size [bytes/block]":  # the last; targets are compiled in alphabetical order
            seen[kernel] = seen.get(kernel, -1) + 1
            yield "hip", targets[seen[kernel]], kernel, row


def blocks_at_once(target, registers, shared, threads):
    """Blocks that a multiprocessor of NVIDIA's holds, bound by registers, shared memory and threads."""
    most_registers, most_shared, most_threads = CUDA[target]
    warps = -(-threads // 32)
    per_warp = -(-registers * 32 // 256) * 256
    return min(most_threads // (warps * 32), most_registers // per_warp // warps, most_shared // (shared + RESERVED_SHARED))


def occupancy(vendor, target, row, threads):
    if vendor == "hip":  # the compiler's own figure; a SIMD of CDNA has 8 waves at once, of RDNA 16
        return f"{100 * row['waves'] / (8 if target == 'gfx90a' else 16):.0f} %"
    if not threads or target not in CUDA:
        return "-"
    blocks = blocks_at_once(target, row["registers"], row["shared"], threads)
    return f"{100 * blocks * -(-threads // 32) * 32 / CUDA[target][2]:.0f} %"


def collect(build):
    folder = build / "backends/gpu"
    cache = (build / "CMakeCache.txt").read_text()
    targets = sorted(re.search(r"KERF_HIP_ARCHS:\w+=(.*)", cache)[1].split(";"))
    raw = []
    for vendor in ("cuda", "hip"):
        logs = [folder / vendor / f"{source.stem}.log" for source in sorted((HERE / "kernels").glob("*.cpp"))]
        for log in filter(pathlib.Path.exists, logs):
            rows = cuda_rows(log) if vendor == "cuda" else hip_rows(log, targets)
            raw += [(log.stem, *r) for r in rows]
    names = demangled(sorted({r[3] for r in raw}))
    table = {}
    for file, vendor, target, mangled, row in raw:
        name = names[mangled]
        threads = threads_of(HERE / "kernels" / f"{file}.cpp").get(name.split("<")[0])
        table[vendor, target, file, name] = [*(row[k] for k in KEYS), threads or "-", occupancy(vendor, target, row, threads)]
    return table


def main():
    table = collect(pathlib.Path(sys.argv[1]))
    lines = ["\t".join(HEADER)] + ["\t".join(map(str, (*key, *row))) for key, row in sorted(table.items())]
    budget = HERE / "budget.tsv"
    if "--write" in sys.argv[2:]:
        budget.write_text("\n".join(lines) + "\n")
    if not table:
        sys.exit("no kernel was compiled in this build: configure it with -DKERF_WITH_CUDA=ON or -DKERF_WITH_HIP=ON")
    allowed = {}
    for line in budget.read_text().splitlines()[1:]:
        cells = line.split("\t")
        allowed[tuple(cells[:4])] = list(map(int, cells[4:8]))
    problems = []
    for key, row in sorted(table.items()):
        if key not in allowed:
            problems.append(f"{' '.join(key)} is not in the budget")
            continue
        problems += [f"{' '.join(key)}: {k} {now}, the budget has {most}" for k, now, most in zip(KEYS, row, allowed[key]) if now > most]
    built = {key[:2] for key in table}
    problems += [f"{' '.join(key)} is in the budget and no longer compiled" for key in sorted(allowed) if key[:2] in built and key not in table]
    print("\n".join(lines))
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
