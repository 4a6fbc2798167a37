"""kerf trace: every step of every pass, with sums that add up."""

import json
import re

import program
from program import model

WORDS = ("--tokens", "12", "-n", "3", "-t", "2", "-c", "15")
DEVICE = ("--device", "pretend:0=64MiB", "-ngl", "1")


class Trace(program.Case):
    def trace(self, *words):
        return self.kerf("trace", "-m", model(), *words, "--json").json

    def plan(self, tokens, *words):
        (plan,) = self.kerf("plan", "-m", model(), "-c", "15", "--tokens", tokens, *words, "--json").json["plans"]
        return plan

    def test_steps_are_those_of_the_plans(self):
        for words in ((), DEVICE):
            trace = self.trace(*WORDS, *words)
            self.assertEqual((trace["schema"], trace["threads"], trace["model"]), (1, 2, model()))
            prefill, decode = trace["phases"]
            self.assertEqual([p["phase"] for p in trace["phases"]], ["prefill", "decode"])
            self.assertEqual((prefill["tokens"], decode["tokens"]), (12, 3))
            self.assertEqual([p["depth"] for p in prefill["passes"]], [0])
            self.assertEqual([p["depth"] for p in decode["passes"]], [12, 13, 14])
            for phase, tokens in ((prefill, 12), (decode, 1)):
                want = self.plan(tokens, *words)
                for run in phase["passes"]:
                    plan = trace["plans"][run["plan"]]
                    self.assertEqual((plan["tokens"], plan["outputs"], plan["context"]), (tokens, 1, 15))
                    self.assertEqual([s["step"] for s in run["steps"]], list(range(len(want["steps"]))))
                    for got, step in zip(plan["steps"], want["steps"], strict=True):
                        if step["step"] == "copy":
                            value, device = step["from"]["value"], f"{step['from']['device']} -> {step['to']['device']}"
                            self.assertEqual(got, {"name": value, "op": "copy", "device": device, "kernel": ""})
                        else:
                            self.assertEqual((got["device"], got["kernel"]), (step["device"], step["kernel"]))
                            self.assertEqual(got["name"], step["node"] if step["step"] == "run" else step["from"]["value"])
            # The last pass fills the context: what `kerf plan` counts for it, and the copies.
            last = decode["passes"][-1]
            copies = sum(s["bytes"] for s in want["steps"] if s["step"] == "copy")
            self.assertEqual(sum(s["bytes"] for s in last["steps"]), sum(want["bytes_per_pass"].values()) + copies)
            self.assertEqual(bool(copies), bool(words))

    def test_sums_add_up(self):
        trace = self.trace(*WORDS)
        for phase in trace["phases"]:
            steps = [s | trace["plans"][p["plan"]]["steps"][s["step"]] for p in phase["passes"] for s in p["steps"]]
            for part, key in (("ns", "steps_ns"), ("idle_ns", "idle_ns"), ("bytes", "bytes"), ("flops", "flops")):
                self.assertEqual(sum(s[part] for s in steps), phase[key])
                for groups in ("by_kernel", "by_op"):
                    self.assertEqual(sum(g[part] for g in phase[groups]), phase[key])
            between = 0
            for run in phase["passes"]:
                ends = [s["begin_ns"] + s["ns"] for s in run["steps"]]
                gaps = [b["begin_ns"] - e for e, b in zip(ends, run["steps"][1:])]
                self.assertGreaterEqual(min(gaps), 0)
                self.assertGreaterEqual(run["observer_ns"], 0)
                between += sum(gaps) - run["observer_ns"]
            self.assertEqual(between, phase["between_ns"])
            self.assertEqual(phase["steps_ns"] + phase["between_ns"] + phase["around_ns"], phase["ns"])
            for time in ("steps_ns", "between_ns", "around_ns"):
                self.assertGreaterEqual(phase[time], 0)
            for s in steps:
                self.assertGreaterEqual(s["idle_ns"], 0)
                self.assertLessEqual(s["idle_ns"], s["ns"] * trace["threads"])
            for groups, keys in (("by_kernel", ("op", "device", "kernel")), ("by_op", ("op",))):
                want = {}
                for s in steps:
                    key = tuple(s[k] for k in keys)
                    want[key] = want.get(key, 0) + 1
                self.assertEqual({tuple(g[k] for k in keys): g["calls"] for g in phase[groups]}, want)
                times = [g["ns"] for g in phase[groups]]
                self.assertEqual(times, sorted(times, reverse=True))

    def test_a_prompt_in_parts(self):
        (phase,) = self.trace("--tokens", "12", "-n", "0", "--ub", "5")["phases"]
        self.assertEqual([p["depth"] for p in phase["passes"]], [0, 5, 10])
        self.assertEqual(phase["tokens"], 12)

    def test_a_text(self):
        text = "Hello, how are you?"
        ids = self.kerf("tokenize", "-m", model(), "-p", text, "--json").json
        (phase,) = self.trace("-p", text, "-n", "0", "--no-warmup")["phases"]
        self.assertEqual(phase["tokens"], len(ids["ids"] if isinstance(ids, dict) else ids))

    def test_table(self):
        lines = self.kerf("trace", "-m", model(), *WORDS).text.splitlines()
        heads = [line for line in lines if re.match(r"(prefill|decode): ", line)]
        self.assertEqual(heads[0], "prefill: 12 tokens in 1 pass from position 0, 2 threads; figures of one pass")
        self.assertEqual(heads[1], "decode: 3 tokens in 3 passes from position 12, 2 threads; figures of one pass")
        self.assertEqual(sum("tokens/s" in line for line in lines), 2)
        decode = lines[lines.index(heads[1]) :]
        shares = [float(m[1]) for line in decode[2:] if line.strip() and "all" not in line and (m := re.search(r" ([\d.]+)%", line))]
        kernels, rest = shares[: shares.index(max(shares))], shares[-3:]
        self.assertAlmostEqual(sum(kernels), rest[0], delta=0.05 * (len(kernels) + 2))
        self.assertAlmostEqual(sum(rest), 100, delta=0.2)
        self.assertNotIn("blk.", "\n".join(lines))

    def test_rows_of_nodes_and_steps(self):
        steps = self.plan(1)["steps"]
        nodes = self.kerf("trace", "-m", model(), *WORDS, "--nodes").text
        self.assertRegex(nodes, r"blk\.\*\.attn_output\S* +cpu/matmul")
        self.assertNotRegex(nodes, r"blk\.\d")
        lines = self.kerf("trace", "-m", model(), *WORDS, "--steps").text.splitlines()
        begin = next(i for i, line in enumerate(lines) if line.startswith("decode"))
        rows = lines[begin + 2 : lines.index("", begin)]
        names = [s.get("node") or s["from"]["value"] for s in steps]
        self.assertEqual([row.split()[2] for row in rows], names)

    def test_chrome(self):
        out = self.folder / "trace.json"
        result = self.kerf("trace", "-m", model(), *WORDS, *DEVICE, "--format", "chrome", "-o", out)
        self.assertEqual(result.out, b"")
        self.assertFolderHolds("trace.json")
        events = json.loads(out.read_text())["traceEvents"]
        rows = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
        self.assertLessEqual({"caller", "worker 1", "cpu", "pretend:0", "cpu -> pretend:0", "pretend:0 -> cpu"}, set(rows.values()))
        complete = [e for e in events if e["ph"] == "X"]
        self.assertEqual({e["ph"] for e in events}, {"M", "X"})
        per_row = {}
        for e in complete:
            per_row.setdefault((e["pid"], e["tid"]), []).append(e)
        self.assertLessEqual(set(per_row), set(rows))
        for row in per_row.values():  # nothing does two things at once
            for a, b in zip(row, row[1:]):
                self.assertLessEqual(a["ts"] + a["dur"], b["ts"] + 1e-3)
        devices = [e for e in complete if "kernel" in e["args"]]
        loops = [e for e in complete if "indices" in e["args"]]
        self.assertEqual(len(devices), len(self.plan(12, *DEVICE)["steps"]) + 3 * len(self.plan(1, *DEVICE)["steps"]))
        self.assertEqual(len(devices) + len(loops), len(complete))
        for e in loops:
            self.assertLessEqual(e["args"]["stolen"], e["args"]["indices"])
        self.assertTrue(any(e["tid"] == 0 and e["args"]["indices"] > 0 for e in loops))

    def test_usage(self):
        self.refused(2, "trace", "-m", model(), says=["there is no prompt"])
        self.refused(2, "trace", "-m", model(), "-p", "a", "--tokens", "3", says=["two prompts"])
        self.refused(2, "trace", "-m", model(), *WORDS, "--steps", "--nodes")
        self.refused(2, "trace", "-m", model(), *WORDS, "--format", "chrome", "--steps")
        self.refused(2, "trace", "-m", model(), *WORDS, "--format", "xml")
        self.refused(4, "trace", "-m", model(), "--tokens", "12", "-n", "4", "-c", "15", says=["-c 16"])
        self.refused(1, "trace", "-m", model(), *WORDS, "-o", self.folder / "none" / "x")
        self.kerf("trace", "-m", model(), *WORDS, "--json", "--format", "table", code=2)


if __name__ == "__main__":
    program.main()
