# SPDX-License-Identifier: MIT
"""The messages and the JSON of mglu-bench. Nothing here depends on time."""

import json
import os
import pathlib
import sys
import unittest

from harness import ProgramTest, run

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "bench"))
import report_layers  # noqa: E402

# Little memory, few rounds: the form of the output is tested, not the speed.
TINY = ["--shapes", "33x96", "--masks", "1,3", "--repeats", "2", "--cold-bytes", "100000", "--threads", "1"]

ROW_KEYS = {
    "backend", "device", "op", "what", "dtype", "x_dtype", "quantised_x", "d", "h", "n_masks", "top_k", "batch",
    "regime", "threads", "rounds", "median_us", "min_us", "p10_us", "p90_us", "bytes", "gbps", "read_gbps",
    "fraction_of_read_bandwidth", "ratio_vs_glu", "ratio_vs_glu_p10", "ratio_vs_glu_p90", "ratio_vs_dense",
    "gflops", "peak", "peak_gflops", "fraction_of_peak", "dispatch_ns", "skipped", "failed", "kernel",
}  # fmt: skip
REPORT_KEYS = {
    "version", "build", "command", "date", "device", "timer", "threads", "cache_bytes", "cold_bytes", "rows",
}  # fmt: skip

# A peer whose output is determined by its first argument.
PEER = """
import sys
answers = {"good": {"open": "cases glu:f32:0 naive:f32:3", "run": "us 125.5"},
           "refuses": {"open": "error too large for me"},
           "run-fails": {"open": "cases glu:f32:0", "run": "error out of memory"},
           "negative": {"open": "cases glu:f32:0", "run": "us -1"},
           "unknown-case": {"open": "cases one:two"},
           "exits": {"open": "cases glu:f32:0"}}[sys.argv[1]]
print("ready a peer for tests", flush=True)
for line in sys.stdin:
    word = line.split()[0]
    if word not in answers:
        sys.exit()
    print(answers[word], flush=True)
"""


class BenchTest(ProgramTest):
    def report(self, *arguments):
        path = self.folder / "report.json"
        self.succeed(*TINY, *arguments, "--json", path)
        return json.loads(path.read_text())

    def rows(self, *arguments):
        return self.report(*arguments)["rows"]


class ReportTest(BenchTest):
    def test_keys(self):
        report = self.report()
        self.assertEqual(set(report), REPORT_KEYS)
        self.assertEqual(set(report["device"]), {"backend", "name", "details"})
        self.assertEqual((report["cold_bytes"], report["threads"], report["timer"]), (100000, 1, "clock"))
        self.assertEqual(report["command"][:3], ["mglu-bench", "--shapes", "33x96"])
        for row in report["rows"]:
            self.assertEqual(set(row), ROW_KEYS)
            self.assertGreater(row["dispatch_ns"], 0)

    def test_rows_of_a_projection(self):
        rows = self.rows()
        self.assertEqual([(row["regime"], row["what"], row["n_masks"]) for row in rows],
                         [(regime, what, masks) for regime in ("cold", "warm")
                          for what, masks in (("glu", 0), ("mglu", 1), ("mglu", 3))])  # fmt: skip
        for row in rows:
            self.assertEqual((row["op"], row["dtype"], row["d"], row["h"], row["batch"], row["rounds"]),
                             ("projection", "f16", 33, 96, 1, 2))  # fmt: skip
            words = row["n_masks"] * 33 * 96 // 8
            self.assertEqual(row["bytes"], 33 * 96 * 2 + words if row["n_masks"] else 2 * 33 * 96 * 2)
            for key in ("median_us", "min_us", "p10_us", "p90_us", "gbps", "ratio_vs_glu", "gflops"):
                self.assertGreater(row[key], 0)
            for key in ("top_k", "ratio_vs_dense", "peak", "fraction_of_peak", "skipped", "failed"):
                self.assertIsNone(row[key])
        self.assertEqual([row["ratio_vs_glu"] for row in rows if row["what"] == "glu"], [1, 1])

    def test_routed(self):
        rows = self.rows("--op", "routed", "--regime", "warm", "--batch", "5")
        self.assertEqual([(row["what"], row["n_masks"], row["top_k"]) for row in rows],
                         [("glu", 0, None), ("mglu", 1, None), ("mglu", 3, None), ("routed", 1, 2),
                          ("routed", 3, 2)])  # fmt: skip
        self.assertIn("top_k", rows[3]["skipped"])
        self.assertIsNone(rows[3]["median_us"])
        self.assertGreater(rows[4]["ratio_vs_dense"], 0)

    def test_whole_block(self):
        rows = self.rows("--op", "projection,ffn", "--regime", "warm", "--dtype", "bf16")
        for projection, block in zip(rows[:3], rows[3:]):
            self.assertEqual((projection["op"], block["op"]), ("projection", "ffn"))
            # The down-projection is 96 rows of 33 columns, padded to 64 elements.
            self.assertGreaterEqual(block["bytes"], projection["bytes"] + 96 * 33 * 2)

    def test_batches_are_set_against_the_peak_of_what_they_multiply_with(self):
        cases = {
            "fma_f32": ["--dtype", "f16"],
            "fma_f32 dot_bf16 tiles_bf16": ["--dtype", "bf16", "--x-dtype", "bf16"],
            "fma_f32 dot_int8 mmla_int8": ["--dtype", "q8_0", "--quantised-x"],
        }
        for units, arguments in cases.items():
            rows = self.rows("--batch", "1,4", "--regime", "warm", *arguments)
            self.assertEqual({row["peak"] for row in rows if row["batch"] == 1}, {None})
            for row in rows:
                if row["batch"] == 4:
                    self.assertIn(row["peak"], units.split())
                    self.assertGreater(row["fraction_of_peak"], 0)

    def test_tables_of_a_report_name_the_peak(self):
        rows = self.rows("--batch", "1,4", "--regime", "warm", "--dtype", "q8_0", "--quantised-x")
        for batch, heading in ((1, "read GB/s"), (4, "peak GFLOP/s")):
            glu = next(row for row in rows if row["batch"] == batch)
            limit = f"{glu['read_gbps']:.0f}" if batch == 1 else f"{glu['peak_gflops']:.0f} {glu['peak']}"
            lines = report_layers.layer_table([row for row in rows if row["batch"] == batch])
            self.assertTrue(lines[0].startswith(f"|  | {heading} | "), lines[0])
            self.assertTrue(lines[2].startswith(f"| 33x96 q8_0, x quantised, 1 thread | {limit} | "), lines[2])

    def test_document_has_the_tables_of_all_results(self):
        results = [json.loads(path.read_text()) for path in sorted((ROOT / "bench" / "results").glob("*.json"))]
        machines = [found for found in results if isinstance(found, list)]
        made = [report_layers.summary(machines)]
        for reports in machines:
            made += [lines for _, lines in report_layers.all_sections(reports)]
        self.assertGreater(len(made), len(machines))
        document = (ROOT / "docs" / "performance.md").read_text()
        for lines in made:
            self.assertIn("\n".join(lines), document)

    def test_dtypes_on_each_backend(self):
        for backend in ("ref", "cpu"):
            rows = self.rows("--backend", backend, "--dtype", "f32,f16,bf16", "--x-dtype", "f16", "--op", "ffn",
                             "--regime", "warm")  # fmt: skip
            self.assertEqual({row["backend"] for row in rows}, {backend})
            self.assertEqual([row["dtype"] for row in rows], ["f32"] * 3 + ["f16"] * 3 + ["bf16"] * 3)
            self.assertEqual({(row["x_dtype"], row["skipped"]) for row in rows}, {("f16", None)})

    def test_rows_say_what_computes_them(self):
        for backend, kernel in (("ref", "^reference, double, one token at a time$"), ("cpu", r"^gemv\w*, [\w-]+, .*")):
            for row in self.rows("--backend", backend, "--regime", "warm", "--op", "routed"):
                if row["skipped"] is None:
                    self.assertRegex(row["kernel"], kernel)
        words = run(*TINY, "--backend", "ref", "--regime", "warm", "--verbose").stdout.decode()
        self.assertEqual(words.count("\n    kernel reference, double, "), 3)
        self.assertNotIn("kernel", self.succeed(*TINY, "--backend", "ref", "--regime", "warm").decode())

    def test_the_log_of_the_environment_goes_to_stderr_and_not_into_rows(self):
        path = self.folder / "report.json"
        result = run(*TINY, "--backend", "ref", "--regime", "warm", "--json", path, env={"MGLU_LOG": "debug"})
        self.assertIn(b"mglu debug: ref: layer 96x33 n_m=3 f16 batch<=1: kernel reference, ", result.stderr)
        self.assertEqual({row["kernel"] for row in json.loads(path.read_text())["rows"]}, {None})

    def test_x_is_quantised_where_weights_are(self):
        rows = self.rows("--dtype", "f16,q8_0", "--quantised-x", "--regime", "warm")
        self.assertEqual({(row["dtype"], row["quantised_x"]) for row in rows}, {("f16", False), ("q8_0", True)})
        self.assertEqual({row["failed"] for row in rows}, {None})

    def test_table(self):
        lines = self.succeed(*TINY, "--regime", "warm").decode().splitlines()
        self.assertTrue(any(line.startswith("projection f16 33x96, batch 1") for line in lines), lines)
        self.assertEqual([line.split()[0] for line in lines[-5:-2]], ["glu", "mglu", "mglu"])
        self.assertEqual(lines[-2:], ["", "3 layers measured, 0 wrong"])


class PeerTest(BenchTest):
    def setUp(self):
        super().setUp()
        self.script = self.folder / "peer.py"
        self.script.write_text(PEER)

    def peer_rows(self, behaviour):
        rows = self.rows("--regime", "warm", "--peers", f"other='{sys.executable}' '{self.script}' {behaviour}")
        self.assertEqual([row["what"] for row in rows[:3]], ["glu", "mglu", "mglu"])
        self.assertEqual({row["backend"] for row in rows[3:]}, {"other"})
        return rows[3:]

    def test_rows_of_a_peer(self):
        rows = self.peer_rows("good")
        self.assertEqual([(row["what"], row["dtype"], row["n_masks"], row["device"]) for row in rows],
                         [("glu", "f32", 0, "a peer for tests"),
                          ("naive", "f32", 3, "a peer for tests")])  # fmt: skip
        for row in rows:
            self.assertEqual(set(row), ROW_KEYS)
            self.assertAlmostEqual(row["median_us"], 125.5, 3)
            self.assertGreater(row["ratio_vs_glu"], 0)
            self.assertIsNone(row["bytes"])
            self.assertIsNone(row["kernel"])

    def test_a_peer_that_fails_is_a_row_with_the_reason(self):
        for behaviour, reason in (
            ("refuses", "too large for me"),
            ("run-fails", "out of memory"),
            ("negative", "an invalid time"),
            ("unknown-case", "an invalid case"),
            ("exits", "has ended"),
        ):
            with self.subTest(behaviour):
                (row,) = self.peer_rows(behaviour)
                self.assertIn(reason, row["skipped"])
                self.assertIsNone(row["median_us"])

    def test_a_peer_that_does_not_start(self):
        *_, row = self.rows("--regime", "warm", "--peers", "none=exit 3")
        self.assertIn("has ended", row["skipped"])


    def test_another_backend_is_a_peer(self):
        rows = self.rows("--backend", "ref", "--peers", "cpu", "--op", "projection,routed", "--regime", "warm",
                         "--dtype", "bf16,q8_0", "--x-dtype", "f16", "--batch", "2")  # fmt: skip
        layers = [("glu", 0), ("mglu", 1), ("mglu", 3)]
        routed = [("glu", 0), ("mglu", 1), ("routed", 1), ("mglu", 3), ("routed", 3)]
        for dtype in ("bf16", "q8_0"):
            for op, want in (("projection", layers), ("routed", routed)):
                with self.subTest(dtype=dtype, op=op):
                    peer = [row for row in rows if (row["backend"], row["dtype"], row["op"]) == ("cpu", dtype, op)]
                    self.assertEqual([(row["what"], row["n_masks"]) for row in peer], want)
                    self.assertTrue(all(row["device"].startswith("cpu: ") for row in peer), peer)
                    self.assertTrue(all(row["median_us"] > 0 for row in peer if row["what"] != "routed"), peer)

    def test_a_backend_that_is_none(self):
        result = run(*TINY, "--regime", "warm", "--peers", "abacus")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout.decode(), "abacus peer +skipped: .*unknown backend 'abacus'")

    def test_questions_that_are_none(self):
        questions = ["dance", "run glu:f16:0", "open projection 3", "open dance 32 32 1 0 1 f16 f32",
                     "open projection 32 32 1 0 1 f17 f32", "open projection 32 32 1 0 1 f16 f32", "run glu:f16:1"]  # fmt: skip
        result = run("--serve", "--backend", "ref", input="\n".join(questions).encode())
        form, case = "error invalid request", "error no such case is open"
        self.assertEqual(result.stdout.decode().splitlines()[1:],
                         ["error unknown request", case, form, form, form, "cases glu:f16:0 mglu:f16:1", case])


class UsageTest(BenchTest):
    BAD = [
        (["--shapes", "8192"], "DxH"),
        (["--shapes", "8192x0"], "whole number"),
        (["--shapes", "1x2x3"], "whole number"),
        (["--masks", "17"], "from 1 to 16"),
        (["--masks", "1,,2"], "empty"),
        (["--masks", ",".join(["1"] * 33)], "more than 32"),
        (["--batch", "-1"], "whole number"),
        (["--dtype", "f17"], "f17"),
        (["--x-dtype", "q8_0"], "f32, f16 or bf16"),
        (["--op", "attention"], "projection, ffn, routed"),
        (["--regime", "tepid"], "cold, warm"),
        (["--top-k", "0"], "whole number"),
        (["--threads", "none"], "whole number"),
        (["--peers", "=abacus"], "NAME=COMMAND"),
        (["--repeats", "1001"], "whole number"),
        (["--seconds", "soon"], "not a number"),
        (["--cold-bytes", "0"], "whole number"),
        (["operand"], "unexpected operand"),
    ]

    def test_bad_usage(self):
        for arguments, word in self.BAD:
            with self.subTest(arguments):
                self.refuse(2, [word], *arguments)

    def test_failures(self):
        self.refuse(1, ["unknown backend"], "--backend", "abacus")
        self.refuse(1, ["report.json"], *TINY, "--json", self.folder / "none" / "report.json")

    def test_full_disk(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        with open("/dev/full", "wb") as full:
            self.refuse(1, ["standard output"], *TINY, "--regime", "warm", stdout=full)

    def test_help_and_version(self):
        text = self.succeed("--help").decode()
        for option, *_ in (arguments for arguments, _ in self.BAD if len(arguments) == 2):
            self.assertIn(option, text)
        self.assertRegex(self.succeed("--version").decode(), r"^mglu-bench \d+\.\d+\.\d+ \(.*\)\n$")
        self.assertEqual(run("--help").returncode, 0)


if __name__ == "__main__":
    unittest.main()
