"""kerf inspect against a header reader of its own, and kerf version."""

import math
import pathlib
import shutil

import program
from gguf_reader import Header
from program import MODELS, golden, model

FILES = [(name, "f16") for name in MODELS] + [("llama", kind) for kind in golden("llama")["llama_cpp_nmse"]]


class Inspect(program.Case):
    def test_tensors_and_sizes(self):
        for name, kind in FILES:
            with self.subTest(name, kind=kind):
                path = model(name, kind)
                header = Header(path)
                document = self.kerf("inspect", path, "--json").json
                self.assertEqual((document["version"], document["splits"], document["bytes"], document["path"]), (3, 1, len(header.bytes), path))
                want = [(key, t["dtype"], t["ne"] + [1] * (4 - len(t["ne"])), t["bytes"]) for key, t in header.tensors.items()]
                self.assertEqual([(t["name"], t["dtype"], t["shape"][::-1], t["bytes"]) for t in document["tensors"]], want)
                places = {t["offset"] for t in document["tensors"]}
                self.assertIn(places, ({header.place(key) for key in header.tensors}, {t["offset"] for t in header.tensors.values()}))
                values = sum(math.prod(t["ne"]) for t in header.tensors.values())
                total = sum(t["bytes"] for t in header.tensors.values())
                self.assertEqual(document["parameters"], values)
                self.assertAlmostEqual(document["bits_per_weight"], 8 * total / values, places=9)
                self.assertEqual(sum(t["tensors"] for t in document["types"].values()), len(header.tensors))
                self.assertEqual(sum(t["bytes"] for t in document["types"].values()), total)
                self.assertEqual(sum(t["values"] for t in document["types"].values()), values)
                self.assertEqual(document["warnings"], [])

    def test_metadata(self):
        for name, kind in FILES:
            header = Header(model(name, kind))
            document = self.kerf("inspect", model(name, kind), "--json").json
            self.assertEqual({key: (m["type"], m["value"]) for key, m in document["metadata"].items()}, header.metadata)

    def test_one_key(self):
        header = Header(model())
        for key, (kind, value) in header.metadata.items():
            with self.subTest(key):
                document = self.kerf("inspect", model(), "--metadata", key, "--json").json
                self.assertEqual((document["key"], document["type"], document["value"]), (key, kind, value))
        self.assertEqual(self.kerf("inspect", model(), "--metadata", "general.architecture").out, b"llama\n")
        self.assertEqual(self.kerf("inspect", model(), "--metadata", "llama.block_count").out, b"2\n")
        self.assertEqual(
            self.kerf("inspect", model(), "--metadata", "tokenizer.chat_template").text, header.metadata["tokenizer.chat_template"][1] + "\n"
        )
        self.refused(3, "inspect", model(), "--metadata", "no.such.key", says=[model(), "no.such.key"])

    def test_text(self):
        text = self.kerf("inspect", model(kind="Q4_K_M")).text
        header = Header(model(kind="Q4_K_M"))
        for part in (model(kind="Q4_K_M"), "version 3", f"{len(header.tensors)} tensors", "llama.block_count", "q4_k", "q6_k", "bits per weight"):
            self.assertIn(part, text)
        self.assertNotIn("blk.0.attn_q.weight", text)
        listed = self.kerf("inspect", "-m", model(kind="Q4_K_M"), "--tensors").text
        self.assertTrue(listed.startswith(text))
        for key in header.tensors:
            self.assertIn(f"\n{key} ", listed)

    def test_what_the_model_is_made_of(self):
        for name, kind in FILES:
            with self.subTest(name, kind=kind):
                header = Header(model(name, kind))
                made = self.kerf("inspect", model(name, kind), "--json").json["model"]
                arch = header.metadata["general.architecture"][1]
                self.assertEqual(made["architecture"], arch)
                self.assertEqual(made["layers"] + made["nextn_blocks"], header.metadata[f"{arch}.block_count"][1])
                experts = header.metadata.get(f"{arch}.expert_count", (None, 0))[1]
                self.assertEqual(made["experts"]["count"] if made["experts"] else 0, experts)
                flags = header.metadata.get(f"{arch}.attention.recurrent_layers", (None, []))[1]
                self.assertEqual(made["recurrent_layers"], [layer for layer, flag in enumerate(flags) if flag])
                self.assertEqual(made["repairs"], [])
        self.assertIn("\nmodel      llama, 2 layers of width 256, ", self.kerf("inspect", model()).text)

    def test_a_file_that_is_no_model_is_still_shown(self):
        content = pathlib.Path(model()).read_bytes()
        path = self.file("other.gguf", content.replace(b"\5\0\0\0\0\0\0\0llama", b"\5\0\0\0\0\0\0\0other", 1))
        self.assertIn('no model   ' + f'{path}: offset ', self.kerf("inspect", path).text)
        self.assertIn('unknown "other"', self.kerf("inspect", path, "--json").json["model"]["error"])

    def test_strict_refuses_what_is_only_strange(self):
        path = self.file("tail.gguf", pathlib.Path(model()).read_bytes() + b"\0" * 1000)
        self.assertIn("warning: ", self.kerf("inspect", path).err)
        self.assertEqual(len(self.kerf("inspect", path, "--json").json["warnings"]), 1)
        self.refused(3, "inspect", path, "--strict", says=[path, "offset", 1000])
        self.refused(3, "run", "-m", path, "-p", "x", "-n", "1", "--strict", says=[path, "offset", 1000])
        self.kerf("run", "-m", path, "-p", "x", "-n", "1")

    def test_names_that_look_like_options(self):
        shutil.copy(model(kind="Q2_K"), self.folder / "--tensors")
        self.assertIn("22 tensors", self.kerf("inspect", "./--tensors", cwd=self.folder).text)


class Version(program.Case):
    def test_text_and_json_agree(self):
        text, document = self.kerf("version").text, self.kerf("version", "--json").json
        self.assertRegex(document["version"], r"\A\d+\.\d+\.\d+")
        self.assertTrue(text.startswith(f"kerf {document['version']}\n"), text)
        for part in (document["compiler"], document["build"], document["isa"], f"{document['cores']} usable cores", str(document["kernels"])):
            self.assertIn(part, text)
        self.assertEqual(document["kernels"], len(self.kerf("kernels", "list", "--json").json["kernels"]))
        for name, part in document["parts"].items():
            self.assertIn(part["state"], ("on", "off"))
            self.assertRegex(text, rf"(?m)^{name} +{part['state']} ")


if __name__ == "__main__":
    program.main()
