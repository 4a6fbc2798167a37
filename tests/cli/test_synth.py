"""Random models of true shape: kerf's own loader runs them, and their bytes depend on nothing but what was asked."""

import hashlib
import pathlib
import resource

import program
from program import Running, read_npy

SMALL = ("synth", "--shape", "llama-3.2-1b", "--mix", "Q2_K", "--layers", "1")  # 0.2 GB, most of it the embedding
LARGE = ("synth", "--shape", "llama-3.2-1b", "--mix", "Q8_0")  # 1.3 GB: some seconds


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


class Files(program.Case):
    def test_a_file_that_kerf_runs(self):
        path = self.folder / "model.gguf"
        written = self.kerf(*SMALL, path, "--context", "256", "--json").json
        self.assertEqual((written["architecture"], written["layers"], written["dry_run"], written["out"]), ("llama", 1, False, str(path)))
        self.assertEqual(written["bytes"], path.stat().st_size)
        self.assertFolderHolds("model.gguf")
        checked = self.kerf("inspect", path, "--check", "--strict", "--json").json
        self.assertEqual((checked["not_finite"], checked["warnings"]), ([], []))
        self.assertEqual(checked["parameters"], written["parameters"])
        self.assertEqual({name: t["bytes"] for name, t in checked["types"].items()}, written["types"])
        out = self.folder / "logits.npy"
        self.kerf("logits", "-m", path, "--tokens", self.ids([0, 1, 77, 128255]), "--out", out)  # fails if one is not finite
        (rows, vocab), values = read_npy(out)
        self.assertEqual((rows, vocab), (4, 128256))
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        self.assertTrue(0.5 < variance < 2, variance)
        (row,) = self.kerf("bench", "-m", path, "-p", "4", "-n", "0", "-r", "1", "--json").json
        self.assertGreater(row["avg_ts"], 0)

    def test_the_seed_alone_decides_the_bytes(self):
        path = self.folder / "model.gguf"
        digests = []
        for words in (("-t", "1"), ("-t", "3"), ("--seed", "1"), ("--seed", "2")):
            self.kerf(*SMALL, path, *words)
            digests.append(digest(path))
        self.assertEqual(digests[:3], [digests[0]] * 3)
        self.assertNotEqual(digests[3], digests[0])

    def test_a_dry_run_says_the_size_and_writes_nothing(self):
        dry = self.kerf(*SMALL, self.folder / "model.gguf", "--dry-run", "--json").json
        self.assertFolderHolds()
        self.assertTrue(dry["dry_run"])
        self.assertEqual(dry["bytes"], self.kerf(*SMALL, self.folder / "model.gguf", "--json").json["bytes"])
        self.assertEqual(dry["bytes"], (self.folder / "model.gguf").stat().st_size)
        self.assertIn(str(dry["bytes"]), self.kerf(*SMALL, "--dry-run").text)

    def test_the_list(self):
        listed = self.kerf("synth", "--list", "--json").json["shapes"]
        self.assertEqual(len({s["name"] for s in listed}), 13)
        text = self.kerf("synth", "--list").text
        for shape in listed:
            self.assertIn(f"\n{shape['name']} ", text)
            self.assertEqual(len(shape["bytes"]), 16)
            self.assertLess(shape["bytes"]["Q2_K_S"], shape["bytes"]["F16"] / 4)
            dry = self.kerf("synth", "--shape", shape["name"], "--mix", "q4_k_m", "--dry-run", "--json").json
            self.assertEqual((dry["bytes"], dry["parameters"]), (shape["bytes"]["Q4_K_M"], shape["parameters"]))

    def test_other_options_change_what_they_say(self):
        path = self.folder / "model.gguf"
        self.kerf(*SMALL, path, "--context", "777", "--seed", "18446744073709551615")
        metadata = {key: m["value"] for key, m in self.kerf("inspect", path, "--json").json["metadata"].items()}
        self.assertEqual(metadata["llama.context_length"], 777)
        self.assertEqual(metadata["llama.block_count"], 1)
        self.assertEqual(metadata["llama.vocab_size"], 128256)
        self.assertEqual(metadata["tokenizer.ggml.model"], "none")
        self.assertIn("seed 18446744073709551615", metadata["general.description"])


class Refusals(program.Case):
    def test_unknown_names_are_met_with_the_known_ones(self):
        self.refused(2, "synth", "--shape", "gpt-5", "--mix", "Q4_K_M", "x.gguf", says=["gpt-5", "llama-3.1-8b", "qwen3.5-35b-a3b"])
        self.refused(2, "synth", "--mix", "Q4_K_M", "x.gguf", says=["--shape", "llama-3.1-8b"])
        self.refused(2, "synth", "--shape", "qwen3-8b", "--mix", "Q4", "x.gguf", says=['"Q4"', "Q4_K_S", "Q6_K"])
        self.refused(2, "synth", "--shape", "qwen3-8b", "x.gguf", says=["--mix", "Q4_K_M"])
        self.refused(2, "synth", "--shape", "qwen3-8b", "--mix", "Q4_0", says=["--dry-run"])

    def test_layers(self):
        base = ("synth", "--mix", "Q4_0", "--dry-run", "--shape")
        self.refused(2, *base, "qwen3-8b", "--layers", "37", says=["36", "37"])
        self.refused(2, *base, "qwen3.5-27b", "--layers", "6", says=["6", "multiple of 4"])
        self.refused(2, *base, "qwen3-8b", "--layers", "0")
        self.assertEqual(self.kerf(*base, "qwen3.5-27b", "--layers", "8", "--json").json["layers"], 8)
        self.assertEqual(self.kerf(*base, "qwen3-8b", "--layers", "36").out, self.kerf(*base, "qwen3-8b").out)

    def test_the_list_takes_nothing_else(self):
        for words in (("x.gguf",), ("--shape", "qwen3-8b"), ("--dry-run",), ("--layers", "2"), ("--seed", "1")):
            self.refused(2, "synth", "--list", *words)

    def test_places_that_can_not_be_written(self):
        self.refused(1, *SMALL, self.folder / "nowhere" / "x.gguf", says=["nowhere", "No such file or directory"])
        self.refused(1, *SMALL, self.folder, says=[self.folder, "regular file"])
        self.refused(1, *SMALL, "/dev/null", says=["/dev/null", "regular file"])

    def test_a_disk_that_is_too_small_leaves_the_old_file(self):
        path = self.file("model.gguf", "old")

        def small_files():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        self.refused(1, *SMALL, path, says=[path, "File too large"], preexec=small_files)
        self.assertFolderHolds("model.gguf")
        self.assertEqual(pathlib.Path(path).read_text(), "old")

    def test_an_interrupt_leaves_the_old_file(self):
        path = self.file("model.gguf", "old")
        with Running(*LARGE, path, "-t", "1") as kerf:
            self.assertTrue(kerf.works_for(0.3), "ended by itself")
            kerf.interrupt()
            result = kerf.wait(20)
        self.assertEqual(result.code, 130, result)
        self.assertFolderHolds("model.gguf")
        self.assertEqual(pathlib.Path(path).read_text(), "old")


if __name__ == "__main__":
    program.main()
