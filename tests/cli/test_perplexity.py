"""kerf perplexity against the definition, computed here from kerf logits."""

import json
import math

import program
from gguf_reader import Header
from program import model

TEXT = "def add(a, b):\n    return a + b\n\nclass Node:\n    def __init__(self, value):\n        self.value = value\n" * 6


class Perplexity(program.Case):
    def by_definition(self, name, n_ctx, chunks, *words):
        """Chunks of n_ctx tokens, the second half scored, the begin token in front of each chunk if the vocabulary has one."""
        path = self.file("text.txt", TEXT)
        metadata = Header(model(name)).metadata
        bos = metadata["tokenizer.ggml.bos_token_id"][1] if metadata.get("tokenizer.ggml.add_bos_token", (0, False))[1] else None
        ids = json.loads(self.kerf("tokenize", "-m", model(name), "-f", path).text)
        losses = []
        for c in range(chunks):
            tokens = ids[c * n_ctx : (c + 1) * n_ctx]
            targets = list(tokens)
            if bos is not None:
                tokens[0] = bos
            (_, vocab), values, _ = self.logits("-c", n_ctx, *words, name=name, tokens=tokens)
            for i in range(n_ctx // 2, n_ctx - 1):
                row = values[i * vocab : (i + 1) * vocab]
                top = max(row)
                losses.append(math.log(sum(math.exp(x - top) for x in row)) + top - row[targets[i + 1]])
        mean = math.fsum(losses) / len(losses)
        variance = math.fsum((x - mean) ** 2 for x in losses) / len(losses)
        return math.exp(mean), math.exp(mean) * math.sqrt(variance / (len(losses) - 1)), len(losses)

    def test_the_definition(self):
        for name, n_ctx, chunks, words in (("llama", 16, 3, ()), ("llama", 33, 2, ("--backend", "reference")), ("qwen2", 20, 2, ())):
            with self.subTest(name, n_ctx=n_ctx):
                want, error, count = self.by_definition(name, n_ctx, chunks, *words)
                got = self.kerf(
                    "perplexity", "-m", model(name), "-f", self.folder / "text.txt", "-c", n_ctx, "--chunks", chunks, *words, "--json"
                ).json
                self.assertAlmostEqual(got["perplexity"], want, delta=1e-3 * want)
                self.assertAlmostEqual(got["perplexity"], math.exp(got["mean_nll"]), delta=1e-9 * want)
                self.assertAlmostEqual(got["standard_error"], error, delta=1e-2 * error)
                self.assertEqual((got["tokens_scored"], got["chunks"], got["n_ctx"]), (count, chunks, n_ctx))

    def test_text_says_what_json_says(self):
        words = ("perplexity", "-m", model(), "-f", self.file("text.txt", TEXT), "-c", "32")
        got = self.kerf(*words, "--json").json
        text = self.kerf(*words).text
        self.assertEqual(text.count("\n"), 1)
        self.assertIn(f"PPL = {got['perplexity']:.4f} +/- {got['standard_error']:.5f}", text)
        ids = self.kerf("tokenize", "-m", model(), "-f", self.folder / "text.txt", "--json").json["n"]
        self.assertEqual(got["chunks"], ids // 32)

    def test_threads_and_batches(self):
        words = ("perplexity", "-m", model(), "-f", self.file("text.txt", TEXT), "-c", "64", "--json")
        want = self.kerf(*words, "-t", "1").json["perplexity"]
        for other in (("-t", "2"), ("-t", "8")):
            self.assertEqual(self.kerf(*words, *other).json["perplexity"], want)
        for other in (("-ub", "7"), ("--device", "pretend:0=64MiB", "-ngl", "2")):
            self.assertAlmostEqual(self.kerf(*words, *other).json["perplexity"], want, delta=1e-3 * want)

    def test_too_short(self):
        path = self.file("text.txt", "a b c")
        n = self.kerf("tokenize", "-m", model(), "-f", path, "--json").json["n"]
        self.refused(2, "perplexity", "-m", model(), "-f", path, says=[path, n, 512])
        self.refused(2, "perplexity", "-m", model(), "-f", self.file("empty.txt", ""), "-c", "16", says=["empty.txt", 16])
        self.refused(2, "perplexity", "-m", model(), "-f", path, "-c", "3", says=["-c"])
        self.refused(2, "perplexity", "-m", model())


if __name__ == "__main__":
    program.main()
