"""What the tests of the command line share: the program, the golden models, and readers for what it writes.

KERF is the program under test, KERF_TEST_DATA the folder tests/data, KERF_MAKE_HOSTILE the program that writes broken files.
"""

import array
import codecs
import dataclasses
import functools
import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import tempfile
import threading
import time
import unittest

KERF = os.environ.get("KERF", "kerf")
DATA = pathlib.Path(os.environ.get("KERF_TEST_DATA", pathlib.Path(__file__).resolve().parent.parent / "data"))
MAKE_HOSTILE = os.environ.get("KERF_MAKE_HOSTILE", "make_hostile")

MODELS = ("llama", "llama_tied", "qwen2", "qwen3")


def model(name="llama", kind="f16"):
    return str(DATA / "golden" / name / f"{kind}.gguf")


@functools.cache
def golden(name):
    return json.loads((DATA / "golden" / name / "golden.json").read_text())


def oracle(name, rows):
    """Flat float32 values of tests/data/golden/NAME/ROWS.f32."""
    values = array.array("f")
    values.frombytes((DATA / "golden" / name / f"{rows}.f32").read_bytes())
    return values


def read_npy(path):
    """(shape, flat values) of a .npy file, version 1.0, which must be little-endian float32 in C order."""
    data = pathlib.Path(path).read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    (length,) = struct.unpack("<H", data[8:10])
    header = data[10 : 10 + length].decode("ascii")
    assert (10 + length) % 64 == 0 and header.endswith("\n"), header
    match = re.fullmatch(r"\{'descr': '<f4', 'fortran_order': False, 'shape': \((\d+), (\d+),? ?\), \} *\n", header)
    assert match, header
    shape = tuple(map(int, match.groups()))
    values = array.array("f")
    values.frombytes(data[10 + length :])
    assert len(values) == shape[0] * shape[1], (len(values), shape)
    return shape, values


def lossy(data):
    """Text of bytes a random model may have produced: each that is no part of well-formed UTF-8 becomes U+FFFD."""
    return data.decode("utf-8", "each-byte")


codecs.register_error("each-byte", lambda error: ("\ufffd", error.start + 1))


def nmse(got, want):
    """sum (got - want)^2 / sum want^2 over the last len(want) values."""
    got = got[len(got) - len(want) :]
    return sum((g - w) ** 2 for g, w in zip(got, want)) / sum(w * w for w in want)


@dataclasses.dataclass
class Result:
    words: tuple
    code: int
    out: bytes
    err: str
    seconds: float
    peak: int  # bytes of memory, the largest it ever was

    @property
    def text(self):
        return self.out.decode("utf-8")

    @property
    def json(self):
        return json.loads(self.text)

    def __str__(self):
        line = " ".join([KERF, *map(str, self.words)])
        return f"\n$ {line}\nexit code {self.code} after {self.seconds:.2f} s\nstdout: {self.out[:2000]!r}\nstderr: {self.err[:2000]}"


def run(*words, stdin=b"", timeout=60, preexec=None, stdout=None, cwd=None, program=None):
    """Runs kerf to its end. A run that takes longer than `timeout` is killed and has exit code -9."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as source:
        source.write(stdin)
        source.seek(0)
        start = time.monotonic()
        child = subprocess.Popen([program or KERF, *map(str, words)], stdin=source, stdout=stdout or out, stderr=err, preexec_fn=preexec, cwd=cwd)
        timer = threading.Timer(timeout, child.kill)
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)  # not child.wait(): only this call tells the memory of this one child
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        out.seek(0)
        err.seek(0)
        return Result(words, child.returncode, out.read(), err.read().decode("utf-8", "backslashreplace"), seconds, usage.ru_maxrss * 1024)


@functools.cache
def version():
    return run("version", "--json").json


def sanitized():
    """A build with sanitizers needs more memory and time; limits on those are checked without."""
    return version()["sanitizers"] != ""


class Running:
    """A kerf that is still at work: read what it says, send it signals, wait for its end."""

    def __init__(self, *words, stdin=subprocess.DEVNULL):
        self.words = words
        self.err = tempfile.TemporaryFile()
        self.start = time.monotonic()
        self.child = subprocess.Popen([KERF, *map(str, words)], stdin=stdin, stdout=subprocess.PIPE, stderr=self.err)
        self.out = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.returncode is None:
            self.child.kill()
            self.child.wait()
        self.child.stdout.close()
        if self.child.stdin:
            self.child.stdin.close()
        self.err.close()

    def read_some(self, n, timeout=30):
        """Waits until at least n bytes of output have come."""
        timer = threading.Timer(timeout, self.child.kill)
        timer.start()
        while len(self.out) < n:
            part = os.read(self.child.stdout.fileno(), 65536)
            if not part:
                break
            self.out += part
        timer.cancel()
        return len(self.out) >= n

    def works_for(self, seconds):
        """False if it ends before that."""
        try:
            self.child.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            return True

    def interrupt(self):
        self.child.send_signal(signal.SIGINT)

    def wait(self, timeout):
        """The result; a run that does not end in time is killed: exit code -9."""
        timer = threading.Timer(timeout, self.child.kill)
        timer.start()
        self.out += self.child.stdout.read()
        code = self.child.wait()
        timer.cancel()
        self.err.seek(0)
        err = self.err.read().decode("utf-8", "backslashreplace")
        return Result(self.words, code, self.out, err, time.monotonic() - self.start, 0)


class Case(unittest.TestCase):
    longMessage = True

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="kerf-cli-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, name, content):
        """A file in this test's own folder; returns its path."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def ids(self, tokens, name="ids.json"):
        return self.file(name, json.dumps(tokens))

    def kerf(self, *words, code=0, **options):
        """Runs kerf and expects this exit code."""
        result = run(*words, **options)
        self.assertEqual(result.code, code, result)
        return result

    def refused(self, code, *words, says=(), **options):
        """Expects an error as the contract words it: the exit code, one line first, nothing on standard output; with --json
        an object with the same code and message. Each of `says` must be in the line."""
        plain = self.kerf(*words, code=code, **options)
        self.assertEqual(plain.out, b"", plain)
        line = plain.err.split("\n", 1)[0]
        self.assertTrue(line.startswith("error: ") and len(line) > len("error: "), plain)
        for part in says:
            self.assertIn(str(part), line, plain)
        with_json = self.kerf(*words, "--json", code=code, **options)
        error = with_json.json["error"]
        self.assertEqual(error["code"], code, with_json)
        self.assertEqual("error: " + error["message"], with_json.err.rstrip("\n"), with_json)
        return error | {"line": line}

    def logits(self, *words, name="llama", kind="f16", tokens=None, **options):
        """(shape, values, bytes of the file) of `kerf logits`."""
        out = self.folder / "logits.npy"
        self.kerf("logits", "-m", model(name, kind), "--tokens", self.ids(tokens or golden(name)["tokens_33"]), "--out", out, *words, **options)
        shape, values = read_npy(out)
        return shape, values, out.read_bytes()

    def assertFolderHolds(self, *names):
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), sorted(names))


def main():
    unittest.main(module="__main__")
