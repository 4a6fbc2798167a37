"""kerf kernels: list, explain, test, bench, launches, coverage."""

import program
from program import model


class Kernels(program.Case):
    def listed(self, *words):
        return self.kerf("kernels", "list", *words, "--json").json["kernels"]

    def test_list(self):
        rows = self.listed()
        names = [k["name"] for k in rows]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual({"cpu", "reference"}, {k["backend"] for k in rows})
        self.assertLessEqual({k["backend"] for k in rows}, {"cpu", "reference", "emu", "emu64", "eigen", "onednn", "cuda", "hip"})  # the last four where they are installed
        for k in rows:
            self.assertTrue(k["name"].startswith(f"{k['backend']}/{k['op']}"), k)
            self.assertIn(k["isa"], ("base", "avx2", "avx512", "vnni", "amx"))
            self.assertNotEqual(k["note"], "")
        text = self.kerf("kernels", "list").text
        for name in names:
            self.assertIn(f"\n{name} ", text)

    def test_filters_are_parts_of_names(self):
        everything = self.listed()
        for filters in (("matmul.q4_k",), ("cpu/add",), ("rope", "swiglu")):
            self.assertEqual(self.listed(*filters), [k for k in everything if any(f in k["name"] for f in filters)])
            self.assertGreater(len(self.listed(*filters)), 0)

    def test_explain(self):
        document = self.kerf("kernels", "explain", "-m", model(kind="Q4_K_M"), "blk.0.attn_q", "--fuse", "none", "--json").json
        names = {k["name"] for k in self.listed("matmul") if k["op"] == "matmul"}
        self.assertEqual([s["tokens"] for s in document["shapes"]], [512, 1])
        for shape in document["shapes"]:
            (node,) = shape["nodes"] if len(shape["nodes"]) == 1 else [n for n in shape["nodes"] if "q4_k" in n["explanation"]][:1]
            lines = node["explanation"].splitlines()[1:]
            self.assertEqual(sum("chosen" in line for line in lines), 1, node)
            for name in names:  # every candidate has its line, the others with a reason
                (line,) = [x for x in lines if name in x.split()]
                self.assertGreater(len(line.split()), 1, line)
        fused = self.kerf("kernels", "explain", "-m", model(kind="Q4_K_M"), "blk.0.attn_q", "--json").json
        if self.kerf("version", "--json").json["isa"] in ("vnni", "amx"):  # below, each product has a kernel of its own
            (one,) = [s["nodes"] for s in fused["shapes"] if s["tokens"] == 1]
            self.assertEqual([n["node"] for n in one], ["blk.0.attn_q+attn_k+attn_v"])
        text = self.kerf("kernels", "explain", "-m", model(kind="Q4_K_M"), "blk.0.attn_q", "--fuse", "none").text
        for shape in document["shapes"]:
            for node in shape["nodes"]:
                self.assertIn(node["explanation"], text)

    def test_explain_follows_the_policy(self):
        for words, chosen in ((("--backend", "reference"), "reference/"), (("--isa", "base"), "cpu/")):
            document = self.kerf("kernels", "explain", "-m", model(), "attn_q", *words, "--json").json
            for shape in document["shapes"]:
                for node in shape["nodes"]:
                    (line,) = [x for x in node["explanation"].splitlines() if "chosen" in x]
                    self.assertIn(chosen, line)

    def test_a_pinned_kernel_is_used(self):
        document = self.kerf("plan", "-m", model(), "--kernel", "swiglu=reference/swiglu", "--json").json
        used = {s["kernel"] for p in document["plans"] for s in p["steps"] if s["step"] == "run" and s["op"].startswith("swiglu")}
        self.assertEqual(used, {"reference/swiglu"})

    def test_test(self):
        result = self.kerf("kernels", "test", "cpu/add", "--seed", "7", "--json").json
        self.assertEqual((result["seed"], result["failed"]), (7, 0))
        self.assertEqual({k["kernel"] for k in result["kernels"]}, {k["name"] for k in self.listed("cpu/add")})
        for k in result["kernels"]:
            self.assertEqual(k["failed"], 0)
            self.assertTrue(k["cases"] > 0 or k["skipped"], k)
        text = self.kerf("kernels", "test", "cpu/add", "--seed", "7").text
        self.assertIn("seed 7", text)
        self.assertIn(f"{len(result['kernels'])} kernels, 0 failed", text)
        one = self.kerf("kernels", "test", "cpu/add", "--case", "0", "--json").json
        self.assertEqual({k["cases"] for k in one["kernels"] if "skipped" not in k}, {1})

    def test_test_takes_the_same_filters_as_list(self):
        result = self.kerf("kernels", "test", "rope_t", "--json").json
        self.assertEqual({k["name"] for k in self.listed("rope_t")}, {k["kernel"] for k in result["kernels"]})
        self.refused(2, "kernels", "test", "frobnicate", says=["frobnicate"])

    def test_devices_run_the_kernels_of_their_kind(self):
        result = self.kerf("kernels", "test", "emu/add", "--device", "emu:0=64MiB,reverse", "--json").json
        self.assertTrue(all(k["cases"] > 0 and k["failed"] == 0 for k in result["kernels"]), result)
        self.refused(2, "kernels", "test", "emu/add", says=["emu/add", "cpu", "--device emu:0"])
        self.refused(2, "kernels", "test", "emu/add", "--device", "abacus:0=1GiB", says=["abacus:0", "emu:N"])

    def test_isa_limits_the_test(self):
        result = self.kerf("kernels", "test", "cpu/swiglu", "--isa", "base", "--json").json
        need = {k["name"]: k["isa"] for k in self.listed("cpu/swiglu")}
        for k in result["kernels"]:
            self.assertEqual("skipped" in k, need[k["kernel"]] != "base", k)

    def test_bench(self):
        document = self.kerf("kernels", "bench", "cpu/swiglu", "cpu/add", "--seconds", "0.001", "-t", "1", "--json").json
        self.assertEqual({r["kernel"].split(".")[0] for r in document["rows"]}, {"cpu/swiglu", "cpu/add"})
        for row in document["rows"]:
            self.assertGreater(row["seconds"], 0)
            self.assertGreater(row["gb_per_s"], 0)
            self.assertEqual(row["threads"], 1)
        text = self.kerf("kernels", "bench", "cpu/add", "--seconds=0.001", "--isa", "base").text
        self.assertIn("GB/s", text)
        self.assertIn("cpu/add", text)
        self.refused(2, "kernels", "bench", "--seconds", "0")

    def test_launches(self):
        document = self.kerf("kernels", "launches", "emu/rms_norm.1_warp", "emu/matmul.4_tile", "-T", "1,512", "--shape", "256,64", "--json").json
        rows = {(r["kernel"], r["tokens"]): r for r in document["rows"]}
        norm = rows["emu/rms_norm.1_warp", 512]
        self.assertEqual(norm["bytes"], 4 * (2 * 512 * 2048 + 2048))
        self.assertEqual(norm["launches"], [{"function": "warp_norm", "blocks": [128, 1, 1], "threads": 128, "dynamic_shared_bytes": 0}])
        self.assertNotIn(("emu/matmul.4_tile", 1), rows)  # for more than 8 tokens
        tile = rows["emu/matmul.4_tile", 512]
        self.assertEqual(tile["flops"], 2 * 512 * 256 * 64)
        self.assertEqual([x["function"] for x in tile["launches"]], ["round_rows", "multiply_tiles"])
        text = self.kerf("kernels", "launches", "emu64/rms_norm.1_warp", "-T", "512", "--device", "emu64:0=1GiB").text
        self.assertIn("warp_norm 128 x 128\n", text)
        self.refused(2, "kernels", "launches", "cpu/add", says=["emu:0"])
        self.refused(2, "kernels", "launches", "cpu/add", "--device", "pretend:0=1GiB", says=["launches nothing"])
        self.refused(2, "kernels", "launches", "nonsense", says=["nonsense"])

    def test_coverage(self):
        document = self.kerf("kernels", "coverage", "--json").json
        names = {k["name"] for k in self.listed()}
        keys = [(r["op"], r["type"], r["backend"]) for r in document["coverage"]]
        self.assertEqual(len(keys), len(set(keys)))
        for row in document["coverage"]:
            self.assertNotEqual(row["kernel"] == "", row["why_not"] == "", row)
            if row["kernel"]:
                self.assertIn(row["kernel"], names)
        text = self.kerf("kernels", "coverage").text
        self.assertEqual(text.count("\n| ") - 2, len(keys))
        for kind in ("f32", "f16", "q4_0", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs"):
            for backend in ("cpu", "reference"):
                (row,) = [r for r in document["coverage"] if (r["op"], r["type"], r["backend"]) == ("matmul", kind, backend)]
                self.assertNotEqual(row["kernel"], "", row)


if __name__ == "__main__":
    program.main()
