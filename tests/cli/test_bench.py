"""kerf bench: llama-bench's rows and fields."""

import csv
import io
import json
import math
import shutil
import statistics

import program
from gguf_reader import Header
from program import model

# The fields of llama-bench's JSON that scripts read (llama.cpp, tools/llama-bench) and that mean something here.
LLAMA_BENCH = {
    "build_commit",
    "backends",
    "model_filename",
    "model_type",
    "model_size",
    "model_n_params",
    "n_ubatch",
    "n_threads",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "use_mmap",
    "n_prompt",
    "n_gen",
    "n_depth",
    "test_time",
    "avg_ns",
    "stddev_ns",
    "avg_ts",
    "stddev_ts",
    "samples_ns",
    "samples_ts",
}
WORDS = ("-p", "16,8", "-n", "4", "-d", "0,8", "-r", "3", "-t", "1,2")
EXPECTED = [(t, p, n, d) for t in (1, 2) for d in (0, 8) for p, n in ((16, 0), (8, 0), (0, 4))]


class Bench(program.Case):
    def key(self, row):
        return tuple(int(row[k]) for k in ("n_threads", "n_prompt", "n_gen", "n_depth"))

    def test_json(self):
        rows = self.kerf("bench", "-m", model(), *WORDS, "-o", "json").json
        self.assertEqual([self.key(r) for r in rows], EXPECTED)
        header = Header(model())
        for row in rows:
            self.assertLessEqual(LLAMA_BENCH, set(row))
            self.assertEqual(row["model_filename"], model())
            self.assertEqual(row["model_size"], sum(t["bytes"] for t in header.tensors.values()))
            self.assertEqual(row["model_n_params"], sum(math.prod(t["ne"]) for t in header.tensors.values()))
            self.assertEqual((row["type_k"], row["type_v"], row["use_mmap"]), ("f16", "f16", True))
            self.assertRegex(row["test_time"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
            tokens = row["n_prompt"] + row["n_gen"]
            self.assertEqual((len(row["samples_ns"]), len(row["samples_ts"])), (3, 3))
            for ns, ts in zip(row["samples_ns"], row["samples_ts"]):
                self.assertAlmostEqual(ts, tokens * 1e9 / ns, delta=1e-6 * ts)
            for what, samples in (("ns", row["samples_ns"]), ("ts", row["samples_ts"])):
                mean = statistics.fmean(samples)
                self.assertAlmostEqual(row[f"avg_{what}"], mean, delta=1e-9 * mean)
                self.assertAlmostEqual(row[f"stddev_{what}"], statistics.stdev(samples), delta=1e-6 * mean)
            self.assertAlmostEqual(row["gb_per_s"], row["bytes"] / row["avg_ns"], delta=1e-9 * row["gb_per_s"])
            # A token reads every matrix once, except rows of the embedding it does not want.
            once = row["model_size"] - header.tensors["token_embd.weight"]["bytes"]
            self.assertGreaterEqual(row["bytes"], once * (row["n_gen"] or 1))

    def test_jsonl_is_one_object_a_line(self):
        lines = self.kerf("bench", "-m", model(), *WORDS, "-o", "jsonl").text.splitlines()
        self.assertEqual([self.key(json.loads(line)) for line in lines], EXPECTED)

    def test_csv(self):
        path = str(self.folder / 'a, "b" c.gguf')
        shutil.copy(model(kind="Q2_K"), path)
        rows = list(csv.DictReader(io.StringIO(self.kerf("bench", "-m", path, *WORDS, "-o", "csv").text), strict=True))
        self.assertEqual([self.key(r) for r in rows], EXPECTED)
        for row in rows:
            self.assertNotIn(None, row)
            self.assertNotIn(None, row.values())
            self.assertEqual(row["model_filename"], path)
            self.assertGreater(float(row["avg_ts"]), 0)

    def test_md(self):
        lines = self.kerf("bench", "-m", model(), *WORDS).text.splitlines()
        cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
        self.assertEqual({len(c) for c in cells}, {len(cells[0])})
        test = cells[0].index("test")
        want = [(f"pp{p}" if p else f"tg{n}") + (f" @ d{d}" if d else "") for _, p, n, d in EXPECTED]
        self.assertEqual([c[test] for c in cells[2:]], want)
        self.assertRegex(cells[2][cells[0].index("t/s")], r"\A\d+\.\d\d ± \d+\.\d\d\Z")

    def test_one_repetition_has_no_spread(self):
        (row,) = self.kerf("bench", "-m", model(), "-p", "4", "-n", "0", "-r", "1", "--json").json
        self.assertEqual(row["stddev_ts"], 0)

    def test_on_a_device(self):
        (row,) = self.kerf(
            "bench",
            "-m",
            model(),
            "-p",
            "4",
            "-n",
            "0",
            "-r",
            "1",
            "--output=json",
            "--device",
            "pretend:0=64MiB",
            "-ngl",
            "3",
            "-ctk",
            "f32",
            "-ctv",
            "f32",
            "--no-mmap",
        ).json
        self.assertEqual((row["n_gpu_layers"], row["type_k"], row["use_mmap"]), (3, "f32", False))

    def test_usage(self):
        for words in (("-o", "xml"), ("-p", "a"), ("-p", "-1"), ("-r", "0"), ("-t", "0")):
            self.refused(2, "bench", "-m", model(), *words)


if __name__ == "__main__":
    program.main()
