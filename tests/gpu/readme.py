"""The table of faults in backends/gpu/README.md is what the program lists: python3 readme.py SOURCE_FOLDER TEST_FAULTS [--write]."""
import pathlib
import subprocess
import sys

path = pathlib.Path(sys.argv[1]) / "backends/gpu/README.md"
begin, end = "<!-- test_faults --list -->\n", "<!-- end of the list -->\n"
table = subprocess.run([sys.argv[2], "--list"], capture_output=True, text=True, check=True).stdout
text = path.read_text()
before, rest = text.split(begin)
listed, after = rest.split(end)
if sys.argv[3:] == ["--write"]:
    path.write_text(before + begin + table + end + after)
elif listed != table:
    print(f"{path} lists other faults than the program: python3 tests/gpu/readme.py . build/release/bin/test_faults --write")
    sys.exit(1)
