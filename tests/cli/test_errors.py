"""Exit codes, each provoked by what it stands for, and the words of errors."""

import pathlib

import program
from gguf_reader import with_nan
from program import Running, golden, model


class ExitCodes(program.Case):
    def test_0_done(self):
        self.assertIn("kerf", self.kerf("version", code=0).text)

    def test_1_failed_at_run_time(self):
        target = self.folder / "no such folder" / "x.npy"
        error = self.refused(1, "logits", "-m", model(), "--tokens", self.ids([1, 2]), "--out", target, says=[target, "No such file"])
        self.assertEqual(error["where"], str(target))

    def test_2_wrong_usage(self):
        error = self.refused(2, "run", "-m", model(), says=["prompt", "-p"])
        self.assertIn("-p", error["hint"])

    def test_3_bad_file(self):
        path = self.file("broken.gguf", pathlib.Path(model()).read_bytes()[:1000])
        error = self.refused(3, "inspect", path, says=[path + ": offset "])
        self.assertEqual(error["path"], path)
        self.assertLessEqual(error["offset"], 1000)
        for key in ("field", "expected", "found"):
            self.assertIn(key, error)

    def test_3_is_for_every_kind_of_file(self):
        text = self.file("words.txt", "these are no numbers\n")
        missing = str(self.folder / "missing")
        m = ("-m", model())
        for words, path in (
            (("logits", *m, "--tokens", text), text),
            (("logits", *m, "--tokens", missing), missing),
            (("run", *m, "-p", "x", "--plan", text), text),
            (("run", *m, "-f", missing), missing),
            (("perplexity", *m, "-f", missing), missing),
            (("tokenize", *m, "-f", missing), missing),
            (("tokenize", *m, "--decode", text), text),
            (("plan", *m, "--rules", missing), missing),
            (("run", "-m", text, "-p", "x"), text),
            (("inspect", missing), missing),
        ):
            with self.subTest(words):
                error = self.refused(3, *words, says=[path])
                self.assertEqual(error["path"], path)

    def test_4_does_not_fit(self):
        self.refused(4, "run", "-m", model(), "--raw", "-p", "word " * 50, "-c", "20", says=["20", "-c"])
        self.refused(4, "plan", "-m", model(), "--device", "pretend:0=1MiB", "-ngl", "3", says=["pretend:0", 1 << 20])
        # 2^27 positions of 1 KiB each: more memory than any machine this is tested on.
        self.refused(4, "run", "-m", model("qwen3"), "-p", "x", "-c", 1 << 27, says=["-c"])

    def test_5_a_check_failed(self):
        path = self.file("nan.gguf", with_nan(model(), "blk.0.ffn_down.weight"))
        result = self.kerf("inspect", path, "--check", code=5)
        self.assertIn("blk.0.ffn_down.weight", result.text)
        self.assertIn("blk.0.ffn_down.weight", str(self.kerf("inspect", path, "--check", "--json", code=5).json["not_finite"]))
        self.kerf("inspect", path)
        text = self.file("text.txt", "x = 1\n" * 100)
        self.refused(5, "perplexity", "-m", path, "-f", text, "-c", "16", says=["not finite"])
        self.refused(3, "perplexity", "-m", path, "-f", text, "-c", "16", "--check", says=["blk.0.ffn_down.weight"])

    def test_logits_that_are_no_numbers_are_no_success(self):
        path = self.file("nan.gguf", with_nan(model(), "blk.0.ffn_down.weight"))
        for words in (
            ("run", "-m", path, "--raw", "-p", "x", "-n", "5"),
            ("run", "-m", path, "--raw", "-p", "x", "-n", "5", "--temp", "0"),
            ("logits", "-m", path, "--tokens", self.ids([1, 2]), "--greedy", "3"),
        ):
            with self.subTest(words):
                result = program.run(*words)
                self.assertIn(result.code, (1, 5), result)
                self.assertIn("nan", result.err)

    def test_130_interrupted(self):
        with Running("bench", "-m", model(), "-p", "0", "-n", "500", "-r", "10000", "--json") as bench:
            self.assertTrue(bench.works_for(1))
            bench.interrupt()
            result = bench.wait(10)
        self.assertEqual(result.code, 130, result)
        self.assertEqual(result.json["error"]["code"], 130)
        self.assertTrue(result.err.startswith("error: "), result)


class Words(program.Case):
    def test_one_line_even_if_the_culprit_has_several(self):
        for name in ("two\nlines.gguf", "esc\x1b[31m.gguf", "bell\a\r.gguf"):
            path = self.file(name, b"nothing")
            for words in (
                ("inspect", path),
                ("run", "-m", path, "-p", "x"),
                ("tokenize", "-m", model(), "--decode", path),
                ("plan", "-m", model(), "--rules", path),
            ):
                with self.subTest(words):
                    result = self.kerf(*words, code=3)
                    self.assertEqual(result.err.count("\n"), 1, result)
                    self.assertRegex(result.err, r"\Aerror: [^\x00-\x1f]+\n\Z")
                    self.assertEqual(self.kerf(*words, "--json", code=3).json["error"]["path"], path)
        for words in (
            ("run", "-m", model(), "-p", "x", "--backend", "a\x1b\nb"),
            ("plan", "-m", model(), "--device", "\x1b\n"),
            ("plan", "-m", model(), "-ot", "\x1b[\n=cpu"),
            ("logits", "--\x1b[31m\n"),
            ("plan", "-m", model(), "--why", "\x1b\n"),
        ):
            with self.subTest(words):
                result = program.run(*words)
                self.assertIn(result.code, (1, 2), result)
                self.assertRegex(result.err, r"\Aerror: [^\x00-\x1f]+\n\Z")

    def test_an_id_outside_the_vocabulary(self):
        for tokens in ([0, 960], [2147483647]):
            path = self.ids(tokens)
            self.refused(2, "logits", "-m", model(), "--tokens", path, says=[tokens[-1], "959"])

    def test_ids_that_are_none(self):
        for content in ("", "[]", "{}", "[1, 2", "[1.5]", "[-1]", '["1"]', "[null]", "[99999999999999999999]", "[2147483648]", "[[1]]", "17"):
            path = self.file("bad.json", content)
            with self.subTest(content):
                self.refused(3, "logits", "-m", model(), "--tokens", path, says=[path])

    def test_files_that_are_deeper_or_longer_than_any_real_one(self):
        # A reader that calls itself for each bracket runs out of stack; an error that quotes all of it helps nobody.
        for content in ("[" * 300000 + "]" * 300000, "[" * 300000, '["' + "a" * 5000000 + '"]'):
            path = self.file("bad.json", content)
            for words in (("logits", "-m", model(), "--tokens", path), ("tokenize", "-m", model(), "--decode", path)):
                with self.subTest(words, content=content[:3]):
                    self.assertLess(len(self.refused(3, *words, says=[path])["line"]), 1000)
        path = self.file("deep.rules", "(" * 100000 + "a" + ")" * 100000 + " cpu\n")
        self.assertLess(len(self.refused(3, "plan", "-m", model(), "--rules", path, says=[path])["line"]), 1000)

    def test_an_error_leaves_no_result_behind(self):
        out = self.folder / "x.npy"
        self.refused(2, "logits", "-m", model(), "--tokens", self.ids([960]), "--out", out)
        self.assertFolderHolds("ids.json")

    def test_quiet_still_says_why(self):
        self.assertTrue(self.kerf("inspect", "nowhere.gguf", "-q", code=3).err.startswith("error: nowhere.gguf"))

    def test_both_prompts(self):
        self.refused(2, "run", "-m", model(), "-p", "x", "-f", "y", says=["-p", "-f"])
        self.refused(2, "run", "-m", model(), "--raw", "-i", says=["--raw"])
        self.refused(2, "run", "-m", model(), "--raw", "-p", "x", "--system", "s", says=["--system"])
        for words in ((), ("-p", "x", "-f", "y"), ("-p", "x", "--decode", "y")):
            self.refused(2, "tokenize", "-m", model(), *words, says=["-p", "-f", "--decode"])


class Cut(program.Case):
    def test_every_tenth_part_of_a_model_is_refused_with_its_place(self):
        whole = pathlib.Path(model(kind="Q2_K")).read_bytes()
        for tenth in range(10):
            n = len(whole) * tenth // 10
            path = self.file("cut.gguf", whole[:n])
            for words in (("inspect", path), ("logits", "-m", path, "--tokens", self.ids(golden("llama")["tokens_33"]))):
                with self.subTest(bytes=n, command=words[0]):
                    self.refused(3, *words, says=[path, "offset"] if n else [path])


if __name__ == "__main__":
    program.main()
