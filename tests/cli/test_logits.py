"""kerf logits against the golden rows, and the files it writes."""

import json
import os
import resource
import stat
import struct
import unittest

import program
from program import MODELS, golden, model, nmse, oracle, read_npy, run


def limit_file_size(n):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))


class Values(program.Case):
    def test_float_models_against_transformers(self):
        for name in MODELS:
            for backend, gate in (("reference", 1e-10), ("cpu", 5e-6)):
                with self.subTest(name, backend=backend):
                    shape, values, _ = self.logits("--backend", backend, name=name)
                    self.assertEqual(shape, (33, golden(name)["vocab"]))
                    self.assertLessEqual(nmse(values, oracle(name, "f16_33")), gate)
                    shape, values, _ = self.logits("--backend", backend, "--last", "8", name=name, tokens=golden(name)["tokens_150"])
                    self.assertEqual(shape, (8, golden(name)["vocab"]))
                    self.assertLessEqual(nmse(values, oracle(name, "f16_150_last8")), gate)

    def test_quantized_models(self):
        # 8-bit activations may be as far off as llama.cpp's; float activations must meet the exact oracle.
        for kind, rows in golden("llama")["llama_cpp_nmse"].items():
            want = oracle("llama", f"{kind}_33_last8")
            for words, gate in ((("--backend", "reference"), 1e-9), (("--activations", "f32"), 5e-6), ((), rows["33_last8"])):
                with self.subTest(kind, words=words):
                    self.assertLessEqual(nmse(self.logits(*words, kind=kind)[1], want), gate)

    def test_last_is_the_end_of_all(self):
        everything = self.logits()[1]
        for k in (1, 5, 33, 1000):
            shape, values, _ = self.logits("--last", k)
            self.assertEqual(shape, (min(k, 33), 960))
            self.assertLessEqual(nmse(values, everything[-len(values) :]), 1e-6)  # another kernel for fewer rows of logits
        everything = self.logits("--activations", "f32")[1]
        for k in (1, 5):
            self.assertEqual(self.logits("--activations", "f32", "--last", k)[1], everything[-k * 960 :])

    def test_pieces_of_the_prompt(self):
        levels = ("base", "avx2", "avx512")
        isa = program.version()["isa"]
        for name in MODELS:
            # One kernel for every batch: not a bit may differ. By default the cpu has kernels of its own for small batches, with
            # roundings of their own: 1.1e-6 of qwen3's logits, the most of the four.
            one_kernel = ("--backend", "cpu", "--activations", "f32", "--isa", isa if isa in levels else levels[-1])
            for words, gate in ((("--backend", "reference"), 1e-10), (one_kernel, 0), (("--backend", "cpu"), 2e-6)):
                whole = self.logits(*words, name=name)[1]
                for chunk in (1, 7, 64):
                    with self.subTest(name, words=words, chunk=chunk):
                        shape, values, _ = self.logits(*words, "--chunk", chunk, name=name)
                        self.assertEqual(shape, (33, 960))
                        self.assertLessEqual(nmse(values, whole), gate)
                        last = self.logits(*words, "--chunk", chunk, "--last", "9", name=name)[1]
                        self.assertLessEqual(nmse(last, whole[-len(last) :]), gate)

    def test_micro_batches(self):
        whole = self.logits(tokens=golden("llama")["tokens_150"])[1]
        for words in (("-ub", "1"), ("-ub", "64"), ("-ub", "64", "--chunk", "100"), ("-ub=33", "--last=40")):
            values = self.logits(*words, tokens=golden("llama")["tokens_150"])[1]
            self.assertLessEqual(nmse(values, whole[-len(values) :]), 1e-6, words)

    def test_the_kv_cache_types(self):
        want = self.logits("--backend", "reference")[1]
        errors = [nmse(self.logits("--backend", "reference", "-ctk", t, "-ctv", t)[1], want) for t in ("f32", "f16", "bf16")]
        self.assertEqual(errors[0], 0)
        self.assertTrue(0 < errors[1] < 1e-6 < errors[2] < 1e-4, errors)  # 11 and 8 bits of precision

    def test_threads_and_mapping_change_no_bit(self):
        for kind in ("f16", "Q4_K_M"):
            want = self.logits("-t", "1", kind=kind)[2]
            for words in (("-t", "2"), ("-t", "3"), ("-t", "8"), ("--no-mmap",), ("--check",)):
                self.assertEqual(self.logits(*words, kind=kind)[2], want, words)

    def test_every_instruction_set_within_the_gate(self):
        isa = program.version()["isa"]
        order = ("base", "avx2", "avx512", "vnni", "amx")
        for name in order[: order.index(isa) + 1]:
            self.assertLessEqual(nmse(self.logits("--isa", name)[1], oracle("llama", "f16_33")), 5e-6, name)

    def test_the_header_fills_whole_lines_of_64(self):
        _, values, data = self.logits("--last", "1")
        self.assertEqual((len(data) - 4 * len(values)) % 64, 0)
        self.assertEqual(struct.unpack("<f", data[-4:])[0], values[-1])


class Greedy(program.Case):
    def test_continues_as_transformers_does(self):
        for name in MODELS:
            for backend in ("reference", "cpu"):
                out = self.folder / "out.json"
                result = self.kerf(
                    "logits",
                    "-m",
                    model(name),
                    "--tokens",
                    self.ids(golden(name)["tokens_33"]),
                    "--greedy",
                    "24",
                    "--out-ids",
                    out,
                    "--backend",
                    backend,
                )
                self.assertEqual(json.loads(out.read_text()), golden(name)["greedy_24"])
                self.assertEqual(result.out, b"")

    def test_without_a_file_the_ids_are_the_output(self):
        words = ("logits", "-m", model(), "--tokens", self.ids(golden("llama")["tokens_33"]), "--greedy", "5")
        self.assertEqual(json.loads(self.kerf(*words).text), golden("llama")["greedy_24"][:5])
        self.assertEqual(self.kerf(*words, "--json").json["greedy"], golden("llama")["greedy_24"][:5])

    def test_the_context_is_checked_before_anything_runs(self):
        n33 = self.ids(golden("llama")["tokens_33"])
        self.refused(4, "logits", "-m", model(), "--tokens", n33, "-c", "32", "--greedy", "1", says=[33, 32])
        self.refused(4, "logits", "-m", model(), "--tokens", n33, "-c", "32", says=[33, 32])
        self.refused(4, "logits", "-m", model(), "--tokens", n33, "-c", "40", "--greedy", "9", says=[33, 40])
        # 33 + 8 tokens: the last one is not fed, 40 positions are enough.
        result = self.kerf("logits", "-m", model(), "--tokens", n33, "-c", "40", "--greedy", "8")
        self.assertEqual(json.loads(result.text), golden("llama")["greedy_24"][:8])


class Files(program.Case):
    def words(self, out):
        return ("logits", "-m", model(), "--tokens", self.ids(golden("llama")["tokens_33"]), "--out", out)

    def test_written_whole_or_not_at_all(self):
        out = self.folder / "x.npy"
        self.kerf(*self.words(out))
        before = out.read_bytes()
        for limit in (0, 1, 4096, len(before) - 1):
            result = run(*self.words(out), preexec=limit_file_size(limit))
            self.assertEqual(result.code, 1, result)
            if limit > 1:  # standard error is a file here, too: it must have room for the line
                self.assertTrue(result.err.startswith("error: "), result)
                self.assertIn("x.npy", result.err)
            self.assertEqual(out.read_bytes(), before)
            self.assertFolderHolds("ids.json", "x.npy")
        out.unlink()
        self.assertEqual(run(*self.words(out), preexec=limit_file_size(4096)).code, 1)
        self.assertFolderHolds("ids.json")
        self.kerf(*self.words(out))
        self.assertFolderHolds("ids.json", "x.npy")
        self.assertEqual(out.read_bytes(), before)

    def test_a_target_that_is_a_folder(self):
        (self.folder / "sub").mkdir()
        self.refused(1, *self.words(self.folder / "sub"), says=[self.folder / "sub"])
        self.assertFolderHolds("ids.json", "sub")

    @unittest.skipIf(os.geteuid() != 0, "needs to become somebody else")
    def test_a_folder_that_can_not_be_written(self):
        self.kerf(*self.words(self.folder / "x.npy"))
        before = (self.folder / "x.npy").read_bytes()
        os.chmod(self.folder, 0o755)

        def nobody():
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)

        words = self.words(self.folder / "x.npy")
        probe = run("version", preexec=nobody)
        if probe.code != 0:
            self.skipTest("the program is not reachable for others")
        result = run(*words, preexec=nobody)
        self.assertEqual(result.code, 1, result)
        self.assertIn("Permission denied", result.err)
        self.assertEqual((self.folder / "x.npy").read_bytes(), before)
        self.assertFolderHolds("ids.json", "x.npy")

    def test_a_pipe_or_device_is_not_replaced_by_a_file(self):
        # rename() over /dev/null would take the device away from the whole machine; a FIFO shows the same without harm.
        target = self.folder / "pipe"
        os.mkfifo(target)
        reader = os.open(target, os.O_RDONLY | os.O_NONBLOCK)
        try:
            result = run(*self.words(target), "--last", "1", timeout=10)
            self.assertTrue(stat.S_ISFIFO(os.lstat(target).st_mode), "the pipe is gone")
            if result.code == 0:
                self.assertEqual(os.read(reader, 6), b"\x93NUMPY")
            else:
                self.assertIn(result.code, (1, 2), result)
                self.assertTrue(result.err.startswith("error: "), result)
        finally:
            os.close(reader)
        self.assertFolderHolds("ids.json", "pipe")

    def test_the_target_of_a_link_is_written(self):
        (self.folder / "link.npy").symlink_to("real.npy")
        self.kerf(*self.words(self.folder / "real.npy"))
        want = (self.folder / "real.npy").read_bytes()
        (self.folder / "real.npy").write_bytes(b"old")
        self.kerf(*self.words(self.folder / "link.npy"))
        self.assertTrue((self.folder / "link.npy").is_symlink())
        self.assertEqual((self.folder / "real.npy").read_bytes(), want)

    def test_a_name_without_a_folder(self):
        self.kerf(*self.words("x.npy"), cwd=self.folder)
        self.assertEqual(read_npy(self.folder / "x.npy")[0], (33, 960))


if __name__ == "__main__":
    program.main()
