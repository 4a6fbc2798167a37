#!/usr/bin/env python3
"""kerf beside llama-bench on the same files, A B A B: see README.md in this folder.

Each test is run in rounds; a round is one run of kerf and one of each configuration of the peer, one after another, so that
a slow minute of the machine falls on both. Reported are medians over the rounds, and the ratio as the median of the ratios
of single rounds with the smallest and the largest of them.
"""

import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys

DRIFT = 0.05  # of the read bandwidth between before and after, above which a session is marked


class Failed(Exception):
    """A program that did not do what it was asked."""


def parse_test(text):
    """"pp512", "tg64", "pp512@d4096" -> (n_prompt, n_gen, n_depth)."""
    match = re.fullmatch(r"(pp|tg)([1-9]\d*)(?:@d(\d+))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f'expected pp512, tg64 or pp512@d4096, got "{text}"')
    n, depth = int(match[2]), int(match[3] or 0)
    return (n, 0, depth) if match[1] == "pp" else (0, n, depth)


def run(command):
    """Standard output of a program. @raises Failed with its last words"""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise Failed(f"{' '.join(command)}: exit code {done.returncode}: {' | '.join(words)}")
    return done.stdout


def bench_words(model, test, args):
    """What both programs understand alike."""
    n_prompt, n_gen, n_depth = test
    words = ["-m", model, "-p", str(n_prompt), "-n", str(n_gen), "-d", str(n_depth), "-t", str(args.threads), "-ub", str(args.ubatch), "-r", str(args.repetitions)]
    if args.ctk:
        words += ["-ctk", args.ctk]
    if args.ctv or args.ctk:
        words += ["-ctv", args.ctv or args.ctk]
    return words + ["-o", "json"]


def peer_configurations(test, args):
    """name -> extra words. Flash attention is on by itself or not as the peer decides; where it may matter, both are tried."""
    quantized = any(t not in ("", "f16", "f32", "bf16") for t in (args.ctk, args.ctv))
    attention = {"": []}
    if quantized or test[2] > 0:
        attention = {" -fa 1": ["-fa", "1"]} if quantized else {"": [], " -fa 1": ["-fa", "1"]}
    return {f"{name}{fa}": words + fa_words for name, words in (("default", []), ("--repack 0", ["--repack", "0"])) for fa, fa_words in attention.items()}


def speed_of(program, words):
    """Tokens per second of the only row, the median of its repetitions, and the row."""
    rows = json.loads(run([program, *words]))
    if len(rows) != 1:
        raise Failed(f"{program} {' '.join(words)}: expected one row, got {len(rows)}")
    return statistics.median(rows[0]["samples_ts"]), rows[0]


def read_bandwidth(args):
    """GB/s, by kerf, with the threads of the session."""
    words = ["roof", "--only", "read", "--seconds", str(args.roof_seconds), "-t", str(args.threads), "--json"]
    return json.loads(run([args.kerf, *words]))["figures"][0]["read_gb_per_s"]


def summarize(kerf, peers):
    """Figures of one test from the speeds of its rounds.

    kerf: list, peers: configuration -> list, all of one length. The peer's default is the better of its default
    configurations (with -fa and without), its best the best of all; better by the median over the rounds."""
    medians = {name: statistics.median(speeds) for name, speeds in peers.items()}
    default = max((n for n in medians if n.startswith("default")), key=medians.get)
    best = max(medians, key=medians.get)

    def ratio(name):
        ratios = [k / p for k, p in zip(kerf, peers[name], strict=True)]
        return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}

    return {
        "kerf_ts": statistics.median(kerf),
        "peer_ts": medians,
        "peer_default": default,
        "peer_best": best,
        "ratio_default": ratio(default),
        "ratio_best": ratio(best),
    }


def drifted(before, after):
    return abs(after - before) > DRIFT * before


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def session(model, args, progress):
    """One model: bandwidth, all tests in rounds, bandwidth again. Returns one record per test."""
    load, before, time = os.getloadavg()[0], read_bandwidth(args), now()
    configurations = {test: peer_configurations(parse_test(test), args) for test in args.test}
    kerf = {test: [] for test in args.test}
    peers = {test: {name: [] for name in configurations[test]} for test in args.test}
    rows = {}
    for number in range(args.rounds):
        for test in args.test:
            words = bench_words(model, parse_test(test), args)
            progress(f"{os.path.basename(model)} {test}, round {number + 1} of {args.rounds}")
            speed, rows[test] = speed_of(args.kerf, ["bench", *words])
            kerf[test].append(speed)
            for name, extra in configurations[test].items():
                peers[test][name].append(speed_of(args.llama_bench, [*words, *extra])[0])
    after = read_bandwidth(args)
    return [
        {
            "schema": 1,
            "model": os.path.basename(model),
            "test": test,
            "threads": args.threads,
            "n_ubatch": args.ubatch,
            "type_k": rows[test]["type_k"],
            "type_v": rows[test]["type_v"],
            "time": time,
            "load_average": load,
            "read_gb_per_s_before": before,
            "read_gb_per_s_after": after,
            "drifted": drifted(before, after),
            "percent_read": rows[test].get("percent_read"),
            "percent_peak": rows[test].get("percent_peak"),
            "kerf_samples_ts": kerf[test],
            "peer_samples_ts": peers[test],
            **summarize(kerf[test], peers[test]),
        }
        for test in args.test
    ]


def table(records):
    """Markdown; best in the order of the records."""

    def ratio(r):
        return f"{r['median']:.2f} ({r['min']:.2f}..{r['max']:.2f})"

    lines = [
        "| model | test | KV | kerf t/s | peer default t/s | ratio | peer best t/s | ratio | best is |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for r in records:
        cells = [
            os.path.basename(r["model"]),
            r["test"],
            r["type_k"] if r["type_k"] == r["type_v"] else f"{r['type_k']}/{r['type_v']}",
            f"{r['kerf_ts']:.2f}",
            f"{r['peer_ts'][r['peer_default']]:.2f}",
            ratio(r["ratio_default"]),
            f"{r['peer_ts'][r['peer_best']]:.2f}",
            ratio(r["ratio_best"]),
            r["peer_best"],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    for model in dict.fromkeys(r["model"] for r in records):
        r = next(r for r in records if r["model"] == model)
        mark = ", drifted: the machine changed meanwhile, measure again" if r["drifted"] else ""
        lines.append(
            f"{os.path.basename(model)}: {len(r['kerf_samples_ts'])} rounds, {r['threads']} threads, load average {r['load_average']:.2f} before, "
            f"read bandwidth {r['read_gb_per_s_before']:.1f} GB/s before and {r['read_gb_per_s_after']:.1f} after{mark}"
        )
    return "\n".join(lines)


def arguments(words):
    parser = argparse.ArgumentParser(description="kerf beside llama-bench on the same files, A B A B.")
    parser.add_argument("--kerf", default="build/release/bin/kerf", help="kerf (default: %(default)s)")
    parser.add_argument("--llama-bench", help="llama-bench of the peer")
    parser.add_argument("-m", "--model", action="append", help="GGUF file (repeatable)")
    parser.add_argument("--test", nargs="+", default=["pp512", "tg64"], help="pp512, tg64, pp512@d4096 ... (default: pp512 tg64)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of A B A B (default: %(default)s)")
    parser.add_argument("-r", "--repetitions", type=int, default=1, help="repetitions inside a run; their median counts (default: %(default)s)")
    parser.add_argument("-t", "--threads", type=int, default=os.cpu_count(), help="threads of both (default: all cores)")
    parser.add_argument("-ub", "--ubatch", type=int, default=512, help="tokens computed at once (default: %(default)s)")
    parser.add_argument("-ctk", "--ctk", default="", help="type of cached keys, and of values if -ctv is not given")
    parser.add_argument("-ctv", "--ctv", default="", help="type of cached values")
    parser.add_argument("--roof-seconds", type=float, default=2, help="time for each check of the read bandwidth (default: %(default)s)")
    parser.add_argument("-o", "--output", help="append one JSON object per test to this file")
    parser.add_argument("--show", help="print the table of such a file, and measure nothing")
    args = parser.parse_args(words)
    if not args.show and not (args.llama_bench and args.model):
        parser.error("--llama-bench and -m are needed to measure, --show FILE to print what was measured")
    for test in args.test:
        try:
            parse_test(test)
        except argparse.ArgumentTypeError as error:
            parser.error(f"--test: {error}")
    if args.rounds < 1 or args.repetitions < 1 or args.threads < 1 or args.ubatch < 1:
        parser.error("--rounds, -r, -t and -ub are 1 or more")
    return args


def main(words):
    args = arguments(words)
    records = []
    try:
        if args.show:
            with open(args.show, encoding="utf-8") as kept:
                records = [json.loads(line) for line in kept]
        for model in args.model if not args.show else []:
            found = session(model, args, lambda text: print(text, file=sys.stderr))
            records += found
            if args.output:
                with open(args.output, "a", encoding="utf-8") as out:
                    out.writelines(json.dumps(r) + "\n" for r in found)
    except (Failed, OSError, KeyError, json.JSONDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if records:
            print(table(records))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
