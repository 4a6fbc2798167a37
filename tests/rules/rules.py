"""Architecture rules that a machine can check: python3 rules.py SOURCE_FOLDER BUILD_FOLDER. Prints every violation."""
import json
import pathlib
import re
import subprocess
import sys

SOURCE, BUILD = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
LIBRARIES = ("core", "quant", "attention", "backends", "loaders")
MAY_INCLUDE = {
    "core": {"core"},
    "quant": {"quant", "core"},
    "attention": {"attention", "quant", "core"},
    "backends": {"backends", "attention", "quant", "core"},
    "loaders": {"loaders", "attention", "quant", "core"},
    "experiments": {"experiments", *LIBRARIES},
}
# Conditional compilation: the default of KERF_ISA (core/half.h), include shims, and code of one processor family.
CONDITIONALS = {
    "#ifndef KERF_ISA": None,
    "#if __has_include(<catch2/catch_all.hpp>)": {"tests/catch.h", "tests/main.cpp"},
    "#if defined(__x86_64__)": {"core/isa.cpp", "core/threadpool.cpp"},
}
# Where it is free: the headers of GPU vendors, and what sanitizers and processors are told of fibers.
FREE_CONDITIONALS = re.compile(r"backends/gpu/(vendor/\w+\.h|simt/fiber\.cpp)")
# Registers of an emulated GPU: which block and fiber an OS thread runs.
THREAD_STATE = ("t_block", "t_fiber")
LONG_FILE = 600
problems = []


def complain(where, what):
    problems.append(f"{where}: {what}")


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def code_of(path):
    """The lines of a file without comments and without the contents of strings."""
    text = re.sub(r'R"(\w*)\((.*?)\)\1"', lambda m: '""' + "\n" * m[0].count("\n"), path.read_text(), flags=re.S)
    text = re.sub(r'(//[^\n]*)|("(?:\\.|[^"\\\n])*")', lambda m: m[2] if m[2] and text[: m.start()].endswith("#include ") else '""' if m[2] else "", text)
    return enumerate(text.splitlines(), 1)


def check_file(path):
    name = path.relative_to(SOURCE).as_posix()
    folder = name.split("/")[0]
    for number, line in code_of(path):
        where = f"{name}:{number}"
        if include := re.match(r'\s*#\s*include\s+"([^"]+)"', line):
            target = include[1].split("/")
            if folder in MAY_INCLUDE and target[0] not in MAY_INCLUDE[folder] | {"version.h"}:
                complain(where, f"{folder} must not include {include[1]}")
            if folder == "backends" and target[0] == "backends" and target[1] != name.split("/")[1]:
                complain(where, f"backends do not know each other: {include[1]}")
        if re.match(r"\s*#\s*(if|elif)", line) and not FREE_CONDITIONALS.fullmatch(name):
            if name not in (CONDITIONALS.get(line.strip(), set()) or {name} if line.strip() in CONDITIONALS else set()):
                complain(where, f"conditional compilation: {line.strip()}")
        if folder != "experiments" and re.search(r"\bgetenv\s*\(", line):
            complain(where, "the environment is read by experiments only")
        if folder in LIBRARIES and (bad := re.search(r"(?<![\w.>])(assert|abort|exit|_Exit|quick_exit)\s*\(", line)):
            complain(where, f"{bad[1]}() in library code: throw Error, or use KERF_CHECK")
        if folder in LIBRARIES and re.match(r"\s*(static|thread_local|inline static|static inline)\s+(?!const\b|constexpr\b|consteval\b)[\w:<>, ]+\s+\w+\s*(=|;|\{)", line):
            complain(where, "a static variable that is not const")
    lines = path.read_text().count("\n")
    if lines > LONG_FILE:
        print(f"note: {name} has {lines} lines")


def check_globals(archive, constants):
    """No writable object in a library, but constants that need a constructor, and what the templates of libstdc++ and Eigen bring along."""
    for line in run("objdump", "-tC", archive).splitlines():
        if symbol := re.match(r"[0-9a-f]+ .{5}[^d][O ] (\S+)\s+[0-9a-f]+ +(?:\.hidden )?(?:guard variable for )?(.*)", line):
            section, name = symbol.groups()
            if not re.match(r"\.(t?bss|t?data)\b|\*COM\*", section) or section.startswith(".data.rel.ro"):
                continue
            if not name.startswith(("std::", "DW.ref.", "Eigen_for::")) and re.sub(r"\[.*|.*::", "", name) not in {*constants, *THREAD_STATE}:
                complain(archive.name, f"writable global {name} in {section}")


def check_isa_object(path, isa):
    """core/half.h's trap: a weak function compiled for an instruction set may be the copy that the linker keeps for all."""
    for line in run("nm", "-C", "--defined-only", path).splitlines():
        # nm gives up on the names of lambdas deep within templates and prints them mangled, where kerf is S_ once it was named.
        mangled = re.search(rf" _ZZ?N4kerf.*NS_(3cpu)?{len(isa)}{isa}\d", line)
        if " W " in line and f"::{isa}::" not in line and not mangled:
            complain(path.name, f"weak function outside of namespace {isa}: {line.split(' W ', 1)[1][:160]}")


def check_kernels(kerf):
    kernels = json.loads(run(kerf, "kernels", "list", "--json"))["kernels"]
    names = {(k["backend"], k["op"], k["variant"]) for k in kernels}
    for k in kernels:
        if len(k["note"].split()) < 2:
            complain(k["name"], "a kernel needs a note that says what it changes")
        if k["improves"] and (k["backend"], k["op"], k["improves"]) not in names:
            complain(k["name"], f"improves {k['improves']}, which does not exist")
    missing = [name for name, row in json.loads(run(kerf, "version", "--json"))["parts"].items() if name in ("EIGEN", "ONEDNN") and row["state"] != "on"]
    if missing:
        print(f"note: backends/COVERAGE.md is not compared: this build lacks {' and '.join(missing)}")
    elif run(kerf, "kernels", "coverage") != (SOURCE / "backends/COVERAGE.md").read_text():
        complain("backends/COVERAGE.md", "is not what `kerf kernels coverage` prints: write it again")


files = [p for folder in (*LIBRARIES, "experiments", "tests") for p in sorted((SOURCE / folder).rglob("*")) if p.suffix in (".h", ".cpp")]
for file in files:
    check_file(file)
archives = [a for folder in LIBRARIES for a in sorted((BUILD / folder).rglob("libkerf_*.a"))]
cache = (BUILD / "CMakeCache.txt").read_text()
release = "CMAKE_BUILD_TYPE:STRING=Release" in cache and re.search(r"^KERF_SANITIZE:\w+=$", cache, re.M)
objects = [(o, isa) for isa in ("avx2", "avx512", "vnni", "amx") for o in sorted((BUILD / "backends").rglob(f"*.{isa}.cpp.o"))]
if len(files) < 50 or len(archives) < 5 or not objects:
    complain(BUILD, f"nothing to check: {len(files)} sources, {len(archives)} libraries, {len(objects)} objects; build all of kerf first")
if release:  # sanitizers add objects and functions of their own
    constants = {c for f in files for _, line in code_of(f) for c in re.findall(r"\bconst(?:expr|init)?\b[^;=(){]*\b(k[A-Z]\w*)", line)}
    for archive in archives:
        check_globals(archive, constants)
    for o, isa in objects:
        check_isa_object(o, isa)
if (BUILD / "bin/kerf").exists():
    check_kernels(BUILD / "bin/kerf")
else:
    complain("bin/kerf", "is not built")
print("\n".join(problems) or f"{len(files)} sources, {len(archives)} libraries and {len(objects)} vector objects keep the rules")
sys.exit(1 if problems else 0)
