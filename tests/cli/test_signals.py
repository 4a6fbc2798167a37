"""Interrupts, readers that go away, and model files that change while they are used."""

import os
import subprocess
import time

import program
from gguf_reader import endless
from program import Running, golden, model, run

PROMPT = ("--raw", "-p", "def add(a, b):", "--temp", "0")
LONG = (*PROMPT, "-n", "60000", "-c", "60100")  # minutes


class Endless(program.Case):
    def setUp(self):
        super().setUp()
        self.model = self.endless("endless.gguf")

    def endless(self, name, source="llama"):
        return self.file(name, endless(model(source)))


class Interrupt(Endless):
    def test_generation_stops_and_reports(self):
        with Running("run", "-m", self.model, *LONG, "--stats") as kerf:
            self.assertTrue(kerf.read_some(100))
            kerf.interrupt()
            result = kerf.wait(5)
        self.assertEqual(result.code, 130, result)
        self.assertTrue(result.out.endswith(b"\n"))
        self.assertRegex(result.err, r"decode +\d+ tokens")
        self.assertIn("stopped by interrupted", result.err)

    def test_json_says_so(self):
        with Running("run", "-m", self.model, *LONG, "--json") as kerf:
            self.assertTrue(kerf.works_for(1))
            kerf.interrupt()
            result = kerf.wait(5)
        self.assertEqual(result.code, 130, result)
        self.assertEqual(result.json["stopped_by"], "interrupted")
        self.assertGreater(len(result.json["text"]), 10)

    def interrupted(self, *words):
        with Running(*words) as kerf:
            self.assertTrue(kerf.works_for(1), "ended by itself")
            kerf.interrupt()
            result = kerf.wait(5)
        self.assertEqual(result.code, 130, result)
        self.assertEqual([p.name for p in self.folder.glob("x.npy*")], [])

    def test_perplexity(self):
        self.interrupted("perplexity", "-m", model(), "-f", self.file("text.txt", "def add(a, b):\n" * 40000), "-c", "512", "-t", "2")

    def test_bench(self):
        self.interrupted("bench", "-m", model(), "-p", "4000", "-n", "0", "-r", "1000")
        self.interrupted("bench", "-m", model(), "-p", "0", "-n", "100000", "-r", "1000")

    def test_logits_greedy(self):
        ids = self.ids(golden("llama")["tokens_33"])
        self.interrupted("logits", "-m", model(), "--tokens", ids, "--greedy", "60000", "-c", "60100", "--out", str(self.folder / "x.npy"))

    def test_logits_prompt(self):
        ids = self.ids(golden("llama")["tokens_150"] * 100)
        self.interrupted(
            "logits", "-m", model(), "--tokens", ids, "--backend", "reference", "-c", "15000", "--last", "1", "--out", str(self.folder / "x.npy")
        )

    def test_run_in_its_prompt(self):
        text = self.file("text.txt", "def add(a, b):\n" * 4000)
        self.interrupted("run", "-m", model(), "--raw", "-f", text, "-n", "1", "-c", "100000", "-t", "2", "--backend", "reference")

    def test_kernels(self):
        self.interrupted("kernels", "bench", "--seconds", "0.05")
        self.interrupted("kernels", "test")

    def test_while_it_waits_for_a_person(self):
        for words in (("-i",), ("-p", "-")):
            with self.subTest(words), Running("run", "-m", model(), "-n", "4", *words, stdin=subprocess.PIPE) as kerf:
                self.assertTrue(kerf.works_for(1))
                kerf.interrupt()
                self.assertEqual(kerf.wait(5).code, 130)

    def test_the_second_interrupt_ends_at_once(self):
        text = self.file("text.txt", "def add(a, b):\n" * 4000)
        with Running("run", "-m", model(), "--raw", "-f", text, "-n", "1", "-c", "100000", "-t", "2", "--backend", "reference") as kerf:
            self.assertTrue(kerf.works_for(1))
            kerf.interrupt()
            time.sleep(0.1)
            kerf.interrupt()
            self.assertIn(kerf.wait(1).code, (130, -2))


class Reader(Endless):
    def test_a_reader_that_goes_away_ends_the_run(self):
        with Running("run", "-m", self.model, *LONG) as kerf:
            self.assertTrue(kerf.read_some(100))
            kerf.child.stdout.close()
            self.assertFalse(kerf.works_for(5), "it goes on for nobody")
            self.assertEqual(kerf.child.returncode, 1)


class ChangingFile(Endless):
    def test_truncated_while_generating(self):
        for keep in (0, 1 << 20, 3_000_000):
            path = self.endless("cut.gguf")
            with self.subTest(keep), Running("run", "-m", path, *LONG) as kerf:
                self.assertTrue(kerf.read_some(100))
                os.truncate(path, keep)
                result = kerf.wait(10)
                self.assertEqual(result.code, 3, result)
                line = result.err.splitlines()[-1]
                self.assertTrue(line.startswith(f"error: {path}: offset "), result)
                self.assertIn("truncated", line)

    def test_truncated_in_other_commands(self):
        ids = self.ids(golden("llama")["tokens_33"])
        for words in (
            ("logits", "--tokens", ids, "--greedy", "60000", "-c", "60100"),
            ("bench", "-p", "0", "-n", "1000", "-r", "1000"),
            ("run", *LONG, "--device", "pretend:0=256MiB", "-ngl", "1"),
            ("run", *LONG, "-t", "8"),
        ):
            path = self.endless("cut.gguf")
            with self.subTest(words), Running(words[0], "-m", path, *words[1:], "--json") as kerf:
                self.assertTrue(kerf.works_for(1))
                os.truncate(path, 0)
                result = kerf.wait(10)
                self.assertEqual(result.code, 3, result)
                self.assertEqual(result.json["error"]["path"], str(path))

    def test_a_file_read_whole_is_not_needed_any_more(self):
        words = (*PROMPT, "-n", "600", "--no-mmap")
        want = run("run", "-m", self.model, *words).out
        path = self.endless("cut.gguf")
        with Running("run", "-m", path, *words) as kerf:
            self.assertTrue(kerf.read_some(20))
            os.truncate(path, 0)
            result = kerf.wait(60)
        self.assertEqual(result.code, 0, result)
        self.assertEqual(result.out, want)

    def test_replaced_or_grown_while_generating(self):
        words = (*PROMPT, "-n", "600")
        want = run("run", "-m", self.model, *words).out
        path = self.endless("changed.gguf")
        with Running("run", "-m", path, *words) as kerf:
            self.assertTrue(kerf.read_some(20))
            with open(path, "ab") as grown:
                grown.write(b"\xff" * 100000)
            os.rename(self.endless("other.gguf", "qwen2"), path)
            result = kerf.wait(60)
        self.assertEqual(result.code, 0, result)
        self.assertEqual(result.out, want)


if __name__ == "__main__":
    program.main()
