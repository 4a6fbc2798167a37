"""kerf kernels ladder: the rungs of one computation, and the drawing of them."""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import unittest

import program

QUICK = ("--seconds", "0.005", "--rotate", "0", "-t", "2")
PLOT = pathlib.Path(__file__).resolve().parents[2] / "experiments" / "plots" / "ladder.py"


class Ladder(program.Case):
    def ladder(self, name, *words):
        return self.kerf("kernels", "ladder", name, *QUICK, *words, "--json").json

    def test_every_rung_improves_on_one_of_its_backend_and_op(self):
        kernels = self.kerf("kernels", "list", "--json").json["kernels"]
        known = {(k["backend"], k["op"], k["variant"]): k for k in kernels}
        for k in kernels:
            seen = [k["name"]]
            while k["improves"]:
                below = (k["backend"], k["op"], k["improves"])
                self.assertTrue(below in known, f"{k['name']} improves {k['improves']}, which is no kernel of {k['backend']}/{k['op']}")
                k = known[below]
                self.assertNotIn(k["name"], seen, f"{seen[0]} improves itself: {seen}")
                seen.append(k["name"])

    def test_rungs_and_ratios(self):
        kernels = {k["name"]: k for k in self.kerf("kernels", "list", "matmul", "--json").json["kernels"]}
        result = self.ladder("matmul.q4_k", "-T", "1,64")
        self.assertEqual((result["schema"], result["name"], result["backend"], result["threads"]), (1, "matmul.q4_k", "cpu", 2))
        self.assertEqual([s["tokens"] for s in result["shapes"]], [1, 64])
        seen = set()
        for shape in result["shapes"]:
            rungs = {r["kernel"]: r for r in shape["rungs"]}
            seen |= set(rungs) | {s["kernel"] for s in shape["skipped"]}
            names = list(rungs)
            self.assertEqual(names[0], "cpu/matmul.any.0_decode")
            self.assertEqual(len(names), len(shape["rungs"]))
            first = shape["rungs"][0]
            sizes = set()
            for name, r in rungs.items():
                for part in ("variant", "improves", "isa", "note"):
                    self.assertEqual(r[part], kernels[name][part])
                T, rows, columns = map(int, re.search(r"\[(?:(\d+), )?\d+\], \w+ \[(\d+), (\d+)\]", r["problem"]).groups(default="1"))
                self.assertEqual(T, shape["tokens"])
                sizes.add((rows, columns))
                self.assertAlmostEqual(r["gflop_per_s"] * r["seconds"] * 1e9, 2 * T * rows * columns, delta=1e-6 * 2 * T * rows * columns)
                self.assertGreater(r["gb_per_s"], 0)
                self.assertGreaterEqual(r["runs"], 1)
                self.assertLessEqual(r["seconds_p10"], r["seconds"])
                self.assertLessEqual(r["seconds"], r["seconds_p90"])
                self.assertAlmostEqual(r["ratio_first"], first["seconds"] / r["seconds"], delta=1e-9 * r["ratio_first"])
                self.assertTrue(r["right"], r)
                # The nearest rung of the chain that is in this ladder, measured before it.
                below = name
                while below and (below == name or below not in rungs):
                    improves = kernels[below]["improves"]
                    below = f"cpu/matmul.{improves}" if improves else None
                    if below not in kernels:
                        below = None
                self.assertEqual(r["below"], below)
                if below:
                    self.assertLess(names.index(below), names.index(name))
                    self.assertAlmostEqual(r["ratio_below"], rungs[below]["seconds"] / r["seconds"], delta=1e-9 * r["ratio_below"])
                else:
                    self.assertIsNone(r["ratio_below"])
            self.assertEqual(len(sizes), 1)  # all rungs compute the same thing
        mine = {n for n, k in kernels.items() if k["backend"] == "cpu" and re.match(r"(any|q4_k(_r16)?)\.", k["variant"]) and n.startswith("cpu/matmul.")}
        self.assertEqual(seen, mine)

    def test_an_instruction_set_less(self):
        (shape,) = self.ladder("rms_norm", "--isa", "base")["shapes"]
        self.assertEqual({r["isa"] for r in shape["rungs"]}, {"base"})
        self.assertTrue(shape["skipped"])
        for s in shape["skipped"]:
            self.assertRegex(s["why"], r"\Aneeds \w+, allowed is base\Z")

    def test_other_subjects(self):
        for name in ("attention", "attention.q8_0", "kv_write", "rows.q4_k", "add", "rope", "rope_table", "swiglu", "convert.q8_g16"):
            for shape in self.ladder(name, "-T", "3")["shapes"]:
                self.assertTrue(shape["rungs"], name)
                for r in shape["rungs"]:
                    self.assertTrue(r.get("right", True), r)

    def test_text(self):
        text = self.kerf("kernels", "ladder", "swiglu", *QUICK).text
        kernels = [k for k in self.kerf("kernels", "list", "cpu/swiglu", "--json").json["kernels"]]
        for k in kernels:
            self.assertIn(k["note"], text)
        bars = [len(b) for b in re.findall(r" (#+)\n", text)]
        self.assertEqual(max(bars), 40)
        self.assertEqual(bars[0], 1)

    def test_usage(self):
        for words in (("none",), ("matmul",), ("matmul.q9",), ("rms_norm.q4_k",), ("rope_cache",), ("swiglu", "-T", "0"), ("swiglu", "--rotate", "x")):
            self.refused(2, "kernels", "ladder", *words)
        self.refused(2, "kernels", "ladder", "swiglu", "--isa", "mmx")

    @unittest.skipUnless(importlib.util.find_spec("matplotlib"), "experiments/plots/requirements.txt is not installed")
    def test_drawing(self):
        source = self.file("ladder.json", json.dumps(self.ladder("rms_norm", "-T", "1,3")))
        drawings = []
        for name in ("a.svg", "b.svg"):
            subprocess.run([sys.executable, PLOT, source, self.folder / name], check=True)
            drawings.append((self.folder / name).read_bytes())
        self.assertEqual(drawings[0], drawings[1])
        text = drawings[0].decode()
        for part in ("rms_norm, 2 threads", "1_plain", "2_simd_avx2", "3 tokens"):
            self.assertIn(part, text)
        self.assertFolderHolds("a.svg", "b.svg", "ladder.json")
        wrong = subprocess.run([sys.executable, PLOT, self.file("x.json", "{}"), self.folder / "c.svg"], capture_output=True, text=True)
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn("schema 1", wrong.stderr)


if __name__ == "__main__":
    program.main()
