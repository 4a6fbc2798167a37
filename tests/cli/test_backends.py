"""The backends of libraries (Eigen, oneDNN): whole models through --backend, and what a build without one says."""

import unittest

import program
from program import MODELS, golden, model, nmse, oracle, version

LIBRARIES = {"eigen": "EIGEN", "onednn": "ONEDNN"}


def built(name):
    return version()["parts"][LIBRARIES[name]]["state"] == "on"


class Backends(program.Case):
    def kernels(self, *words):
        """The kernels of a plan's runs, by op."""
        used = {}
        for plan in self.kerf("plan", "-m", model(), *words, "--json").json["plans"]:
            for step in plan["steps"]:
                if step["step"] == "run":
                    used.setdefault(step["op"].split("(")[0], set()).add(step["kernel"])
        return used

    def test_the_build_says_what_it_has(self):
        listed = {k["backend"] for k in self.kerf("kernels", "list", "--json").json["kernels"]}
        self.assertEqual(listed, {"reference", "cpu", "emu", "emu64"} | {name for name in LIBRARIES if built(name)})
        line = self.kerf("logits", "-m", model(), "--tokens", self.ids([1]), "--backend", "abacus", code=2).err
        for name in ("reference", "cpu", *LIBRARIES):
            self.assertEqual(name in line, name in listed, line)

    def test_kernels_of_devices_are_not_for_the_host(self):
        for words in (("--backend", "emu"), ("--kernel", "matmul=emu/matmul.1_plain")):
            line = self.kerf("logits", "-m", model(), "--tokens", self.ids([1]), *words, code=2).err
            self.assertIn("--device emu:0", line)
        for name in LIBRARIES:
            if not built(name):
                self.refused(2, "logits", "-m", model(), "--tokens", self.ids([1]), "--backend", name, says=(name,))

    def library(self, name):
        if not built(name):
            self.skipTest(f"this build has no {name}: {version()['parts'][LIBRARIES[name]]['reason']}")

    def test_they_do_the_work(self):
        for name in LIBRARIES:
            with self.subTest(name):
                self.library(name)
                used = self.kernels("--backend", f"{name},cpu")
                self.assertTrue(all(k.startswith(f"{name}/matmul.") for k in used["matmul"]), used)
                self.assertTrue(all(k.startswith("cpu/") for k in used["attention"]), used)

    def test_models_against_the_oracle(self):
        for name in LIBRARIES:
            for arch in MODELS:
                with self.subTest(name, arch=arch):
                    self.library(name)
                    shape, values, _ = self.logits("--backend", f"{name},cpu", name=arch)
                    self.assertEqual(shape, (33, golden(arch)["vocab"]))
                    self.assertLessEqual(nmse(values, oracle(arch, "f16_33")), 5e-6)

    def test_quantized_models(self):
        for name in LIBRARIES:
            for kind in golden("llama")["llama_cpp_nmse"]:
                with self.subTest(name, kind=kind):
                    self.library(name)
                    values = self.logits("--backend", f"{name},cpu", kind=kind)[1]
                    self.assertLessEqual(nmse(values, oracle("llama", f"{kind}_33_last8")), 5e-6)

    def test_narrow_formats_of_onednn(self):
        self.library("onednn")
        allowed = golden("llama")["llama_cpp_nmse"]  # what 8-bit activations cost llama.cpp
        for kernel, kind in (("bf16", "Q4_K_M"), ("int8", "Q8_0")):
            with self.subTest(kernel):
                words = ("--backend", "onednn,cpu", "--kernel", f"matmul=onednn/matmul.{kernel}")
                error = nmse(self.logits(*words, kind=kind)[1], oracle("llama", f"{kind}_33_last8"))
                self.assertLessEqual(error, allowed[kind]["33_last8"])
                self.assertGreater(error, 1e-8)  # they do round

    def test_threads_change_no_bit(self):
        for name in LIBRARIES:
            with self.subTest(name):
                self.library(name)
                one, three = (self.logits("--backend", f"{name},cpu", "-t", t)[2] for t in (1, 3))
                self.assertEqual(one, three)


if __name__ == "__main__":
    program.main()
