"""experiments/peers/peers.py with programs that only pretend: what it asks of them, and what it makes of the answers."""

import contextlib
import importlib.util
import io
import json
import pathlib
import sys
import unittest

import program

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "experiments/peers/peers.py"
spec = importlib.util.spec_from_file_location("peers", SCRIPT)
peers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(peers)

# Writes its words to a log and answers with the next of its speeds; `roof` with the next of its bandwidths.
FAKE = """#!{python}
import json, pathlib, sys
here = pathlib.Path({folder!r})
words = sys.argv[1:]
with open(here / "log", "a") as log:
    log.write(json.dumps([{name!r}, *words]) + "\\n")
answers = json.loads((here / ({name!r} + ".json")).read_text())
key = "roof" if words[0] == "roof" else ("fa " if "-fa" in words else "") + ("no repack" if "--repack" in words else "speed")
value = answers[key].pop(0)
(here / ({name!r} + ".json")).write_text(json.dumps(answers))
if value is None:
    sys.exit("it fell over")
if key == "roof":
    print(json.dumps({{"figures": [{{"threads": 2, "read_gb_per_s": value}}]}}))
else:
    print(json.dumps([{{"samples_ts": [value] * 3, "type_k": "f16", "type_v": "f16", "percent_read": 50.0, "percent_peak": 2.0}}]))
"""


class Arithmetic(unittest.TestCase):
    def test_tests(self):
        self.assertEqual(peers.parse_test("pp512"), (512, 0, 0))
        self.assertEqual(peers.parse_test("tg64"), (0, 64, 0))
        self.assertEqual(peers.parse_test("pp4@d4096"), (4, 0, 4096))
        for text in ("", "pp", "pp0", "512", "pp512@4096", "pp5 12", "xx5"):
            with self.assertRaises(peers.argparse.ArgumentTypeError):
                peers.parse_test(text)

    def test_ratios_are_of_rounds(self):
        got = peers.summarize([30.0, 60.0, 44.0], {"default": [10.0, 30.0, 20.0], "--repack 0": [15.0, 20.0, 44.0]})
        self.assertEqual((got["kerf_ts"], got["peer_ts"]), (44, {"default": 20, "--repack 0": 20}))
        self.assertEqual(got["ratio_default"], {"median": 2.2, "min": 2.0, "max": 3.0})
        got = peers.summarize([30.0, 60.0, 44.0], {"default": [10.0, 30.0, 20.0], "--repack 0": [15.0, 30.0, 44.0]})
        self.assertEqual((got["peer_default"], got["peer_best"]), ("default", "--repack 0"))
        self.assertEqual(got["ratio_best"], {"median": 2.0, "min": 1.0, "max": 2.0})

    def test_the_better_of_the_defaults_is_the_default(self):
        got = peers.summarize([10.0], {"default": [2.0], "default -fa 1": [5.0], "--repack 0": [4.0], "--repack 0 -fa 1": [3.0]})
        self.assertEqual((got["peer_default"], got["peer_best"]), ("default -fa 1", "default -fa 1"))
        self.assertEqual(got["ratio_default"]["median"], 2)

    def test_drift(self):
        self.assertFalse(peers.drifted(20, 20.9))
        self.assertFalse(peers.drifted(20, 19.1))
        self.assertTrue(peers.drifted(20, 21.1))
        self.assertTrue(peers.drifted(20, 18.9))

    def test_flash_attention_is_tried_where_it_may_matter(self):
        def names(test, *words):
            args = peers.arguments(["--llama-bench", "x", "-m", "y", *words])
            return list(peers.peer_configurations(peers.parse_test(test), args))

        self.assertEqual(names("pp512"), ["default", "--repack 0"])
        self.assertEqual(names("pp512@d64"), ["default", "default -fa 1", "--repack 0", "--repack 0 -fa 1"])
        self.assertEqual(names("tg8", "--ctk", "q8_0"), ["default -fa 1", "--repack 0 -fa 1"])


class Whole(program.Case):
    def fake(self, name, **answers):
        self.file(f"{name}.json", json.dumps({key.replace("_", " "): value for key, value in answers.items()}))
        path = pathlib.Path(self.file(name, FAKE.format(python=sys.executable, folder=str(self.folder), name=name)))
        path.chmod(0o755)
        return str(path)

    def run_script(self, *words):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = peers.main(["--kerf", str(self.folder / "kerf"), "--llama-bench", str(self.folder / "peer"), "-t", "2", *words])
        return code, out.getvalue(), err.getvalue()

    def test_a_session(self):
        self.fake("kerf", speed=[100, 10, 120, 12], roof=[30, 29])
        self.fake("peer", speed=[25, 8, 20, 6], no_repack=[20, 10, 40, 4])
        results = self.folder / "results.jsonl"
        code, out, _ = self.run_script("-m", "a.gguf", "--test", "pp512", "tg64", "--rounds", "2", "-o", str(results))
        self.assertEqual(code, 0)
        first, second = map(json.loads, results.read_text().splitlines())
        self.assertEqual((first["test"], first["kerf_samples_ts"], first["peer_samples_ts"]), ("pp512", [100, 120], {"default": [25, 20], "--repack 0": [20, 40]}))
        self.assertEqual((first["kerf_ts"], first["peer_best"]), (110, "--repack 0"))
        self.assertEqual(first["ratio_default"], {"median": 5, "min": 4, "max": 6})
        self.assertEqual(first["ratio_best"], {"median": 4, "min": 3, "max": 5})
        self.assertEqual((second["test"], second["peer_best"], second["ratio_best"]["median"]), ("tg64", "default", 1.625))
        self.assertEqual((first["read_gb_per_s_before"], first["read_gb_per_s_after"], first["drifted"]), (30, 29, False))
        self.assertIn("| a.gguf | pp512 | f16 | 110.00 | 22.50 | 5.00 (4.00..6.00) | 30.00 | 4.00 (3.00..5.00) | --repack 0 |", out)
        self.assertIn("30.0 GB/s before and 29.0 after", out)
        self.assertNotIn("drifted", out)
        # A B A B: each round asks everyone once for each test, between two looks at the memory.
        log = [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]
        self.assertEqual([(w[0], w[1] == "roof") for w in log], [("kerf", True)] + [("kerf", False), ("peer", False), ("peer", False)] * 4 + [("kerf", True)])
        self.assertEqual(log[1][1], "bench")
        self.assertEqual(log[1][2:], log[2][1:])
        self.assertEqual(log[2] + ["--repack", "0"], log[3])
        self.assertIn("-p 512 -n 0 -d 0 -t 2", " ".join(log[2]))

    def test_drift_is_marked(self):
        self.fake("kerf", speed=[10], roof=[30, 20])
        self.fake("peer", speed=[5], no_repack=[4])
        code, out, _ = self.run_script("-m", "a.gguf", "--test", "tg4", "--rounds", "1")
        self.assertEqual(code, 0)
        self.assertIn("drifted", out)

    def test_cache_types_are_the_same_for_both(self):
        self.fake("kerf", speed=[10], roof=[30, 30])
        self.fake("peer", **{"fa speed": [5], "fa no repack": [4]})
        self.assertEqual(self.run_script("-m", "a.gguf", "--test", "tg4", "--rounds", "1", "--ctk", "q8_0")[0], 0)
        for line in (self.folder / "log").read_text().splitlines():
            words = json.loads(line)
            if words[1] != "roof":
                self.assertIn("-ctk q8_0 -ctv q8_0", " ".join(words))

    def test_a_program_that_fails(self):
        self.fake("kerf", speed=[10, 10], roof=[30, 30, 30])
        self.fake("peer", speed=[5, None], no_repack=[4])
        code, out, err = self.run_script("-m", "a.gguf", "-m", "b.gguf", "--test", "tg4", "--rounds", "1")
        self.assertEqual(code, 1)
        self.assertIn("| a.gguf |", out)  # what was measured is not lost
        self.assertIn("it fell over", err)
        code, _, err = self.run_script("-m", "a.gguf", "--kerf", str(self.folder / "nobody"))
        self.assertEqual(code, 1)
        self.assertIn("nobody", err)

    def test_usage(self):
        for words in (("--test", "pp"), ("--rounds", "0"), ("--threads", "0")):
            with self.assertRaises(SystemExit) as stopped:
                self.run_script("-m", "a.gguf", *words)
            self.assertEqual(stopped.exception.code, 2)


if __name__ == "__main__":
    program.main()
