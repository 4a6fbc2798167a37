"""Documents that can not rot: python3 docs.py SOURCE_FOLDER KERF. Prints every violation.

- A code block opened with ```LANGUAGE PATH quotes consecutive lines of that file, without the indent they share.
- A path in back quotes that begins with one of our folders exists.
- README's table of commands has exactly the commands of `kerf -h`.
- A number with a unit stands in the output of a command that is printed above it, never in the text of README.
"""
import pathlib
import re
import subprocess
import sys
import textwrap

SOURCE, KERF = pathlib.Path(sys.argv[1]), sys.argv[2]
FOLDERS = "core|quant|attention|backends|loaders|experiments|tests|cmake|notebooks|docs"
UNIT = r"\d[\d.,]*\s*(tokens/s|tok/s|[KMGT]i?B(/s)?|[GT]FLOP/s|[mµun]s\b|seconds|minutes|%|times|-fold)"
problems = []


def blocks(text):
    """(line, info, content) of each fenced block, and the text with the blocks blanked."""
    found = []

    def keep(m):
        found.append((text.count("\n", 0, m.start()) + 1, m[2].strip(), textwrap.dedent(m[3])))
        return "\n" * m[0].count("\n")

    return re.sub(r"^( *)```([^\n]*)\n(.*?)^\1```$", keep, text, flags=re.S | re.M), found


def check(path):
    name = path.relative_to(SOURCE).as_posix()
    prose, found = blocks(path.read_text())
    for line, info, content in found:
        words = info.split()
        if len(words) < 2:
            continue
        file = SOURCE / words[1]
        lines = file.read_text().splitlines() if file.is_file() else []
        want = content.splitlines()
        if not any(textwrap.dedent("\n".join(lines[i : i + len(want)])).splitlines() == want for i in range(len(lines) - len(want) + 1)):
            problems.append(f"{name}:{line}: these are not consecutive lines of {words[1]}")
    for number, line in enumerate(prose.splitlines(), 1):
        for quoted in re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", line):
            if not (SOURCE / quoted).exists():
                problems.append(f"{name}:{number}: there is no {quoted}")
        if name == "README.md" and (number_in_text := re.search(UNIT, re.sub(r"`[^`]*`", "", line))):
            problems.append(f"{name}:{number}: \"{number_in_text[0]}\" belongs into the output of a command")
    if name == "README.md":
        table = set(re.findall(r"^\| `kerf ([a-z]+)", prose, flags=re.M))
        help_text = subprocess.run([KERF, "-h"], capture_output=True, text=True, check=True).stdout
        program = set(re.findall(r"^  ([a-z]+) ", help_text[help_text.index("Subcommands:") :], flags=re.M))
        if table != program:
            problems.append(f"{name}: the table of commands and `kerf -h` differ in {sorted(table ^ program)}")
        for before, (line, info, _) in zip([(0, "", ""), *found], found):
            if info == "text" and before[1] != "sh":
                problems.append(f"{name}:{line}: output without the command that printed it")


documents = [*sorted(SOURCE.glob("*.md")), *(d for f in FOLDERS.split("|") for d in sorted((SOURCE / f).glob("**/*.md")))]
for document in documents:
    check(document)
print("\n".join(problems) or f"{len(documents)} documents agree with the sources")
sys.exit(1 if problems else 0)
