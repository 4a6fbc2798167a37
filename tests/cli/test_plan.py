"""kerf plan: the cut between devices, saved, read back and executed."""

import re

import program
from program import MODELS, golden, model

DEVICES = ("--device", "pretend:0=64MiB", "--device", "pretend:1=64MiB")


class Placement(program.Case):
    def homes(self, *words, name="llama"):
        document = self.kerf("plan", "-m", model(name), *DEVICES, *words, "--json").json
        return {home["name"]: home for home in document["homes"]}

    def devices(self, *words, name="llama"):
        return {key: home["device"] for key, home in self.homes(*words, name=name).items()}

    def test_everything_is_on_the_host_without_rules(self):
        homes = self.homes()
        self.assertEqual({h["device"] for h in homes.values()}, {"cpu"})
        self.assertEqual({h["because"] for h in homes.values()}, {"default"})

    def test_ngl_takes_the_head_first_then_the_last_layers(self):
        for n, moved in ((0, ()), (1, ("output",)), (2, ("output", "blk.1")), (3, ("output", "blk.1", "blk.0")), (99, ("output", "blk.1", "blk.0"))):
            with self.subTest(n):
                for key, home in self.homes("-ngl", n).items():
                    block = next((b for b in ("blk.0", "blk.1") if f"{b}." in key), "output" if key.startswith("output") else "other")
                    on_device = home["device"] != "cpu"
                    self.assertEqual(on_device, block in moved, home)
                    if on_device:
                        self.assertIn(f"-ngl {min(n, 3)}", home["because"])

    def test_state_goes_with_its_layer(self):
        state = {k: h["device"] for k, h in self.homes("-ngl", "2", "-ts", "1,0").items() if h["kind"] == "state"}
        self.assertGreaterEqual(len(state), 4)
        for key, device in state.items():
            self.assertEqual(device, "pretend:0" if "blk.1." in key else "cpu", key)

    def test_tensor_split(self):
        def counts(*words):
            devices = self.devices("-ngl", "3", *words)
            return [devices[k] for k in ("blk.0.ffn_up.weight", "blk.1.ffn_up.weight", "output.weight")]

        self.assertEqual(counts("-ts", "2,1"), ["pretend:0", "pretend:0", "pretend:1"])
        self.assertEqual(counts("-ts", "1,2"), ["pretend:0", "pretend:1", "pretend:1"])
        self.assertEqual(counts("-ts", "1,0"), ["pretend:0"] * 3)
        self.assertEqual(counts("-ts", "0,1"), ["pretend:1"] * 3)
        for bad in ("1", "1,2,3", "0,0", "-1,2", "x,1", "1,"):
            self.refused(2, "plan", "-m", model(), *DEVICES, "-ngl", "3", "-ts", bad)

    def test_override_tensor(self):
        devices = self.devices("-ot", "ffn_(up|gate)=pretend:1", "-ot", r"^blk\.0\.=pretend:0,output=pretend:1")
        for key, device in devices.items():
            want = (
                "pretend:1"
                if re.search("ffn_(up|gate)", key)
                else "pretend:0" if key.startswith("blk.0.") else "pretend:1" if "output" in key else "cpu"
            )
            self.assertEqual(device, want, key)

    def test_override_tensor_wins_over_ngl(self):
        devices = self.devices("-ngl", "3", "-ts", "1,0", "-ot", "ffn_down=cpu")
        self.assertEqual(devices["blk.0.ffn_down.weight"], "cpu")
        self.assertEqual(devices["blk.0.ffn_up.weight"], "pretend:0")

    def test_rules_file_first_match_wins(self):
        rules = self.file("my.rules", "# the cut\n\n  ffn_down   pretend:1   # big\nblk\\.1\\. pretend:0\nffn_ pretend:1\n")
        homes = self.homes("--rules", rules)
        self.assertEqual(homes["blk.1.ffn_down.weight"]["device"], "pretend:1")
        self.assertEqual(homes["blk.1.ffn_up.weight"]["device"], "pretend:0")
        self.assertEqual(homes["blk.0.ffn_up.weight"]["device"], "pretend:1")
        self.assertEqual(homes["blk.0.attn_q.weight"]["device"], "cpu")
        self.assertIn("my.rules:4", homes["blk.1.ffn_up.weight"]["because"])
        for bad, line in (("ffn_down\n", 1), ("# x\n(( cpu\n", 2)):
            self.refused(3, "plan", "-m", model(), "--rules", self.file("bad.rules", bad), says=["bad.rules", f"line {line}"])

    def test_why(self):
        words = ("plan", "-m", model(), *DEVICES, "-ngl", "2", "--why", "blk.1.attn_q.weight")
        text = self.kerf(*words).text
        for part in ("blk.1.attn_q.weight", "pretend:0", "-ngl 2", "131072"):
            self.assertIn(part, text)
        document = self.kerf(*words, "--json").json
        self.assertEqual((document["device"], document["bytes"]), ("pretend:0", 131072))
        self.refused(2, "plan", "-m", model(), "--why", "blk.9.attn_q.weight", says=["blk.9.attn_q.weight"])

    def test_wrong_devices(self):
        m = ("plan", "-m", model())
        self.refused(2, *m, "-ngl", "1", says=["-ngl", "--device"])
        self.refused(2, *m, *DEVICES, "-ot", "ffn=pretend:7", says=["pretend:7"])
        self.refused(2, *m, "--rules", self.file("r", "ffn pretend:7\n"), says=["pretend:7"])
        for device in ("gpu", "gpu:0=1GiB", "pretend:0", "pretend:x=1GiB", "pretend:-1=1GiB", ""):
            with self.subTest(device):
                self.refused(2, *m, "--device", device, says=[device.split("=")[0]])
        self.refused(2, *m, *DEVICES, "--device", "pretend:0=1MiB", says=["pretend:0", "twice"])


class Facts(program.Case):
    WORDS = ("-ngl", "2", "-ts", "1,1", "-ot", "ffn_down=pretend:1", "-c", "256")

    def document(self, *words, name="llama"):
        return self.kerf("plan", "-m", model(name), *DEVICES, *(words or self.WORDS), "--json").json

    def test_sums_are_the_sums_of_their_parts(self):
        for name in MODELS:
            document = self.document(name=name)
            for kind, field in (("weight", "weights"), ("state", "state")):
                want = {}
                for home in document["homes"]:
                    if home["kind"] == kind:
                        want[home["device"]] = want.get(home["device"], 0) + -(-home["bytes"] // 64) * 64
                for plan in document["plans"]:
                    for device, memory in plan["memory"].items():
                        self.assertEqual(memory[field], want.get(device, 0), (name, device, field))
                        self.assertEqual(memory["total"], memory["weights"] + memory["state"] + memory["compute"])
            for plan in document["plans"]:
                copies = [s for s in plan["steps"] if s["step"] == "copy"]
                self.assertGreater(len(copies), 0)
                self.assertEqual(plan["boundary"], {"copies": len(copies), "bytes": sum(s["bytes"] for s in copies)})
                for s in copies:
                    self.assertNotEqual(s["from"]["device"], s["to"]["device"])
                    self.assertEqual(s["bytes"], s["from"]["bytes"])

    def test_every_input_is_on_the_device_that_reads_it(self):
        for plan in self.document()["plans"]:
            for s in plan["steps"]:
                if s["step"] == "run":
                    for place in s.get("in", []) + s["out"]:
                        self.assertEqual(place["device"], s["device"], s)

    def test_values_in_use_do_not_overlap_in_the_arena(self):
        for plan in self.document()["plans"]:
            steps = plan["steps"]
            uses = {}
            for i, s in enumerate(steps):
                places = s.get("in", []) + s.get("out", []) + [s[k] for k in ("from", "to") if k in s]
                for p in places:
                    if "arena_offset" in p:
                        uses.setdefault((p["device"], p["value"], p["dtype"], p["arena_offset"], p["bytes"]), []).append(i)
            live = [(device, at, at + n, min(when), max(when), value) for (device, value, _, at, n), when in uses.items()]
            self.assertGreater(len(live), 20)
            for i, (device, begin, end, first, last, value) in enumerate(live):
                for other in live[:i]:
                    apart = device != other[0] or end <= other[1] or other[2] <= begin or last < other[3] or other[4] < first
                    self.assertTrue(apart, (value, live[i], other))

    def test_one_hidden_row_crosses_the_cut_each_way(self):
        # One token, head and last layer on the device: the residual row [256] f32 goes there, and so do the table of
        # angles, positions and output rows; back come the 960 logits.
        plan = next(p for p in self.document("-ngl", "2", "-ts", "1,0")["plans"] if p["shape"]["tokens"] == 1)
        copies = [(s["from"]["device"], s["to"]["device"], s["bytes"]) for s in plan["steps"] if s["step"] == "copy"]
        self.assertEqual([c for c in copies if c[0] == "pretend:0"], [("pretend:0", "cpu", 960 * 4)])
        self.assertIn(("cpu", "pretend:0", 256 * 4), copies)
        self.assertLess(sum(c[2] for c in copies if c[0] == "cpu"), 256 * 4 + 1024)

    def test_text_says_what_json_says(self):
        text = self.kerf("plan", "-m", model(), *DEVICES, *self.WORDS).text
        document = self.document()
        self.assertTrue(text.startswith("kerf-plan 1\n"))
        shapes = re.findall(r"^shape +tokens=(\d+) outputs=(\d+) context=(\d+)$", text, re.MULTILINE)
        self.assertEqual(
            [tuple(map(int, s)) for s in shapes], [(p["shape"]["tokens"], p["shape"]["outputs"], p["shape"]["context"]) for p in document["plans"]]
        )
        steps = [s for p in document["plans"] for s in p["steps"]]
        runs = re.findall(r"^run +(\S+) +(\S+) +(\S+)(?: -> \S+)?$", text, re.MULTILINE)
        self.assertEqual(runs, [(s["node"], s["device"], s["kernel"]) for s in steps if s["step"] == "run"])
        copies = re.findall(r"^copy +(\S+) +(\S+) -> (\S+) (\d+)$", text, re.MULTILINE)
        self.assertEqual(
            copies, [(s["from"]["value"], s["from"]["device"], s["to"]["device"], str(s["bytes"])) for s in steps if s["step"] == "copy"]
        )
        for home in document["homes"]:
            self.assertRegex(text, rf"(?m)^{home['kind']} +{re.escape(home['name'])} .* {home['bytes']} +{home['device']} +# ")

    def test_a_plan_is_the_same_each_time(self):
        words = ("plan", "-m", model(), *DEVICES, *self.WORDS)
        want = self.kerf(*words).out
        self.assertGreater(len(want), 1000)
        self.assertEqual(self.kerf(*words).out, want)
        self.assertEqual(self.kerf(*words, "--json").out, self.kerf(*words, "--json").out)

    def test_one_byte_decides_whether_a_device_is_large_enough(self):
        words = ("plan", "-m", model(), "-ngl", "2", "-c", "256")
        plans = self.kerf(*words, "--device", "pretend:0=64MiB", "--json").json["plans"]
        memory = [p["memory"]["pretend:0"] for p in plans]
        need = memory[0]["weights"] + memory[0]["state"] + max(m["compute"] for m in memory)
        self.kerf(*words, "--device", f"pretend:0={need}")
        error = self.refused(4, *words, "--device", f"pretend:0={need - 1}", says=["pretend:0", need, need - 1])
        self.assertIn("-ngl", error["hint"])
        ids = self.ids(golden("llama")["tokens_33"])
        self.refused(4, "logits", "-m", model(), "--tokens", ids, "-ngl", "2", "-c", "256", "--device", "pretend:0=1MiB", says=["pretend:0", 1 << 20])


class Execution(program.Case):
    def test_a_saved_plan_gives_the_same_bytes(self):
        for name in MODELS:
            cut = ("--device", "pretend:0=64MiB", "-ngl", "2")
            plan = str(self.folder / f"{name}.plan")
            result = self.kerf("plan", "-m", model(name), *cut, "--tokens", "33", "--save", plan)
            self.assertEqual(result.out, b"")
            run = ("--last", "1", "-ub", "33")
            want = self.logits(*run, name=name)[2]
            self.assertEqual(self.logits(*run, *cut, name=name)[2], want)
            self.assertEqual(self.logits(*run, "--device", "pretend:0=64MiB", "--plan", plan, name=name)[2], want)
            # Other batch shapes than the saved one are planned on the saved placement.
            whole = self.logits(name=name)[2]
            self.assertEqual(self.logits("--device", "pretend:0=64MiB", "--plan", plan, name=name)[2], whole)

    def test_run_executes_a_plan(self):
        plan = str(self.folder / "x.plan")
        self.kerf("plan", "-m", model(), *DEVICES, "-ngl", "3", "--save", plan)
        words = ("run", "-m", model(), "--raw", "-p", "def add(a, b):", "-n", "12", "--temp", "0")
        want = self.kerf(*words).out
        self.assertGreater(len(want), 12)
        self.assertEqual(self.kerf(*words, *DEVICES, "--plan", plan).out, want)

    def test_greedy_plans_bring_ids_to_the_host(self):
        head = ("--device", "emu:0=64MiB", "-ot", "^output=emu:0")
        words = ("plan", "-m", model(), *head, "-c", "64", "--tokens", "1")
        logits, greedy = self.kerf(*words).text.splitlines(), self.kerf(*words, "--greedy").text.splitlines()
        homes = self.kerf("plan", "-m", model(), "--json").json["homes"]
        vocabulary = next(h["shape"][2] for h in homes if h["name"] == "token_embd.weight")
        self.assertIn(f"copy    output                           emu:0 -> cpu {4 * vocabulary}", logits)
        self.assertIn("copy    argmax                           emu:0 -> cpu 4", greedy)
        self.assertIn("run     argmax                           emu:0      emu/argmax.1_pieces", greedy)
        self.assertNotIn("argmax", "".join(logits))
        # Up to the head, one is the other.
        steps = [[x for x in lines if x.startswith(("run", "copy", "convert"))] for lines in (logits, greedy)]
        self.assertEqual(steps[0][:-1], steps[1][:-2])
        document = self.kerf(*words, "--greedy", "--json").json
        self.assertEqual(document["plans"][0]["shape"], {"tokens": 1, "outputs": 1, "context": 64, "result": "greedy_ids"})
        self.assertEqual(document["plans"][0]["steps"][-1]["bytes"], 4)

    def test_run_chooses_on_the_device_what_it_would_choose_from_logits(self):
        for name in MODELS:
            words = ("run", "-m", model(name), "--raw", "-p", "def add(a, b):", "-n", "12")
            want = self.kerf(*words, "--temp", "1", "--top-k", "1").out  # from logits
            for place in ((), ("--device", "emu:0=64MiB", "-ot", "^output=emu:0"), (*DEVICES, "-ngl", "3")):
                boundary = []
                for sampler in (("--temp", "1", "--top-k", "1"), ("--temp", "0", "--repeat-penalty", "1.0001"), ("--temp", "0")):
                    result = self.kerf(*words, *place, *sampler, "--json").json
                    self.assertEqual((result["text"] + "\n").encode(), want, (place, sampler))
                    boundary.append(result["stats"]["boundary_bytes_per_token"])
                self.assertEqual(boundary[0], boundary[1])
                if place:
                    self.assertGreater(boundary[1], boundary[2])

    def test_a_saved_greedy_plan_is_executed(self):
        plan, of_logits = (str(self.folder / f) for f in ("greedy.plan", "logits.plan"))
        device = ("--device", "emu:0=64MiB")
        self.kerf("plan", "-m", model(), *device, "-ot", "^output=emu:0", "--greedy", "--save", plan)
        self.kerf("plan", "-m", model(), *device, "-ot", "^output=emu:0", "--save", of_logits)
        words = ("run", "-m", model(), "--raw", "-p", "def add(a, b):", "-n", "12", "--json")
        want = self.kerf(*words, "--temp", "0").json["text"]
        boundary = []
        for file in (plan, of_logits):
            result = self.kerf(*words, "--temp", "0", *device, "--plan", file)
            self.assertEqual(result.json["text"], want)
            boundary.append(result.json["stats"]["boundary_bytes_per_token"])
        self.assertLess(boundary[0], boundary[1])  # the file says what runs
        self.assertIn("1 tokens with 1 greedy ids", self.kerf(*words, "--temp", "0", *device, "--plan", plan).err)
        sampled = self.kerf(*words, "--temp", "1", "--top-k", "1", *device, "--plan", plan)  # logits over its placement
        self.assertEqual(sampled.json["text"], want)
        again = self.kerf("plan", "-m", model(), *device, "--plan", of_logits, "--greedy")
        self.assertIn("--plan has steps for logits", again.err)
        self.assertNotIn("argmax", again.text)
        text = (self.folder / "greedy.plan").read_text()
        for bad in (text.replace("result=greedy_ids", "result=ids"), text.replace("result=greedy_ids", "result=greedy_ids 1")):
            self.refused(3, *words[:3], "--raw", "-p", "x", *device, "--plan", self.file("bad.plan", bad))

    def test_save_and_text_agree(self):
        plan = self.folder / "x.plan"
        words = ("plan", "-m", model(), *DEVICES, "-ngl", "2")
        self.kerf(*words, "--save", plan)
        self.assertEqual(plan.read_bytes(), self.kerf(*words).out)
        self.assertEqual(self.kerf(*words, "--save", plan, "--json").json["plans"][0]["shape"]["outputs"], 1)
        self.assertFolderHolds("x.plan")

    def test_an_edited_plan_is_checked(self):
        path = self.folder / "x.plan"
        cut = ("--device", "pretend:0=64MiB", "-ngl", "2")
        self.kerf("plan", "-m", model(), *cut, "--tokens", "33", "--save", path)
        good = path.read_text()
        run = (
            "logits",
            "-m",
            model(),
            "--tokens",
            self.ids(golden("llama")["tokens_33"]),
            "--last",
            "1",
            "-ub",
            "33",
            "--device",
            "pretend:0=64MiB",
            "--plan",
            path,
        )
        self.kerf(*run)

        def edit(pattern, into):
            changed, n = re.subn(pattern, into, good, count=1, flags=re.MULTILINE)
            self.assertEqual(n, 1, pattern)
            return changed

        edits = {
            "not a plan": "hello\n",
            "empty": "",
            "header": edit(r"\Akerf-plan 1", "kerf-plan 2"),
            "unknown kernel": edit(r"^(run .* )(\S+)$", r"\1cpu/nothing"),
            "kernel of another op": edit(r"^(run .* )(cpu/matmul\S*)$", r"\1cpu/add.1_plain"),
            "node on another device": edit(r"^(run +blk\.1\.\S+ +)pretend:0 ", r"\1cpu       "),
            "a copy left out": edit(r"^copy .*\n", ""),
            "a copy of other size": edit(r"^(copy .* )(\d+)$", r"\g<1>17"),
            "a step left out": edit(r"^run +blk\.0\..*\n", ""),
            "a step twice": edit(r"^(run +blk\.0\..*\n)", r"\1\1"),
            "no steps": edit(r"(?s)^run .*", ""),
            "unknown word": edit(r"^copy ", "move "),
            "a weight with another shape": edit(r"^(weight +\S+ +\S+ +)(\d+)x", r"\g<1>7x"),
            "a weight of another type": edit(r"^(weight +\S+ +)f16 ", r"\1f32 "),
            "a weight left out": edit(r"^weight +blk\.1\..*\n", ""),
            "cut short": good[: len(good) // 3],
        }
        for what, text in edits.items():
            with self.subTest(what):
                path.write_text(text)
                self.refused(3, *run, says=[path])

    def test_a_plan_for_another_run(self):
        path = self.folder / "x.plan"
        self.kerf("plan", "-m", model(), "--device", "pretend:0=64MiB", "-ngl", "2", "--save", path)
        ids = self.ids(golden("llama")["tokens_33"])
        run = ("logits", "-m", model(), "--tokens", ids, "--plan", path)
        self.refused(2, *run, says=["pretend:0"])
        self.refused(2, *run, "--device", "pretend:0=64MiB", "-c", "100", says=["100", "1024"])
        self.refused(2, *run, "--device", "pretend:0=64MiB", "-ngl", "1", says=["--plan"])
        result = program.run("logits", "-m", model("qwen2"), "--tokens", ids, "--plan", path, "--device", "pretend:0=64MiB")
        self.assertIn(result.code, (2, 3), result)
        self.assertTrue(result.err.startswith("error: "), result)


if __name__ == "__main__":
    program.main()
