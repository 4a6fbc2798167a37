"""kerf bench: llama-bench's rows and fields."""

import csv
import io
import json
import math
import os
import shutil
import statistics

import program
from gguf_reader import Header
from program import model

# The fields of llama-bench's JSON that scripts read (llama.cpp, tools/llama-bench) and that mean something here.
LLAMA_BENCH = {
    "build_commit",
    "cpu_info",
    "backends",
    "model_filename",
    "model_type",
    "model_size",
    "model_n_params",
    "n_batch",
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


# What kerf adds. Columns of a CSV file do not depend on whether a roof was measured.
ADDED = {
    "isa", "repack", "repack_experts", "load_average", "bytes", "flops", "gb_per_s", "gflop_per_s", "median_ns", "min_ns", "max_ns", "median_ts", "min_ts", "max_ts",
    "percent_read", "percent_unit", "percent_peak", "roof_read_gb_per_s", "roof_peak_gflop_per_s", "roof_peak_unit",
}  # fmt: skip


class Bench(program.Case):
    def setUp(self):
        super().setUp()
        os.environ["KERF_CACHE"] = str(self.folder)  # where no roof is yet
        self.addCleanup(os.environ.pop, "KERF_CACHE")

    def roof(self, threads="1,2"):
        self.kerf("roof", "--save", "--seconds", "0.05", "--buffer", "16MiB", "-t", threads, timeout=120)

    def key(self, row):
        return tuple(int(row[k]) for k in ("n_threads", "n_prompt", "n_gen", "n_depth"))

    def test_json(self):
        rows = self.kerf("bench", "-m", model(), *WORDS, "-o", "json").json
        self.assertEqual([self.key(r) for r in rows], EXPECTED)
        header = Header(model())
        for row in rows:
            self.assertEqual(LLAMA_BENCH | ADDED, set(row))
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
                self.assertAlmostEqual(row[f"median_{what}"], statistics.median(samples), delta=1e-9 * mean)
                self.assertEqual((row[f"min_{what}"], row[f"max_{what}"]), (min(samples), max(samples)))
            self.assertAlmostEqual(row["gb_per_s"], row["bytes"] / row["avg_ns"], delta=1e-9 * row["gb_per_s"])
            # A token reads every matrix once, except rows of the embedding it does not want.
            once = row["model_size"] - header.tensors["token_embd.weight"]["bytes"]
            self.assertGreaterEqual(row["bytes"], once * (row["n_gen"] or 1))
            # Two operations for each value of the layers' matrices and each token; the last layer works for the last token only.
            self.assertGreaterEqual(row["flops"], 2 * tokens * self.values_in_layers(header))
            self.assertAlmostEqual(row["gflop_per_s"], row["flops"] / row["avg_ns"], delta=1e-9 * row["gflop_per_s"])
            for key in ADDED:  # nothing was measured, so nothing is claimed
                if key.startswith(("percent", "roof")):
                    self.assertIsNone(row[key], key)

    def values_in_layers(self, header):
        matrices = {name: math.prod(t["ne"]) for name, t in header.tensors.items() if name.startswith("blk.") and len(t["ne"]) == 2}
        last = max(int(name.split(".")[1]) for name in matrices)
        return sum(n for name, n in matrices.items() if not name.startswith(f"blk.{last}."))

    def test_shares_of_the_roof(self):
        plain = self.kerf("bench", "-m", model(), "-p", "8", "-n", "2", "-r", "1", "-t", "2", "-o", "csv")
        self.assertIn("kerf roof --save", plain.err)
        self.assertEqual(plain.err.count("\n"), 1)
        self.roof(threads="2")
        roof = json.loads((self.folder / "roof.json").read_text())
        (figures,) = roof["figures"]
        rows = self.kerf("bench", "-m", model(), "-p", "8", "-n", "2", "-r", "1", "-t", "2", "-o", "json")
        self.assertEqual(rows.err, "")
        for row in rows.json:
            self.assertEqual(row["roof_read_gb_per_s"], figures["read_gb_per_s"])
            unit, peak = max(figures["units_gflop_per_s"].items(), key=lambda item: item[1])
            self.assertEqual((row["roof_peak_unit"], row["roof_peak_gflop_per_s"]), (unit, peak))
            self.assertAlmostEqual(row["percent_read"], 100 * row["gb_per_s"] / figures["read_gb_per_s"], delta=1e-6 * row["percent_read"])
            self.assertAlmostEqual(row["percent_peak"], 100 * row["gflop_per_s"] / peak, delta=1e-6 * row["percent_peak"])
            self.assertGreaterEqual(row["percent_unit"], row["percent_peak"])
        with_roof = self.kerf("bench", "-m", model(), "-p", "8", "-n", "2", "-r", "1", "-t", "2", "-o", "csv")
        self.assertEqual(with_roof.text.splitlines()[0], plain.text.splitlines()[0])
        # Another number of threads was not measured.
        other = self.kerf("bench", "-m", model(), "-p", "8", "-n", "0", "-r", "1", "-t", "1", "-o", "json")
        self.assertIn("-t 1", other.err)
        self.assertIsNone(other.json[0]["percent_read"])

    def test_lists_of_setups(self):
        words = ("bench", "-m", model(), "-p", "8", "-n", "0", "-r", "1", "-t", "1", "-ub", "4,8", "-ctk", "f16,f32", "-ctv", "f32")
        rows = self.kerf(*words, "-o", "json").json
        self.assertEqual(
            [(r["type_k"], r["type_v"], r["n_ubatch"]) for r in rows], [("f16", "f32", 4), ("f16", "f32", 8), ("f32", "f32", 4), ("f32", "f32", 8)]
        )
        head = self.kerf(*words).text.splitlines()[0]
        for column in ("n_ubatch", "type_k", "type_v"):
            self.assertIn(f" {column} |", head)
        self.refused(2, "bench", "-m", model(), "-ctk", "f16,i8")

    def test_jsonl_is_one_object_a_line(self):
        lines = self.kerf("bench", "-m", model(), *WORDS, "-o", "jsonl").text.splitlines()
        self.assertEqual([self.key(json.loads(line)) for line in lines], EXPECTED)

    def test_csv(self):
        path = str(self.folder / 'a, "b" c.gguf')
        shutil.copy(model(kind="Q2_K"), path)
        rows = list(csv.DictReader(io.StringIO(self.kerf("bench", "-m", path, *WORDS, "-o", "csv").text), strict=True))
        self.assertEqual(list(rows[0]), sorted(k for k in LLAMA_BENCH | ADDED if not k.startswith("samples")))
        self.assertEqual([self.key(r) for r in rows], EXPECTED)
        for row in rows:
            self.assertNotIn(None, row)
            self.assertNotIn(None, row.values())
            self.assertEqual(row["model_filename"], path)
            self.assertGreater(float(row["avg_ts"]), 0)

    def test_md(self):
        table, below = self.kerf("bench", "-m", model(), *WORDS).text.split("\n\n")
        self.assertIn("load average", below)
        lines = table.splitlines()
        cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
        self.assertEqual({len(c) for c in cells}, {len(cells[0])})
        test = cells[0].index("test")
        want = [(f"pp{p}" if p else f"tg{n}") + (f" @ d{d}" if d else "") for _, p, n, d in EXPECTED]
        self.assertEqual([c[test] for c in cells[2:]], want)
        self.assertRegex(cells[2][cells[0].index("t/s")], r"\A\d+\.\d\d ± \d+\.\d\d\Z")
        for column in ("% read", "% unit", "% peak"):
            self.assertEqual({c[cells[0].index(column)] for c in cells[2:]}, {"-"})

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
