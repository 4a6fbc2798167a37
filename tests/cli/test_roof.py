"""kerf roof: what the machine can do, saved, read again, and refused where it is not this machine's."""

import json
import os

import program
from program import model

QUICK = ("--seconds", "0.2", "--buffer", "16MiB")
LEVELS = ("base", "avx2", "avx512", "vnni", "amx")


class Roof(program.Case):
    def setUp(self):
        super().setUp()
        os.environ["KERF_CACHE"] = str(self.folder / "cache")
        self.addCleanup(os.environ.pop, "KERF_CACHE")
        self.path = self.folder / "cache" / "roof.json"

    def save(self, *words):
        return self.kerf("roof", "--save", "--seconds", "0.05", "--buffer", "16MiB", *words, timeout=120)

    def test_figures(self):
        document = self.kerf("roof", *QUICK, "-t", "1,2", "--json", timeout=120).json
        self.assertEqual((document["schema"], document["kind"], document["read_buffer_bytes"]), (1, "roof", 16 << 20))
        machine = document["machine"]
        self.assertGreater(machine["cores"], 0)
        self.assertIn(machine["isa"], LEVELS)
        self.assertEqual(machine["isa"], program.version()["isa"])
        self.assertTrue(0.1 < document["clock_ghz"] < 20, document["clock_ghz"])
        self.assertEqual([f["threads"] for f in document["figures"]], [1, 2])
        level = LEVELS.index(machine["isa"])
        for figures in document["figures"]:
            reads = figures["reads"]
            self.assertEqual({(r["pages"], r["streams"], r["prefetch_bytes"] > 0) for r in reads}, {(p, s, a) for p in ("2 MiB", "4 KiB") for s in (1, 4) for a in (False, True)})
            for r in reads:
                self.assertTrue(0 < r["min_gb_per_s"] <= r["gb_per_s"] <= r["max_gb_per_s"], r)
            self.assertEqual(figures["read_gb_per_s"], max(r["gb_per_s"] for r in reads))
            units = figures["units_gflop_per_s"]
            expected = {"fp32_sse2", "int8_sse2"}
            expected |= {"fp32_avx2", "int8_avx2"} if level >= 1 else set()
            expected |= {"fp32_avx512", "int8_avx512"} if level >= 2 else set()
            expected |= {"int8_vnni"} if level >= 3 else set()
            expected |= {"bf16_amx", "int8_amx"} if level >= 4 else set()
            self.assertEqual(set(units) - {"bf16_dot"}, expected)
            for name, value in units.items():
                self.assertGreater(value, 0, name)
            for key in ("l1_gb_per_s", "l2_gb_per_s"):
                if machine["l1d_bytes"] and machine["l2_bytes"]:
                    self.assertGreater(figures[key], 0)
            self.assertEqual(level >= 1, figures.get("gexp_per_s", 0) > 0)
            for place in ("l1", "l2", "dram"):
                self.assertEqual(level >= 4, figures.get(f"amx_bf16_from_{place}_gflop_per_s", 0) > 0)

    def test_text(self):
        text = self.kerf("roof", *QUICK, "-t", "2", timeout=120).text
        for part in (r"machine +\S", r"caches +\S", r"runs +base", r"buffer +16\.0 MiB, less than", r"2 threads", r"best +[\d.]+ GB/s", r"fp32 SSE2 +[\d.]+ GFLOP/s"):
            self.assertRegex(text, part)

    def test_only_some_parts(self):
        (figures,) = self.kerf("roof", "--only", "read", *QUICK, "-t", "1", "--json").json["figures"]
        self.assertEqual(figures["units_gflop_per_s"], {})
        self.assertGreater(figures["read_gb_per_s"], 0)
        (figures,) = self.kerf("roof", "--only", "units,exp", "--seconds", "0.1", "-t", "1", "--json").json["figures"]
        self.assertEqual(figures["reads"], [])
        self.assertNotIn("read_gb_per_s", figures)
        text = self.kerf("roof", "--only", "exp", "--seconds", "0.1", "-t", "1").text
        self.assertNotIn("buffer", text)

    def test_usage(self):
        for words in (("--only", "disk"), ("--seconds", "0"), ("-t", "0"), ("--save", "--only", "read"), ("--buffer", "much")):
            self.refused(2, "roof", *words)
        self.assertFalse(self.path.exists())

    def run_words(self, *more):
        return ("run", "-m", model(), "--raw", "-p", "x y z", "-n", "3", "--temp", "0", "-t", "2", *more)

    def test_saved_and_used(self):
        missing = self.kerf(*self.run_words("--stats")).err
        self.assertEqual(missing.count("no roof measured: run kerf roof --save"), 1)
        self.assertIn("(- % of the read bandwidth)", missing)
        said = self.save("-t", "2")
        self.assertIn(str(self.path), said.text)
        self.assertEqual([p.name for p in self.path.parent.iterdir()], ["roof.json"])
        figures = json.loads(self.path.read_text())["figures"]
        stats = self.kerf(*self.run_words("--stats")).err
        self.assertNotIn("no roof", stats)
        self.assertRegex(stats, r"prompt .* GFLOP/s \([\d.]+ % of [\w -]+, [\d.]+ % of the units in use\)")
        self.assertRegex(stats, r"decode .* GB/s \([\d.]+ % of the read bandwidth\)")
        result = self.kerf(*self.run_words("--json"))
        self.assertEqual(result.err, "")
        stats = result.json["stats"]
        self.assertAlmostEqual(stats["decode_percent_read"], 100 * stats["decode_gb_per_s"] / figures[0]["read_gb_per_s"], delta=1e-6 * stats["decode_percent_read"])
        self.assertGreater(stats["prompt_percent_peak"], 0)
        # Kernels one by one.
        rows = self.kerf("kernels", "bench", "cpu/swiglu", "--seconds", "0.001", "-t", "2", "-T", "1,3", "--json").json["rows"]
        self.assertEqual({r["tokens"] for r in rows}, {1, 3})
        for row in rows:
            self.assertAlmostEqual(row["percent_read"], 100 * row["gb_per_s"] / figures[0]["read_gb_per_s"], delta=1e-6 * row["percent_read"])
            unit = figures[0]["units_gflop_per_s"][row["unit"]]
            self.assertAlmostEqual(row["percent_unit"], 100 * row["gflop_per_s"] / unit, delta=1e-6 * row["percent_unit"])

    def test_another_machine_or_schema(self):
        self.save("-t", "2")
        good = json.loads(self.path.read_text())
        for change in ({"machine": good["machine"] | {"cpu": "Abacus"}}, {"machine": good["machine"] | {"features": ["beads"]}}, {"machine": good["machine"] | {"cores": 999}}, {"schema": 99}):
            path = self.file("other.json", json.dumps(good | change))
            for words in ((), ("--roof", path)):
                if not words:
                    self.path.write_text(json.dumps(good | change))
                result = self.kerf(*self.run_words("--stats", *words))
                self.assertIn("no roof measured", result.err)
                self.assertIn("(- % of the read bandwidth)", result.err)
        # The file that was chosen wins over the one in the cache.
        chosen = self.kerf(*self.run_words("--stats", "--roof", self.file("good.json", json.dumps(good))))
        self.assertNotIn("no roof", chosen.err)

    def test_broken_files(self):
        self.save("-t", "1")
        good = json.loads(self.path.read_text())
        text = json.dumps(good)
        broken = {
            "cut": (text[: len(text) // 2], "JSON"),
            "empty": ("", "JSON"),
            "list": ("[]", "an object"),
            "other": ('{"kind": "plan", "schema": 1}', "kind"),
            "nothing": (json.dumps({k: v for k, v in good.items() if k != "figures"}), "figures"),
            "none": (json.dumps(good | {"figures": []}), "figures"),
            "words": (json.dumps(good | {"clock_ghz": "fast"}), "clock_ghz"),
            "negative": (json.dumps(good | {"figures": [good["figures"][0] | {"read_gb_per_s": -1}]}), "figures.read_gb_per_s"),
            "unit": (json.dumps(good | {"figures": [good["figures"][0] | {"units_gflop_per_s": {"int8_amx": 0}}]}), "units_gflop_per_s.int8_amx"),
        }
        for name, (content, field) in broken.items():
            with self.subTest(name):
                path = self.file(f"{name}.json", content)
                for words in (("bench", "-m", model(), "-p", "2", "-n", "0", "-r", "1"), ("kernels", "bench", "cpu/add")):
                    self.refused(3, *words, "--roof", path, says=[path, field])
                result = self.kerf(*self.run_words("--stats", "--roof", path), code=3)
                self.assertIn(path, result.err)
        self.refused(3, "kernels", "bench", "cpu/add", "--roof", str(self.folder / "nowhere.json"), says=["nowhere.json"])

    def test_a_folder_that_can_not_be_made(self):
        os.environ["KERF_CACHE"] = self.file("in-the-way", "") + "/below"
        self.refused(1, "roof", "--save", "--seconds", "0.05", "-t", "1", says=["in-the-way"])

    def test_where_it_is_saved(self):
        del os.environ["KERF_CACHE"]
        before = {name: os.environ.pop(name, None) for name in ("XDG_CACHE_HOME", "HOME")}
        try:
            os.environ["HOME"] = str(self.folder)
            self.assertEqual(self.save("-t", "1", "--json").json["saved"], str(self.folder / ".cache/kerf/roof.json"))
            os.environ["XDG_CACHE_HOME"] = str(self.folder / "xdg")
            self.assertEqual(self.save("-t", "1", "--json").json["saved"], str(self.folder / "xdg/kerf/roof.json"))
            del os.environ["HOME"], os.environ["XDG_CACHE_HOME"]
            self.refused(1, "roof", "--save", says=["KERF_CACHE"])
        finally:
            os.environ.update({name: value for name, value in before.items() if value is not None})
            os.environ["KERF_CACHE"] = str(self.folder / "cache")

    def test_kernels_bench_streams_weights_from_memory(self):
        words = ("kernels", "bench", "cpu/matmul.q4_0", "--isa", "base", "--seconds", "0.001", "--json", "-t", "1")
        document = self.kerf(*words, "--shape", "64,256", "-T", "1,32", timeout=120)
        rows = document.json["rows"]
        self.assertEqual({r["tokens"] for r in rows}, {1, 32})
        weights = 64 * 256 // 32 * 18
        for row in rows:
            self.assertEqual(row["unit"], "int8_sse2" if "q8_g16" in row["problem"] else "fp32_sse2", row)
            self.assertGreaterEqual(row["working_set_bytes"], row["copies"] * weights)
            self.assertEqual(row["copies"] > 1, row["tokens"] <= 16, row)
        for shape in ("64", "64,", "0,32", "a,b", "64,256,3"):
            self.refused(2, *words[:-3], "--shape", shape)


if __name__ == "__main__":
    program.main()
