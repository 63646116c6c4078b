#!/usr/bin/env python3
"""Puts what `moe study` found into the documents, so that no figure is typed by hand.
  study_figures.py --take out/routers/study.json …   keeps a study as docs/results/NAME.json, then writes as below
  study_figures.py                                   writes docs/results/NAME.md of each, and the tables of docs/choosing.md
  study_figures.py --check                           writes nothing: status 1 when a document says anything else
  study_figures.py --models build/release/moe        writes the table of what published models use
A block of docs/choosing.md between <!-- study: NAME | GROUP | COLUMN; COLUMN … --> and <!-- end of study --> has the rows of
that group of the study, in the order of their loss (or, with the column "even from", of that), with these columns."""
import json
import pathlib
import re
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parent.parent
results, choosing = root / "docs/results", root / "docs/choosing.md"
BLOCK = re.compile(r"(<!-- study: ([^|>]+?) \| ([^|>]+?) \| ([^>]+?) -->\n)(.*?)(<!-- end of study -->)", re.DOTALL)
MODELS = re.compile(r"(<!-- models -->\n)(.*?)(<!-- end of models -->)", re.DOTALL)
KEPT = {"study", "title", "help", "date", "version", "machine", "at_once", "threads", "dtype", "seeds", "steps", "tokens_per_step",
        "domains", "groups", "rows", "left_out"}
CURVES = {"losses", "crowding", "loads"}


def fail(text):
    sys.exit(f"error: [study] {text}")


def figure(value, signed=False):
    if value["mean"] is None:
        return "–"
    text = f"{value['mean']:{'+' if signed else ''}.4f}".replace("-", "−")
    return text if value["half_width_95"] is None else f"{text} ± {value['half_width_95']:.4f}"


def number(value, digits=2):
    return "–" if value is None else f"{value:,.{digits}f}"


def steps(row):
    return ", ".join("never" if step < 0 else str(step) for step in row["even_from"]) or "–"


def of_load(row, key, digits=2):
    return "–" if row["experts"] == 0 else number(row[key], digits)


COLUMNS = {
    "row": lambda row: f"`{row['name']}`" if not row["reference"] else f"*{row['name']}*",
    "set as": lambda row: row["note"],
    "loss": lambda row: figure(row["loss"]),
    "over baseline": lambda row: "baseline" if row["baseline"] else figure(row["over_baseline"], True),
    "at equal time": lambda row: figure(row["loss_at_equal_time"]),
    "tokens/s": lambda row: number(row["tokens_per_second"], 0),
    "max / mean": lambda row: of_load(row, "max_over_mean"),
    "unused": lambda row: of_load(row, "unused", 1),
    "entropy": lambda row: of_load(row, "entropy", 3),
    "dropped": lambda row: "–" if row["experts"] == 0 else f"{100 * row['dropped']:.1f} %",
    "even from": steps,
    "active": lambda row: f"{row['active_parameters']:,}",
    "parameters": lambda row: f"{row['parameters']:,}",
    "FLOPs": lambda row: f"{row['flops_per_token']:,}",
    "peak, MB": lambda row: number(row["peak_bytes"] / 1e6, 0) if row["peak_bytes"] else "–",
}


def order(row):
    steps_of = row["even_from"]
    return (sum(step < 0 for step in steps_of), sum(step for step in steps_of if step > 0))


def table(study, group, columns):
    unknown = [column for column in columns if column not in COLUMNS]
    if unknown:
        fail(f"expected columns among {', '.join(COLUMNS)}, got {', '.join(unknown)}. Correct the document.")
    rows = [row for row in study["rows"] if row["group"] == group and row["seeds"] > 0]
    if not rows and group not in [known["name"] for known in study["groups"]]:
        fail(f"expected a group of the study '{study['study']}', got '{group}'. Correct the document.")
    if "even from" in columns:
        rows.sort(key=order)
    elif "at equal time" in columns and "loss" not in columns:
        rows.sort(key=lambda row: (row["loss_at_equal_time"]["mean"] is None, row["loss_at_equal_time"]["mean"]))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(COLUMNS[column](row).replace("|", "\\|") for column in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def page(study):
    """docs/results/NAME.md"""
    out = [f"# Study: {study['title']}\n", f"{study['help'][0].upper()}{study['help'][1:]}.\n",
           f"{study['date']}, {study['machine']}, moe.cpp {study['version']}. Written by `scripts/study_figures.py` from "
           f"`{study['study']}.json`, which `moe study {study['study']} --seeds {study['seeds']}` wrote.\n",
           f"{study['seeds']} seeds, {study['steps']} steps of {study['tokens_per_step']:,} tokens, {study['dtype']}, text: "
           f"{', '.join(study['domains'])}; {study['at_once']} trainings at once, {study['threads']} thread(s) each. ± is the half "
           "width of the 95 % interval over seeds (Student's t); over baseline: the mean difference to the baseline's run with the "
           "same seed. Loads are means over layers and the last quarter of the logged steps. In italics: references.\n"]
    routed = any(row["experts"] > 0 for row in study["rows"])
    for group in study["groups"]:
        if not any(row["group"] == group["name"] for row in study["rows"]):
            continue
        out += [f"## {group['title']}\n", group["text"] + "\n"]
        if study["study"] == "balance":
            out.append(table(study, group["name"], ["row", "set as", "even from", "max / mean", "loss"]))
        load = ["max / mean", "unused", "entropy", "dropped"] if routed else []
        out.append(table(study, group["name"], ["row", "set as", "loss", "over baseline", *load, "active", "parameters"]))
        out += ["At equal time, the fastest compared row's:\n",
                table(study, group["name"], ["row", "at equal time", "tokens/s", "FLOPs", "peak, MB"])]
    failed = [(row["name"], row["failure"]) for row in study["rows"] if row["seeds"] == 0]
    left_out = [(row["name"], row["why"]) for row in study["left_out"]] + failed
    if left_out:
        out += ["## Left out\n", "".join(f"- `{name}`: {why}\n" for name, why in left_out)]
    return "\n".join(out)


def take(path):
    study = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    if not KEPT <= study.keys():
        fail(f"expected a study.json, got {path} without {', '.join(sorted(KEPT - study.keys()))}. Name what moe study wrote.")
    kept = {key: value for key, value in study.items() if key in KEPT}
    kept["rows"] = [{key: value for key, value in row.items() if key not in CURVES} for row in kept["rows"]]
    results.mkdir(exist_ok=True)
    (results / f"{kept['study']}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def models(program):
    def asked(*words):
        return json.loads(subprocess.run([program, "inspect", *words, "--json"], check=True, capture_output=True).stdout)
    lines = ["| model | router | experts a token | experts | shared | balance | by |", "|---|---|---|---|---|---|---|"]
    for known in asked("--list", "model")["model"]:
        found = subprocess.run([program, "inspect", "--list", "router", "--like", known["name"], "--json"], capture_output=True)
        if found.returncode == 2 and b"is dense" in found.stderr:
            continue
        if found.returncode != 0:
            fail(found.stderr.decode().strip())
        row = json.loads(found.stdout)
        balance = row["balance"] or ("none" if row["balance_source"] else "not said")
        cells = [f"`{row['name']}`", row["router"], row["experts"], row["expert"], row["shared"], balance, row["balance_source"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    words = sys.argv[1:]
    text = choosing.read_text(encoding="utf-8")
    if words[:1] == ["--models"]:
        written = models(str(pathlib.Path(words[1]).resolve()))
        choosing.write_text(MODELS.sub(lambda found: found.group(1) + written + found.group(3), text), encoding="utf-8")
        return
    if words[:1] == ["--take"]:
        for path in words[1:]:
            take(path)
    studies = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}
    wanted = {results / f"{name}.md": page(study) for name, study in studies.items()}

    def block(found):
        name, group = found.group(2).strip(), found.group(3).strip()
        columns = [column.strip() for column in found.group(4).split(";")]
        shown = table(studies[name], group, columns) if name in studies else "Not measured yet.\n"
        return found.group(1) + shown + found.group(6)

    wanted[choosing] = BLOCK.sub(block, text)
    differ = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if words[:1] != ["--check"]:
        for path in differ:
            path.write_text(wanted[path], encoding="utf-8")
        return
    for path in differ:
        print(f"error: [study] expected {path.relative_to(root)} to say what the studies of docs/results say. Run "
              "scripts/study_figures.py.", file=sys.stderr)
    sys.exit(1 if differ else 0)


main()
