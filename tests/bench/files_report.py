"""Tables of `files.py`: medians with their range, and what each "must" and "aim" of the plan comes to."""
import statistics
from files_lab import MIB

OURS = "hivenode"
PRECISION = 0.6  # MiB: what two whole transfers of one tool differ by on the wire; less than this counts as nothing


def of(records, case, **wanted):
    """Figures of a case by peer, in the order the peers first came."""
    peers = {}
    for record in records:
        if record["case"] == case and "figures" in record and all(record.get(k) == v for k, v in wanted.items()):
            peers.setdefault(record["peer"], []).append(record["figures"])
    return peers


def mid(rows, get):
    return statistics.median(get(r) for r in rows)


def spread(rows, get, form="{:.2f}"):
    values = sorted(get(r) for r in rows)
    middle = form.format(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({form.format(values[0])}–{form.format(values[-1])})"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(c) for c in row) + " |" for row in rows])


def wall(f):
    return f["wall"]


def cpu(f):
    return sum(f["cpu"].values())


def failures(records, case):
    seen = {(r["peer"], r.get("part", ""), r["error"]) for r in records if r["case"] == case and "error" in r}
    return [f"- {peer} {part}: {error}" for peer, part, error in sorted(seen)]


class Verdicts:
    """The must/aim/measured/ratio rows of one case. A row without our figure or the peer's says so."""

    def __init__(self):
        self.rows = []

    def against(self, what, ours, theirs, peer, must, aim, form="{:.2f} s"):
        """`must`: the largest ratio ours ÷ theirs that holds; None for an aim only."""
        if ours is None or theirs is None:
            self.rows.append((what, text_of(must, peer), text_of(aim, peer), "–", "", ""))
            return
        ratio = ours / theirs
        self.rows.append((what, text_of(must, peer), text_of(aim, peer), f"{form.format(ours)}, {peer} {form.format(theirs)}",
                          f"{ratio:.2f}", verdict(ratio, must, aim)))

    def absolute(self, what, ours, must, aim, form):
        if ours is None:
            self.rows.append((what, form.format(must), form.format(aim), "–", "", ""))
        else:
            self.rows.append((what, "≤ " + form.format(must), "≤ " + form.format(aim), form.format(ours), "", verdict(ours, must, aim)))

    def at_least(self, what, ours, must, aim, form):
        known = ours is not None
        passed = "" if not known else "aim" if aim is not None and ours >= aim else "yes" if must is not None and ours >= must else "NO"
        show = lambda v: "–" if v is None else "≥ " + form.format(v)
        self.rows.append((what, show(must), show(aim), form.format(ours) if known else "–", "", passed))

    def print(self):
        print("\n" + table(["what", "must", "aim", "measured", "ratio", "holds"], self.rows))


def text_of(limit, peer):
    return "–" if limit is None else f"≤ {limit:.3g} × {peer}"


def verdict(value, must, aim):
    if aim is not None and value <= aim:
        return "aim"
    if must is None:
        return "not the aim"
    return "yes" if value <= must else "NO"


def size_rows(peers, size, mbit):
    rows = []
    for name, runs in peers.items():
        ours = peers.get(OURS)
        rows.append([
            name, len(runs), spread(runs, wall), f"{size / 1e6 / mid(runs, wall):.0f}", spread(runs, lambda f: f["laps"]["add"]),
            f"{mid(runs, lambda f: f['cpu']['source']):.2f} / {mid(runs, lambda f: f['cpu']['sink']):.2f}",
            f"{mid(runs, lambda f: f['peak_mib']['source']):.0f} / {mid(runs, lambda f: f['peak_mib']['sink']):.0f}",
            f"{mid(runs, lambda f: f['wire']) / size * 100:.1f} %",
            *([f"{size * 8 / 1e6 / mid(runs, wall) / mbit * 100:.0f} %"] if mbit else []),
            f"{mid(ours, wall) / mid(runs, wall):.2f}" if ours else "–",
            f"{mid(ours, cpu) / mid(runs, cpu):.2f}" if ours else "–",
            f"{mid(runs, lambda f: f['others_cpu'] / f['wall'] * 100):.0f} %"])
    return table(["tool", "n", "wall s (range)", "MB/s", "of it hash/add s", "CPU s source / sink", "peak MiB source / sink", "wire bytes",
                  *(["of the line rate"] if mbit else []), "ours ÷ it, wall", "ours ÷ it, CPU", "CPU of others"], sorted(rows, key=lambda r: float(r[2].split()[0])))


def one_or_small(records, case, size, verdicts, mbit=None):
    peers = of(records, case)
    print(size_rows(peers, size, mbit))
    figures = {name: mid(runs, wall) for name, runs in peers.items()}
    rows = Verdicts()
    for what, peer, must, aim in verdicts:
        rows.against(what, figures.get(OURS), figures.get(peer), peer, must, aim)
    rows.print()


def fanout(records, size, many):
    single, peers = of(records, "fanout", part="1"), of(records, "fanout", part=str(many))
    rows = []
    for name, runs in peers.items():
        base = single.get(name)
        rows.append([name, len(runs), spread(runs, wall), f"{many * size / 1e6 / mid(runs, wall):.0f}",
                     f"{mid(runs, lambda f: f['seeder_out']) / size:.2f}",
                     f"{mid(runs, lambda f: f['seeder_cpu']):.2f}", f"{mid(base, lambda f: f['seeder_cpu']):.2f}" if base else "–",
                     f"{copies(runs, base):.2f}" if base else "–", f"{mid(runs, lambda f: f['sinks_cpu']):.2f}",
                     f"{mid(runs, lambda f: f['peak_mib']['source']):.0f}"])
    print(table(["tool", "n", "wall s of the last", "MB/s together", "seeder's bytes, copies", f"seeder's CPU s 1→{many}", "seeder's CPU s 1→1",
                 "seeder's CPU, copies", "receivers' CPU s", "seeder's peak MiB"], rows))
    ours, base = peers.get(OURS), single.get(OURS)
    rows = Verdicts()
    rows.absolute("seeder's bytes, copies", mid(ours, lambda f: f["seeder_out"]) / size if ours else None, 1.5, 1.1, "{:.2f}")
    rows.absolute("seeder's CPU, copies", copies(ours, base) if ours and base else None, 1.5, 1.1, "{:.2f}")
    rows.print()


def copies(runs, base):
    return mid(runs, lambda f: f["seeder_cpu"]) / mid(base, lambda f: f["seeder_cpu"])


def fanin(records, size, many, mbit):
    parts = {p: of(records, "fanin", part=p) for p in ("1", str(many), "shaped 1", "shaped")}
    rows = []
    for name, runs in parts[str(many)].items():
        single, one, shaped = parts["1"].get(name), parts["shaped 1"].get(name), parts["shaped"].get(name)
        shares = [statistics.median(f["shares"][i] for f in runs) for i in range(many)]
        rows.append([name, len(runs), spread(single, wall) if single else "–", spread(runs, wall), " ".join(f"{s * 100:.0f}" for s in shares) + " %",
                     f"{mid(runs, lambda f: f['wire']) / size * 100:.1f} %", spread(one, wall) if one else "–", spread(shaped, wall) if shaped else "–",
                     f"{mid(shaped, lambda f: f['line_rate']) * 100:.0f} %" if shaped else "–"])
    print(table(["tool", "n", "1→1 wall s", f"{many}→1 wall s", "share of each", "wire bytes", f"1→1 at {mbit:.0f} Mbit/s, s",
                 f"{many}→1, each source a quarter of it, s", "of the line rate"], rows))
    ours, single, shaped = (parts[p].get(OURS) for p in (str(many), "1", "shaped"))
    rows = Verdicts()
    rows.against(f"{many}→1 against 1→1", mid(ours, wall) if ours else None, mid(single, wall) if single else None, "1→1", 1.0, None)
    rows.at_least("smallest share", mid(ours, lambda f: min(f["shares"])) * 100 if ours else None, 15, None, "{:.0f} %")
    rows.at_least("line rate, quarters", mid(shaped, lambda f: f["line_rate"]) * 100 if shaped else None, None, 90, "{:.0f} %")
    rows.print()


def kill(records, size, segment):
    rows, ours = [], {}
    for percent in sorted({r["part"] for r in records if r["case"] == "kill" and "part" in r}):
        for name, runs in of(records, "kill", part=percent).items():
            again = mid(runs, lambda f: f["again"]) / MIB
            ours[percent] = again if name == OURS else ours.get(percent)
            rows.append([name, f"{percent} %", len(runs), f"{mid(runs, lambda f: f['at']) / MIB:.1f}", f"{mid(runs, lambda f: f['second']) / MIB:.1f}",
                         spread(runs, lambda f: f["again"] / MIB, "{:.1f}"), f"{again * MIB / size * 100:.1f} %", spread(runs, wall)])
    rows.sort(key=lambda r: r[0])
    print(table(["tool", "killed at", "n", "MiB arrived before", "MiB after", "MiB fetched again", "of the file", "s from start to end"], rows))
    rows = Verdicts()
    for percent, again in ours.items():
        rows.absolute(f"fetched again, killed at {percent} %", again, segment, PRECISION, "{:.1f} MiB")
    rows.print()


def delta(records, size):
    rows = []
    verdicts = Verdicts()
    for part, must, aim in (("in place", 6.0, 6.0), ("inserted", 8.0, 5.8)):
        aim = 6.0 if part == "in place" else aim
        peers = of(records, "delta", part=part)
        for name, runs in peers.items():
            rows.append([name, part, len(runs), spread(runs, lambda f: f["share"] * 100, "{:.2f}") + " %", spread(runs, wall), spread(runs, lambda f: f["laps"]["add"]),
                         f"{mid(runs, lambda f: f['cpu']['source']):.2f} / {mid(runs, lambda f: f['cpu']['sink']):.2f}"])
        ours = peers.get(OURS)
        verdicts.absolute(f"5 % {part}, share of the bytes", mid(ours, lambda f: f["share"]) * 100 if ours else None, must, aim, "{:.2f} %")
    print(table(["tool", "change", "n", "bytes fetched", "wall s", "of it hash/add s", "CPU s source / sink"], rows))
    verdicts.print()


def memory(records):
    rows, ours = [], None
    for name, runs in of(records, "memory").items():
        peaks = [mid(runs, lambda f: f["peak_mib"][side]) for side in ("source", "sink")]
        ours = max(peaks) if name == OURS else ours
        rows.append([name, spread(runs, wall), f"{peaks[0]:.0f} / {peaks[1]:.0f}",
                     " / ".join(f"{mid(runs, lambda f: f['anon_mib'][side]):.0f}" for side in ("source", "sink")),
                     " / ".join(f"{mid(runs, lambda f: f['idle_mib'][side]):.0f}" for side in ("source", "sink")),
                     f"{mid(runs, lambda f: f['wire']) / MIB:.0f}", f"{mid(runs, lambda f: f['on_disk_mib']):.0f}"])
    print(table(["tool", "wall s", "peak MiB source / sink", "anonymous", "before it began", "wire MiB", "MiB on the receiver's disk"], rows))
    verdicts = Verdicts()
    verdicts.absolute("peak of the larger side", ours, 64, 32, "{:.0f} MiB")
    verdicts.print()
