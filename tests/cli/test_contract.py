"""How kerf is spoken to: help, the forms of options, sizes, and what goes to standard output."""

import json
import os
import pathlib
import pty
import re
import subprocess

import program
from program import golden, model, run

COMMANDS = ("run", "logits", "tokenize", "inspect", "bench", "perplexity", "plan", "kernels", "synth", "version")
KERNEL_ACTIONS = ("list", "explain", "test", "bench", "coverage")
TEXT = "def add(a, b):\n    return a + b\n\n" * 12


def listed_commands(help_text):
    """First words of the indented lines under "Subcommands:"."""
    part = help_text.split("Subcommands:", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^  (\w+)", part, re.MULTILINE)


class Help(program.Case):
    def test_lists_the_commands_and_exit_codes(self):
        text = self.kerf("-h").text
        self.assertLessEqual(set(COMMANDS), set(listed_commands(text)))
        self.assertEqual(text, self.kerf("--help").text)
        for code in ("0", "1", "2", "3", "4", "5", "130"):
            self.assertRegex(text.split("Exit codes", 1)[1], rf"\b{code} \w")

    def test_every_command_shows_an_example_of_itself(self):
        commands = [(name,) for name in listed_commands(self.kerf("-h").text)]
        commands += [("kernels", name) for name in listed_commands(self.kerf("kernels", "-h").text)]
        self.assertLessEqual({("kernels", name) for name in KERNEL_ACTIONS}, set(commands))
        for command in commands:
            with self.subTest(command):
                result = self.kerf(*command, "-h")
                self.assertIn("Example", result.text)
                self.assertRegex(result.text.split("Example", 1)[1], "kerf " + " ".join(command))
                self.assertEqual(result.err, "")
                self.assertEqual(result.out, self.kerf(*command, "--help").out)

    def test_help_wins_over_missing_arguments(self):
        self.assertIn("--tokens", self.kerf("logits", "-m", "nowhere.gguf", "-h").text)


class WrongUsage(program.Case):
    def test_unknown_options_are_met_with_the_nearest_known_one(self):
        for command, wrong, right in (
            ("inspect", "--tensor", "--tensors"),
            ("run", "--promt", "--prompt"),
            ("run", "--tmep=0", "--temp"),
            ("plan", "--devise", "--device"),
            ("perplexity", "--chunk=2", "--chunks"),
            ("bench", "--repetition=3", "--repetitions"),
            ("run", "--ubatch_size=4", "--ubatch-size"),
        ):
            with self.subTest(wrong):
                required = ("-f", "text.txt") if command == "perplexity" else ()
                self.refused(2, command, "-m", model(), *required, wrong, says=[wrong.split("=")[0], f"did you mean {right}?"])

    def test_words_that_are_no_command_or_option(self):
        for words in (
            (),
            ("rnu",),
            ("kernels",),
            ("kernels", "frobnicate"),
            ("--frobnicate",),
            ("version", "surplus"),
            ("inspect",),
            ("run", "-m", model(), "-p", "x", "-j"),
            ("tokenize", "-p", "x"),
        ):
            with self.subTest(words):
                self.refused(2, *words)
        self.kerf("run", "-m", code=2)

    def test_values_that_mean_nothing(self):
        base = ("run", "-m", model(), "--raw", "-p", "x")
        for words in (
            ("-n", "many"),
            ("-n", "-2"),
            ("-n", "1e3"),
            ("-t", "0"),
            ("-t", "-1"),
            ("-t", "2000"),
            ("-c", "-1"),
            ("-ub", "0"),
            ("--temp", "-1"),
            ("--temp", "hot"),
            ("--top-p", "1.5"),
            ("--min-p", "-0.1"),
            ("--repeat-penalty", "0"),
            ("--seed", "x"),
            ("-ctk", "q4_9"),
            ("-ctv", "i32"),
            ("--backend", "abacus"),
            ("--isa", "mmx"),
            ("--activations", "f8"),
            ("--seed", "18446744073709551616"),
            ("--kernel", "matmul"),
            ("--kernel", "matmul=cpu/nothing"),
            ("--kernel", "frobnicate=cpu/add"),
            ("--kernel", "blk.9.attn_q=reference/matmul"),
            ("--device", "pretend:0=64MiB", "-ts", "1,2,3"),
        ):
            with self.subTest(words):
                self.refused(2, *base, *words)


class Forms(program.Case):
    def test_values_after_a_space_or_an_equals_sign(self):
        ids = self.ids(golden("llama")["tokens_33"][:5])
        outs = []
        for i, form in enumerate((lambda k, v: (k, v), lambda k, v: (f"{k}={v}",))):
            out = str(self.folder / f"{i}.npy")
            self.kerf(
                "logits",
                *form("--model", model()),
                *form("--tokens", ids),
                *form("--out", out),
                *form("--backend", "reference"),
                *form("--threads", "2"),
                *form("--ctx-size", "64"),
            )
            outs.append(pathlib.Path(out).read_bytes())
        self.assertEqual(outs[0], outs[1])

    def test_short_options_take_their_value_attached_or_not(self):
        want = self.kerf("tokenize", "-m", model(), "-p", "Hello").out
        self.assertGreater(len(want), 3)
        self.assertEqual(want, self.kerf("tokenize", f"-m{model()}", "-pHello").out)
        self.assertEqual(want, self.kerf("tokenize", "--model", model(), "--prompt=Hello").out)

    def test_llama_cpps_flags_of_several_letters(self):
        base = ("plan", "-m", model(), "--device", "pretend:0=64MiB", "--device", "pretend:1=64MiB")
        for short, value, long in (
            ("-ngl", "2", "--n-gpu-layers"),
            ("-ngl", "2", "--gpu-layers"),
            ("-ub", "16", "--ubatch-size"),
            ("-ot", "ffn_down=pretend:0", "--override-tensor"),
        ):
            with self.subTest(short):
                want = self.kerf(*base, long, value).out
                self.assertNotEqual(want, self.kerf(*base).out)
                for words in ((short, value), (f"{short}={value}",), (f"{long}={value}",)):
                    self.assertEqual(want, self.kerf(*base, *words).out, words)
        f32 = self.kerf(*base, "--cache-type-k", "f32", "--cache-type-v=f32").out
        self.assertNotEqual(f32, self.kerf(*base).out)
        for words in (("-ctk", "f32", "-ctv", "f32"), ("-ctk=f32", "-ctv=f32")):
            self.assertEqual(f32, self.kerf(*base, *words).out)
        self.assertEqual(self.kerf(*base, "-ngl", "3", "-ts", "1,2").out, self.kerf(*base, "-ngl=3", "--tensor-split=1,2").out)

    def test_negative_numbers_are_values(self):
        result = self.kerf("run", "-m", model(), "--raw", "-p", "def", "-c", "24", "--temp", "0", "-n", "-1")
        self.assertGreater(len(result.out), 24)
        self.assertEqual(result.out, self.kerf("run", "-m", model(), "--raw", "-p", "def", "-c", "24", "--temp", "0", "--n-predict=-1").out)

    def test_sizes(self):
        # A device that is too small is an error with its size in bytes: that shows how a size was read.
        base = ("plan", "-m", model(), "-ngl", "3", "--device")
        for text, size in (
            ("1KiB", 1024),
            ("1KB", 1000),
            ("0.5MiB", 1 << 19),
            ("1MB", 10**6),
            ("0.0005GiB", int(0.0005 * 2**30)),
            ("0.0005GB", 500000),
            ("4096", 4096),
            ("4096B", 4096),
        ):
            with self.subTest(text):
                self.refused(4, *base, f"pretend:0={text}", says=[f"has {size}:"])
        for text in ("64MiB", "1GiB", "1GB", "0.5TiB", "67108864"):
            self.kerf(*base, f"pretend:0={text}")
        for text in ("", "MiB", "1XB", "1 MiB", "-1MiB", "nan", "1e30GiB", "64MiBs"):
            with self.subTest(text):
                self.refused(2, *base, f"pretend:0={text}")


class Output(program.Case):
    def every_command(self):
        """Words that let each command succeed, quickly."""
        ids = self.ids(golden("llama")["tokens_33"])
        text = self.file("text.txt", TEXT)
        m = ("-m", model())
        yield "version", ()
        yield "inspect", (model(), "--tensors", "--check")
        yield "inspect", (model(), "--metadata", "tokenizer.ggml.tokens")
        yield "tokenize", (*m, "-p", "Hello <|eot_id|>", "--pieces")
        yield "tokenize", (*m, "--decode", ids)
        yield "logits", (*m, "--tokens", ids, "--greedy", "3", "--out", str(self.folder / "x.npy"))
        yield "run", (*m, "-p", "Hello", "-n", "4", "--stats", "-v", "-v")
        yield "run", (*m, "--raw", "-p", "Hello", "-n", "4", "--temp", "3")
        yield "bench", (*m, "-p", "8", "-n", "2", "-r", "2")
        yield "perplexity", (*m, "-f", text, "-c", "32", "-vv")
        yield "plan", (*m, "--device", "pretend:0=64MiB", "-ngl", "2")
        yield "plan", (*m, "--why", "output.weight")
        yield "synth", ("--list",)
        yield "synth", ("--shape", "llama-3.1-8b", "--mix", "Q4_K_M", "--dry-run")
        yield "kernels", ("list",)
        yield "kernels", ("explain", *m, "attn_q")
        yield "kernels", ("test", "cpu/add")
        yield "kernels", ("bench", "cpu/add", "--seconds", "0.001")
        yield "kernels", ("coverage",)

    def test_json_is_one_document_on_every_command(self):
        for command, words in self.every_command():
            with self.subTest(command, words=words):
                result = self.kerf(command, *words, "--json")
                document = json.loads(result.text)
                self.assertIsInstance(document, list if command == "bench" else dict)
                self.assertTrue(result.text.endswith("\n"))
                if command != "bench":
                    self.assertEqual(document["schema"], 1)
                    self.assertNotIn("error", document)

    def test_text_is_not_json_and_never_empty(self):
        for command, words in self.every_command():
            with self.subTest(command, words=words):
                result = self.kerf(command, *words)
                self.assertNotIn(b'"schema"', result.out)
                self.assertTrue(result.out.endswith(b"\n") or "--decode" in words, result)

    def test_saying_more_does_not_change_the_result(self):
        for words in (
            ("run", "-m", model(), "-p", "Hello", "-n", "8", "--temp", "0"),
            ("tokenize", "-m", model(), "-p", "Hello"),
            ("plan", "-m", model()),
            ("inspect", model()),
        ):
            quiet, loud = self.kerf(*words, "-q"), self.kerf(*words, "-v", "-v")
            self.assertEqual(quiet.out, loud.out)
            self.assertEqual(quiet.err, "")
        self.assertIn("weights", loud.err + self.kerf("plan", "-m", model(), "-v").err)

    def test_a_bar_only_on_a_terminal(self):
        words = ("perplexity", "-m", model(), "-f", self.file("text.txt", TEXT), "-c", "32")
        plain = self.kerf(*words)
        self.assertEqual(plain.err, "")
        terminal, other_end = pty.openpty()
        try:
            result = subprocess.run([program.KERF, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=other_end, timeout=60)
            self.assertEqual((result.returncode, result.stdout), (0, plain.out))
            self.assertIn(b"\r", os.read(terminal, 65536))
        finally:
            os.close(terminal)
            os.close(other_end)

    def test_warnings_go_to_standard_error(self):
        result = self.kerf("run", "-m", model(), "-p", "x", "-n", "0", "-c", "2000")
        self.assertIn("warning: ", result.err)
        self.assertEqual(result.out, b"\n")

    def test_a_lost_result_is_not_a_success(self):
        for words in (
            ("version",),
            ("version", "--json"),
            ("tokenize", "-m", model(), "-p", "Hello"),
            ("run", "-m", model(), "--raw", "-p", "Hello", "-n", "4"),
            ("plan", "-m", model()),
            ("bench", "-m", model(), "-p", "4", "-n", "0", "-r", "1"),
        ):
            with self.subTest(words), open("/dev/full", "wb") as full:
                result = run(*words, stdout=full)
                self.assertEqual(result.code, 1, result)
                self.assertTrue(result.err.startswith("error: "), result)


if __name__ == "__main__":
    program.main()
