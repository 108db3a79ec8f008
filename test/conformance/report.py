#!/usr/bin/env python3
"""Reads ginkgo's report of a run.

  report.py focus SPECS                  one --focus flag per spec
  report.py write SPECS OUT SECONDS      OUT, OUT.times and OUT.why out of OUT.json; exit 1: a spec did not pass
  report.py check SPECS OUT EXCEPTIONS…  exit 1: a spec fails and is no exception, or is one and passes
  report.py compare A B                  exit 1: a spec ended differently in A and B
"""
import json
import re
import sys


def lines(path):
    with open(path) as f:
        return [l.rstrip("\n") for l in f if l.strip() and not l.startswith("#")]


def specs(path):
    return [l.split("\t")[-1] for l in lines(path)]


def results(path):
    return {spec: status for status, spec in (l.split("\t", 1) for l in lines(path))}


def focus(path):
    for spec in specs(path):
        print("--focus=" + re.escape(spec) + "$")
    return 0


def ran(path):
    """What each spec of ginkgo's report came to: (state, seconds, failure)."""
    with open(path) as f:
        reports = json.load(f) or []
    got = {}
    for report in reports:
        for s in report["SpecReports"] or []:
            if s["LeafNodeType"] == "It":
                name = " ".join((s["ContainerHierarchyTexts"] or []) + [s["LeafNodeText"]])
                got[name] = (s["State"], s.get("RunTime", 0) / 1e9, (s.get("Failure") or {}).get("Message", ""))
    return got


def write(path, out, seconds):
    try:
        got = ran(out + ".json")
    except (OSError, ValueError) as e:
        print(f"no report: {e}; see {out}.log", file=sys.stderr)
        got = {}
    failed, groups = 0, {}
    with open(out, "w") as o, open(out + ".times", "w") as times, open(out + ".why", "w") as reasons:
        for spec in specs(path):
            state, took, why = got.get(spec, ("missing", 0, ""))
            print(f"{state}\t{spec}", file=o)
            print(f"{took:.1f}\t{spec}", file=times)
            group = groups.setdefault(spec.split("]")[0] + "]", [0, 0])
            group[state != "passed"] += 1
            if state != "passed":
                failed += 1
                print(f"{state:8} {took:6.1f}s  {spec}")
                print(f"{state}\t{spec}\n    " + why.strip().replace("\n", "\n    ")[:3000], file=reasons)
    print(f"{'group':24} passed failed")
    for name, (good, bad) in sorted(groups.items()):
        print(f"{name:24} {good:6d} {bad:6d}")
    print(f"{'total':24} {sum(g for g, _ in groups.values()):6d} {failed:6d}   in {seconds} s")
    return failed > 0


def check(path, out, *exceptions):
    known, got, wrong = set(specs(path)), results(out), 0
    reasons = {k: v for e in exceptions for k, v in (l.split("\t", 1) for l in lines(e)) if k in known}
    for name in sorted(known):
        passed = got.get(name) == "passed"
        if passed and name in reasons:
            wrong += 1
            print(f"passes, though listed as an exception: {name}")
        elif not passed and name in reasons:
            print(f"expected: {name}\n    {reasons[name]}")
        elif not passed:
            wrong += 1
            print(f"{got.get(name, 'missing').upper()}: {name}")
    print(f"{sum(s == 'passed' for s in got.values())} of {len(known)} pass, {len(reasons)} exceptions, {wrong} surprises")
    return wrong > 0


def compare(a, b):
    x, y = results(a), results(b)
    differ = [n for n in sorted(set(x) | set(y)) if x.get(n, "absent") != y.get(n, "absent")]
    for name in differ:
        print(f"{x.get(name, 'absent')} -> {y.get(name, 'absent')}\t{name}")
    print(f"{len(set(x) | set(y)) - len(differ)} same, {len(differ)} differ")
    return len(differ) > 0


if __name__ == "__main__":
    verb = {"focus": focus, "write": write, "check": check, "compare": compare}.get(sys.argv[1] if len(sys.argv) > 1 else "")
    sys.exit(verb(*sys.argv[2:]) if verb else __doc__)
