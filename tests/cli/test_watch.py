"""What a run can be watched for: --dump-routing, --capture, and what routing touched in --stats."""

import array
import json
import math
import pathlib
import re
import resource
import struct

import program
from gguf_reader import Header
from program import golden, model

MOE = "tiny_qwen3_moe_a"  # 2 layers, 16 experts, 4 used, their weights sum to 1
EXACT = ("--backend", "reference", "--fuse", "none")


def read_npy(path):
    """(shape, flat values) of any float32 .npy file."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<H", data[8:10])
    header = data[10 : 10 + length].decode("ascii")
    assert data[:8] == b"\x93NUMPY\x01\x00" and (10 + length) % 64 == 0 and header.endswith("\n"), header
    match = re.fullmatch(r"\{'descr': '<f4', 'fortran_order': False, 'shape': \(([\d, ]+)\), \} *\n", header)
    shape = tuple(int(n) for n in match[1].split(",") if n.strip())
    values = array.array("f")
    values.frombytes(data[10 + length :])
    assert len(values) == math.prod(shape), (shape, len(values))
    return shape, values


class Watched(program.Case):
    def logits_words(self, name, tokens, kind="f16"):
        return ("logits", "-m", model(name, kind), "--tokens", self.ids(tokens))

    def routing(self, *words, **options):
        """(header, lines) of --dump-routing."""
        path = self.folder / "routing.jsonl"
        self.kerf(*words, "--dump-routing", path, **options)
        header, *lines = (json.loads(line) for line in path.read_text().splitlines())
        self.assertFalse([p for p in self.folder.iterdir() if "partial" in p.name])
        return header, lines

    def capture(self, pattern, *words, **options):
        """({name: (shape, values)}, capture.json) of --capture."""
        folder = self.folder / "made" / "captured"
        self.kerf(*words, "--capture", pattern, "--capture-dir", folder, **options)
        index = json.loads((folder / "capture.json").read_text())
        values = {v["name"]: read_npy(folder / v["file"]) for v in index["values"]}
        for v in index["values"]:
            self.assertEqual(tuple(v["shape"]), values[v["name"]][0])
        return values, index


class Routing(Watched):
    def test_the_choice_is_that_of_the_router_s_formula(self):
        tokens = golden(MOE)["tokens_33"]
        words = self.logits_words(MOE, tokens)
        header, lines = self.routing(*words, *EXACT)
        self.assertIn("kerf logits -m", header.pop("command"))
        self.assertEqual(header, {"schema": 1, "model": model(MOE), "layers": 2, "experts": 16, "experts_used": 4})
        values, _ = self.capture("ffn_gate_inp$", *words, *EXACT)
        self.assertEqual([(r["pass"], r["layer"], r["position"]) for r in lines], [(0, l, p) for l in range(2) for p in range(33)])
        for line in lines:
            shape, logits = values[f"blk.{line['layer']}.ffn_gate_inp"]
            self.assertEqual(shape, (33, 16))
            row = logits[line["position"] * 16 : line["position"] * 16 + 16]
            chosen = sorted(range(16), key=lambda i: (-row[i], i))[:4]
            self.assertEqual(line["experts"], chosen)
            parts = [math.exp(row[i] - max(row)) for i in chosen]
            for got, part in zip(line["weights"], parts, strict=True):
                self.assertAlmostEqual(got, part / sum(parts), delta=1e-6)
                self.assertEqual(float(repr(got)), got)

    def test_positions_in_pieces_and_of_selected_rows(self):
        tokens = golden(MOE)["tokens_33"]
        words = self.logits_words(MOE, tokens)
        _, whole = self.routing(*words, *EXACT)
        by_place = {(r["layer"], r["position"]): (r["experts"], r["weights"]) for r in whole}
        for extra, passes, last in (
            (("--chunk", "7"), [7, 7, 7, 7, 5], range(33)),
            (("-ub", "16"), [16, 16, 1], range(33)),
            (("--last", "3"), [33], range(30, 33)),
            (("--chunk", "1"), [1] * 33, range(33)),
            # Where no row is wanted, one is computed all the same: the last of the micro-batch.
            (("-ub", "16", "--last", "3"), [16, 16, 1], (15, 30, 31, 32)),
        ):
            with self.subTest(extra):
                _, lines = self.routing(*words, *EXACT, *extra)
                starts = [sum(passes[:i]) for i in range(len(passes))]
                first = [(r["pass"], r["position"]) for r in lines if r["layer"] == 0]
                self.assertEqual(first, [(i, s + k) for i, (s, n) in enumerate(zip(starts, passes)) for k in range(n)])
                self.assertEqual([r["position"] for r in lines if r["layer"] == 1], list(last))
                for r in lines:
                    experts, weights = by_place[r["layer"], r["position"]]
                    self.assertEqual(r["experts"], experts)
                    for a, b in zip(r["weights"], weights):
                        self.assertAlmostEqual(a, b, delta=1e-5)

    def test_devices_change_nothing(self):
        for name in (MOE, "tiny_qwen3_5_moe_b"):
            words = self.logits_words(name, golden(name)["tokens_33"])
            _, want = self.routing(*words)
            device = ("--device", "pretend:0=64MiB")
            for extra in (("-ngl", "99"), ("-ngl", "99", "--cpu-moe"), ("-ngl", "99", "-ncmoe", "1"), ("-ot", "ffn_gate_inp=pretend:0")):
                self.assertEqual(self.routing(*words, *device, *extra)[1], want, extra)

    def test_every_command(self):
        text = self.file("text.txt", "the an man a day, then. " * 12)
        n = self.kerf("tokenize", "-m", model(MOE), "-f", text, "--json").json["n"]
        _, lines = self.routing("perplexity", "-m", model(MOE), "-f", text, "-c", "16")
        chunks = n // 16
        self.assertGreater(chunks, 2)
        self.assertEqual([(r["pass"], r["position"]) for r in lines if r["layer"] == 0], [(c, p) for c in range(chunks) for p in range(16)])
        self.assertEqual([(r["pass"], r["position"]) for r in lines if r["layer"] == 1], [(c, p) for c in range(chunks) for p in range(8, 16)])
        words = ("run", "-m", model(MOE), "--raw", "-p", "the man", "--temp", "0", "-n", "6")
        prompt = self.kerf("tokenize", "-m", model(MOE), "-p", "the man", "--json").json["n"]
        _, lines = self.routing(*words)
        self.assertEqual([r["position"] for r in lines if r["layer"] == 0], list(range(prompt + 5)))
        self.assertEqual([r["position"] for r in lines if r["layer"] == 1], list(range(prompt - 1, prompt + 5)))
        for extra in ((), ("--stats",), ("--json",)):
            self.assertEqual(self.routing(*words, *extra)[1], lines)

    def test_refusals(self):
        ids = self.ids(golden("llama")["tokens_33"])
        path = self.folder / "routing.jsonl"
        for name in ("llama", "tiny_qwen3_5_b"):
            self.refused(2, "logits", "-m", model(name), "--tokens", ids, "--dump-routing", path, says=["no experts", "--dump-routing"])
        self.refused(1, *self.logits_words(MOE, golden(MOE)["tokens_33"]), "--dump-routing", self.folder / "no" / "folder", says=["no/folder"])
        self.refused(2, "bench", "-m", model(MOE), "--dump-routing", path)
        self.assertFalse(path.exists())

    def test_a_full_disk_leaves_nothing(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        path = self.folder / "routing.jsonl"
        path.write_text("old")
        words = self.logits_words(MOE, golden(MOE)["tokens_33"])
        self.refused(1, *words, "--dump-routing", path, says=["routing.jsonl", "write"], preexec=limit)
        self.assertEqual(path.read_text(), "old")
        self.assertFolderHolds("routing.jsonl", "ids.json")


class Stats(Watched):
    WORDS = ("--raw", "-p", "the man", "--temp", "0", "-n", "6")

    def test_what_routing_touched(self):
        for name, kind in ((MOE, "f16"), ("tiny_qwen3_5_moe_b", "f16"), ("qwen3_moe_kq", "Q4_K_M")):
            with self.subTest(name):
                words = ("run", "-m", model(name, kind), *self.WORDS)
                header, lines = self.routing(*words)
                stats = self.kerf(*words, "--json").json["stats"]
                touched = {(r["layer"], e) for r in lines for e in r["experts"]}
                experts = {n: t for n, t in Header(model(name, kind)).tensors.items() if "_exps." in n}
                of_layer = [sum(t["bytes"] for n, t in experts.items() if n.startswith(f"blk.{l}.")) for l in range(header["layers"])]
                want = {
                    "touched": len(touched),
                    "all": header["layers"] * header["experts"],
                    "touched_bytes": sum(of_layer[l] // header["experts"] for l, _ in touched),
                    "bytes": sum(of_layer),
                }
                self.assertEqual(stats["experts"], want)
                self.assertLess(0, want["touched"])
                err = self.kerf(*words, "--stats").err
                size = r"[\d.]+ [KM]iB"
                touched = rf"{want['touched']} of {want['all']} in all layers touched, {size} of {size}"
                self.assertRegex(err, rf"experts +{touched}; {size} of the file's {size} resident")
        self.assertNotIn("experts", self.kerf("run", "-m", model(), *self.WORDS, "--stats").err)

    def test_resident_pages_of_the_file(self):
        size = pathlib.Path(model(MOE)).stat().st_size
        stats = self.kerf("run", "-m", model(MOE), *self.WORDS, "--json").json["stats"]
        self.assertEqual(stats["file"]["bytes"], size)
        self.assertTrue(0 < stats["file"]["resident_bytes"] <= size, stats)
        self.assertNotIn("file", self.kerf("run", "-m", model(MOE), *self.WORDS, "--no-mmap", "--json").json["stats"])

    def test_bytes_per_token_count_the_routed_experts(self):
        # Per layer and token, 4 of 16 experts of 3 matrices of 32 x 32 values of 2 bytes: 24576 bytes of 98304 are read. By how much
        # a plan counts less than all bytes that its steps see is therefore known.
        plan = self.kerf("plan", "-m", model(MOE), "-c", "16", "--tokens", "1", "--backend", "reference", "--json").json["plans"][0]
        seen = 0
        for step in plan["steps"]:
            op = step["op"].split("(")[0]
            if op == "rows":  # of the table one row
                seen += step["in"][0]["shape"][3] * step["in"][0]["bytes"] // math.prod(step["in"][0]["shape"])
                seen += step["in"][1]["bytes"] + step["out"][0]["bytes"]
            elif op == "rope_cache":  # caches: one row of each head is written
                seen += sum(v["bytes"] for v in step["in"][:4] + step["in"][6:] + step["out"][:1])
                seen += sum(v["bytes"] // v["shape"][2] for v in step["in"][4:6])
            else:
                seen += sum(v["bytes"] for v in step["in"] + step["out"])
        self.assertEqual(plan["bytes_per_pass"], {"cpu": seen - 2 * (98304 - 24576)})


class Capture(Watched):
    def test_logits_and_embeddings(self):
        name = "qwen3"
        tokens = golden(name)["tokens_33"]
        out = self.folder / "logits.npy"
        values, index = self.capture("^(output|token_embd)$", *self.logits_words(name, tokens), "--out", out)
        self.assertEqual(values["output"], program.read_npy(out))
        self.assertEqual((index["schema"], index["model"], index["pattern"]), (1, model(name), "^(output|token_embd)$"))
        self.assertIn("kerf logits -m", index["command"])
        self.assertEqual(index["passes"], [{"position": 0, "tokens": 33, "outputs": 33}])
        header = Header(model(name))
        width = header.tensors["token_embd.weight"]["ne"][0]
        shape, rows = values["token_embd"]
        self.assertEqual(shape, (33, width))
        for i, token in enumerate(tokens):
            at = header.place("token_embd.weight") + token * width * 2
            self.assertEqual(list(rows[i * width : (i + 1) * width]), list(struct.unpack(f"<{width}e", header.bytes[at : at + 2 * width])))

    def test_passes_are_put_one_after_the_other(self):
        tokens = golden(MOE)["tokens_33"]
        pattern = r"attn_norm$|^output$|experts\.sum$|ffn_gate_exps$|ids$|^rope_table$"
        whole, _ = self.capture(pattern, *self.logits_words(MOE, tokens), *EXACT)
        pieces, index = self.capture(pattern, *self.logits_words(MOE, tokens[:30]), *EXACT, "--chunk", "16", "--greedy", "4")
        self.assertEqual([p["tokens"] for p in index["passes"]], [16, 14, 1, 1, 1])
        self.assertEqual([p["position"] for p in index["passes"]], [0, 16, 30, 31, 32])
        self.assertEqual(whole.keys(), pieces.keys())
        for name, (shape, values) in pieces.items():
            slots = 4 if "exps" in name else 1
            self.assertEqual(shape, (33 * slots, whole[name][0][1]))
            for a, b in zip(values[: 30 * slots * shape[1]], whole[name][1]):  # the continuation is another text
                self.assertAlmostEqual(a, b, delta=1e-4)
        about = {v["name"]: v for v in index["values"]}
        self.assertEqual((about["blk.0.ffn_gate_exps"]["rows_are"], about["blk.0.ffn_gate_exps"]["rows_per_position"]), ("tokens", 4))
        self.assertEqual((about["blk.1.ffn_gate_exps"]["rows_are"], about["blk.1.ffn_gate_exps"]["rows_per_position"]), ("outputs", 4))
        self.assertEqual(about["blk.0.experts.router.ids"]["written_as"], ["i32"])
        # Rows of selected outputs.
        last, index = self.capture("^output$", *self.logits_words(MOE, tokens), *EXACT, "--last", "5")
        self.assertEqual(last["output"][0][0], 5)
        self.assertEqual(index["passes"][0]["outputs"], 5)

    def test_steps_that_are_fused_in_some_passes_only(self):
        # An instruction set at which a plan for one token fuses other steps than one for many: what such a value lacks is said.
        if program.version()["isa"] not in ("vnni", "amx"):
            self.skipTest("prompts and single tokens have the same steps")
        words = (*self.logits_words("qwen3", golden("qwen3")["tokens_33"]), "--isa", "vnni", "--greedy", "4", "--capture-dir", self.folder / "x")
        pattern = r"^blk\.0\.(ffn_gate|attn_norm)$"
        result = self.kerf(*words, "--capture", pattern)
        self.assertRegex(result.err, r"^warning: --capture: in some passes 1 of the values .*blk\.0\.ffn_gate.*--fuse none")
        about = {v["name"]: v for v in json.loads((self.folder / "x" / "capture.json").read_text())["values"]}
        self.assertEqual((about["blk.0.ffn_gate"]["shape"][0], about["blk.0.ffn_gate"]["passes"]), (33, [0]))
        self.assertEqual(about["blk.0.attn_norm"]["shape"][0], 36)
        self.assertNotIn("passes", about["blk.0.attn_norm"])
        self.assertEqual(self.kerf(*words, "--capture", pattern, "--fuse", "none").err, "")
        self.assertEqual(read_npy(self.folder / "x" / "blk.0.ffn_gate.npy")[0][0], 36)

    def test_states(self):
        tokens = golden("qwen3")["tokens_33"]
        words = (*self.logits_words("qwen3", tokens), *EXACT, "-ctk", "f32", "-ctv", "f16")
        values, index = self.capture(r"^kv\.blk\.1\.|blk\.1\.attn\.rope_k|blk\.1\.attn_v$", *words, "--chunk", "20")
        (heads, n, size), keys = values["kv.blk.1.k"]
        self.assertEqual(n, 33)
        _, rotated = values["blk.1.attn.rope_k"]
        _, v = values["blk.1.attn_v"]
        for h in range(heads):
            for t in range(n):
                at, row = (h * n + t) * size, (t * heads + h) * size
                self.assertEqual(keys[at : at + size], rotated[row : row + size])
                half = [struct.unpack("<e", struct.pack("<e", x))[0] for x in v[row : row + size]]
                self.assertEqual(list(values["kv.blk.1.v"][1][at : at + size]), half)
        about = {v["name"]: (v["rows_are"], v["written_as"]) for v in index["values"]}
        self.assertEqual(about["kv.blk.1.k"], ("positions", ["f32"]))
        self.assertEqual(about["kv.blk.1.v"], ("positions", ["f16"]))

    def test_recurrent_states(self):
        name = "tiny_qwen3_5_b"  # 6 heads of v, of 16; 4 taps over 2 * 2 * 16 + 96 channels; layers 0 and 2
        tokens = golden(name)["tokens_33"]
        words = (*self.logits_words(name, tokens), *EXACT)
        values, index = self.capture(r"^state\.|delta_qkv|attn_qkv$", *words, "--chunk", "30")
        shapes = {"conv": (3, 160), "delta": (6, 16, 16)}
        self.assertEqual(
            {n: s for n, (s, _) in values.items() if n.startswith("state")}, {f"state.blk.{l}.{w}": s for l in (0, 2) for w, s in shapes.items()}
        )
        self.assertEqual(values["state.blk.0.conv"][1], values["blk.0.attn_qkv"][1][-3 * 160 :])  # the last three inputs
        self.assertEqual({v["rows_are"] for v in index["values"] if "state" in v["name"]}, {"state"})
        elsewhere, _ = self.capture(r"^state\.|attn_qkv$", *words, "--chunk", "30", "--device", "pretend:0=64MiB", "-ot", "^state=pretend:0")
        self.assertEqual(elsewhere, values)

    def test_values_in_formats_for_kernels_are_decoded(self):
        tokens = golden("llama")["tokens_33"]
        words = self.logits_words("llama", tokens, "Q4_K_M")
        want, index = self.capture(r"^blk\.0\.attn_norm$", *words, "--activations", "f32")
        self.assertEqual(index["values"][0]["written_as"], ["f32"])
        shape, exact = want["blk.0.attn_norm"]
        for activations, format in (("q8", "q8_g16"), ("bf16", "bf16_t16")):
            if activations == "bf16" and program.version()["isa"] != "amx":
                continue
            with self.subTest(activations):
                got, index = self.capture(r"^blk\.0\.attn_norm$", *words, "--activations", activations)
                self.assertEqual(index["values"][0]["written_as"], [format])
                self.assertEqual(got["blk.0.attn_norm"][0], shape)
                error = program.nmse(got["blk.0.attn_norm"][1], exact)
                self.assertTrue(0 < error < 1e-4, error)

    def test_devices_change_nothing(self):
        words = self.logits_words(MOE, golden(MOE)["tokens_33"])
        want, _ = self.capture("norm|sum|kv", *words)
        self.assertGreater(len(want), 8)
        self.assertEqual(self.capture("norm|sum|kv", *words, "--device", "pretend:0=64MiB", "-ngl", "2")[0], want)

    def test_every_command(self):
        values, index = self.capture("^output$", "run", "-m", model(), "--raw", "-p", "Hello", "-n", "4", "--temp", "0")
        self.assertEqual(values["output"][0][0], 4)
        self.assertEqual([p["outputs"] for p in index["passes"]], [1] * 4)
        text = self.file("text.txt", "def add(a, b):\n    return a + b\n" * 12)
        values, index = self.capture("^output$", "perplexity", "-m", model(), "-f", text, "-c", "16", "--chunks", "2")
        self.assertEqual(values["output"][0][0], 16)
        self.assertEqual([p["position"] for p in index["passes"]], [0, 0])

    def test_names_that_match_nothing(self):
        words = self.logits_words("qwen3", golden("qwen3")["tokens_33"])
        folder = self.folder / "captured"
        there = ("--capture-dir", folder)
        self.refused(2, *words, *there, "--capture", r"blk\.0\.atn_norm", says=["--capture", "blk.0.attn_norm", "--fuse none"])
        self.refused(2, *words, *there, "--capture", r"token_embd\.weight", says=["token_embd,"])  # a weight: no step writes it
        self.refused(2, *words, *there, "--capture", r"blk\.0\.attn\.rope_k", says=["blk.0.attn.rope_k", "fused", "--fuse none"])
        self.refused(2, *words, *there, "--capture", "(", says=["--capture", "regular expression"])
        self.refused(2, *words, "--capture", "output")
        self.refused(2, *words, *there)
        self.assertFalse(folder.exists())
        self.kerf(*words, *there, "--capture", r"blk\.0\.attn\.rope_k", "--fuse", "none")
        some = self.kerf(*words, *there, "--capture", r"blk\.0\.attn")
        self.assertRegex(some.err, r"warning: --capture: \d+ more values .*--fuse none")

    def test_a_full_disk_leaves_nothing(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        folder = self.folder / "captured"
        words = self.logits_words("qwen3", golden("qwen3")["tokens_33"])
        self.refused(1, *words, "--capture", "norm", "--capture-dir", folder, says=["captured", "write"], preexec=limit)
        self.assertEqual(list(folder.iterdir()), [])

    def test_more_values_than_files_may_be_open(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        words = self.logits_words("qwen3", golden("qwen3")["tokens_33"])
        self.refused(2, *words, "--capture", ".", "--fuse", "none", "--capture-dir", self.folder / "captured", says=["ulimit -n"], preexec=limit)


if __name__ == "__main__":
    program.main()
