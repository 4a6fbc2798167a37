"""Paths that are no model file: each refused at once, with its path and the reason."""

import os
import shutil
import unittest

import program
from program import model, run, sanitized

MIB = 1 << 20


class Paths(program.Case):
    def refused_at_once(self, path, *says, **options):
        limit = 20 if sanitized() else 2
        baseline = run("version").peak
        for words in (
            ("inspect", path),
            ("run", "-m", path, "-p", "x"),
            ("tokenize", "-m", path, "-p", "x"),
            ("run", "-m", path, "-p", "x", "--no-mmap"),
            ("plan", "-m", path),
        ):
            self.refused(3, *words, says=[path, *says], timeout=10, **options)
            result = run(*words, timeout=10, **options)
            self.assertLess(result.seconds, limit, result)
            if not sanitized():
                self.assertLess(result.peak, baseline + 16 * MIB, result)

    def test_missing(self):
        self.refused_at_once(self.folder / "missing.gguf", "No such file or directory")
        self.refused_at_once(self.folder / "no folder" / "x.gguf", "No such file or directory")
        self.refused_at_once(self.file("plain", "x") + "/x.gguf", "Not a directory")

    def test_directory(self):
        self.refused_at_once(self.folder, "directory")

    def test_fifo(self):
        path = self.folder / "pipe.gguf"
        os.mkfifo(path)
        self.refused_at_once(path, "FIFO")

    def test_devices_and_proc(self):
        for path in ("/dev/zero", "/dev/null", "/proc/self/mem"):
            self.refused_at_once(path, "regular file")

    @unittest.skipIf(not hasattr(os, "setgroups"), "no other users here")
    def test_no_permission(self):
        path = self.folder / "closed.gguf"
        shutil.copyfile(model(), path)
        os.chmod(self.folder, 0o755)
        os.chmod(path, 0)

        def nobody():
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)

        drop = nobody if os.geteuid() == 0 else None
        try:
            reachable = run("version", preexec=drop).code == 0
        except (PermissionError, OSError):
            reachable = False
        if not reachable:
            self.skipTest("the program is not reachable for others")
        self.refused_at_once(path, "Permission denied", preexec=drop)

    def test_links(self):
        loop, dangling, good = (self.folder / n for n in ("loop", "dangling", "good"))
        loop.symlink_to(loop)
        dangling.symlink_to("nowhere")
        good.symlink_to(model())
        self.refused_at_once(loop, "symbolic links")
        self.refused_at_once(dangling, "No such file or directory")
        self.assertIn("version 3", self.kerf("inspect", good).text)

    def test_a_terabyte_of_nothing(self):
        path = self.folder / "sparse.gguf"
        path.write_bytes(b"")
        try:
            os.truncate(path, 1 << 40)
        except OSError:
            self.skipTest("no sparse files of this size here")
        self.refused_at_once(path, "offset 0", "magic")

    def test_a_good_header_before_a_terabyte_of_nothing(self):
        path = self.folder / "sparse.gguf"
        shutil.copyfile(model(), path)
        try:
            os.truncate(path, 1 << 40)
        except OSError:
            self.skipTest("no sparse files of this size here")
        self.assertIn("warning: ", self.kerf("inspect", path, timeout=10).err)
        result = self.kerf("run", "-m", path, "-p", "x", "-n", "1", "--no-mmap", code=4, timeout=10)
        self.assertTrue(result.err.splitlines()[-1].startswith("error: "), result)

    def test_an_empty_file(self):
        self.refused_at_once(self.file("empty.gguf", ""), "size", "0")

    def test_names_that_would_move_the_cursor(self):
        for name in ("two\nlines.gguf", "\x1b[31mred\x1b]0;title\a.gguf", "back\b\r.gguf", "\u202egnp.gguf"):
            path = self.folder / name
            shutil.copyfile(model(kind="Q2_K"), path)
            with self.subTest(name):
                result = self.kerf("inspect", path)
                self.assertNotRegex(result.text, "[\x00-\x09\x0b-\x1f]")
                self.assertIn("22 tensors", result.text.splitlines()[1])
                self.assertEqual(self.kerf("inspect", path, "--json").json["path"], str(path))
                self.kerf("run", "-m", path, "-p", "x", "-n", "1")
                (row,) = self.kerf("bench", "-m", path, "-p", "1", "-n", "0", "-r", "1", "--json").json
                self.assertEqual(row["model_filename"], str(path))
        path = self.folder / os.fsdecode(b"not-utf8-\xff.gguf")
        shutil.copyfile(model(kind="Q2_K"), path)
        self.kerf("inspect", path)
        for words in (
            ("inspect", path, "--json"),
            ("bench", "-m", path, "-p", "1", "-n", "0", "-r", "1", "-o", "jsonl"),
            ("plan", "-m", path, "--json"),
        ):
            self.assertTrue(self.kerf(*words).json)
        os.truncate(path, 100)
        self.assertEqual(self.kerf("inspect", path, "--json", code=3).json["error"]["code"], 3)


if __name__ == "__main__":
    program.main()
