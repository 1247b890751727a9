"""The cases of `files.py`: what is moved where, and what is read off. Each gives a dictionary of figures or raises."""
import os, random, shutil, threading, time
from pathlib import Path

from files_lab import MIB, Failed, Lab, Meter, random_file, random_folder, same, sh


class Data:
    """Sources, made once a run and shared by all trials, which only read them."""

    def __init__(self, base):
        self.dir = Path(base) / f"hb-data-{os.getpid()}"
        self.dir.mkdir()

    def file(self, size):
        path = self.dir / f"{size // MIB}m.bin"
        if not path.exists():
            random_file(path, size)
        return path

    def folder(self, files, size):
        path = self.dir / f"{files}x{size // 1024}k"
        if not path.exists():
            random_folder(path, files, size)
        return path

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def ready(peer, lab, sources=1):
    """Daemons up and joined on all nodes of a lab; the first `sources` of them send."""
    for i, node in enumerate(lab.nodes):
        peer.start(node, "source" if i < sources else "sink")
    peer.connect(lab.nodes)
    for node in lab.nodes:
        (node.dir / "got").mkdir(exist_ok=True)


def place(peer, node, path):
    if hasattr(peer, "place"):
        peer.place(node, path)


def result(peer, node, name):
    return peer.where(node, node.dir / "got", name) if hasattr(peer, "where") else node.dir / "got" / name


def check(peer, node, path):
    if not same(path, result(peer, node, path.name)):
        raise Failed("what arrived is not what was sent")


def extra(peer, lab):
    """What a peer itself says of its transfer, when it says something."""
    return peer.own_figures(lab) if hasattr(peer, "own_figures") else {}


def one_to_one(peer, base, path, loop=True, mbit=None):
    """Offered and fetched once, nothing known before. Bytes: all that passed, both directions, headers included."""
    lab = Lab(base, ["source", "sink"], loop=loop, mbit=mbit)
    try:
        ready(peer, lab)
        source, sink = lab.nodes
        place(peer, source, path)
        with Meter(lab.nodes) as meter:
            offer = peer.offer(source, path)
            meter.lap("add")
            peer.fetch(sink, [offer], sink.dir / "got", path.name)
        figures = meter.figures() | extra(peer, lab)
        check(peer, sink, path)
        return figures | dict(wire=sum(figures["net"]["sink"]) / (2 if loop else 1))
    finally:
        lab.close()


def all_at_once(calls):
    """Runs each in a thread; the first failure is raised once all have ended."""
    failures = []

    def guarded(call):
        try:
            call()
        except Exception as error:  # told below, in the thread that waits
            failures.append(error)
    threads = [threading.Thread(target=guarded, args=(c,)) for c in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def one_to_many(peer, base, path, many):
    """The seeder's bytes out and CPU, in units of what one receiver costs it over the same kind of link."""
    lab = Lab(base, ["source"] + [f"sink{i}" for i in range(many)])
    try:
        ready(peer, lab)
        source, *sinks = lab.nodes
        place(peer, source, path)
        with Meter(lab.nodes) as meter:
            offer = peer.offer(source, path)
            meter.lap("add")
            added = source.cpu()
            all_at_once([lambda n=n: peer.fetch(n, [offer], n.dir / "got", path.name) for n in sinks])
        figures = meter.figures() | extra(peer, lab)
        for sink in sinks:
            check(peer, sink, path)
        add_cpu = added - meter.cpu0["source"]
        return figures | dict(seeder_cpu=figures["cpu"]["source"], serve_cpu=figures["cpu"]["source"] - add_cpu,
                              seeder_out=figures["net"]["source"][1], sinks_cpu=sum(figures["cpu"][n.name] for n in sinks))
    finally:
        lab.close()


def many_to_one(peer, base, path, many, mbit=None):
    """`many` sources that all have the thing before the clock runs; with `mbit`, each source's link has a quarter of it
    and the receiver's all. The share of each source is what left its interface."""
    lab = Lab(base, [f"source{i}" for i in range(many)] + ["sink"])
    try:
        ready(peer, lab, sources=many)
        *sources, sink = lab.nodes
        if hasattr(peer, "hold"):
            peer.hold(sink)
        for source in sources:
            place(peer, source, path)
        offers = []
        for source in sources:
            like = {"like": offers[0]} if offers and hasattr(peer, "which") else {}
            offers.append(peer.offer(source, path, **like))
        if mbit:
            for i in range(many):
                lab.shape(i, mbit / many)
            lab.shape(many, mbit)
        with Meter(lab.nodes) as meter:
            peer.fetch(sink, offers, sink.dir / "got", path.name)
        figures = meter.figures() | extra(peer, lab)
        check(peer, sink, path)
        out = [figures["net"][s.name][1] for s in sources]
        rate = path.stat().st_size * 8 / 1e6 / meter.wall  # Mbit/s of the thing itself
        return figures | dict(shares=[o / sum(out) for o in out], wire=sum(out), line_rate=rate / mbit if mbit else None)
    finally:
        lab.close()


def killed(peer, base, path, percent, whole, mbit):
    """The receiver gets kill -9 when `percent` of what a whole transfer takes (`whole` bytes at its interface) has
    arrived, is started again and ends its work. `again`: bytes that arrived beyond those of a whole transfer."""
    lab = Lab(base, ["source", "sink"], mbit=mbit)
    try:
        ready(peer, lab)
        source, sink = lab.nodes
        place(peer, source, path)
        offer = peer.offer(source, path)
        before = sink.traffic()[0]

        def first():
            try:
                peer.fetch(sink, [offer], sink.dir / "got", path.name, how="killed later")
            except (Failed, OSError, ValueError):
                pass  # it was killed: that is the case
        thread = threading.Thread(target=first)
        thread.start()
        end = time.time() + 300
        while thread.is_alive() and sink.traffic()[0] - before < whole * percent / 100 and time.time() < end:
            time.sleep(0.0005)
        ended = not thread.is_alive()
        at = sink.traffic()[0] - before
        sink.kill()
        thread.join()
        if ended:
            raise Failed("had ended before it could be killed")
        with Meter(lab.nodes) as meter:
            peer.start(sink, "sink")
            peer.fetch(sink, [offer], sink.dir / "got", path.name, how="resume")
        figures = meter.figures() | extra(peer, lab)
        check(peer, sink, path)
        second = figures["net"]["sink"][0]
        return figures | dict(percent=percent, at=at, second=second, again=at + second - whole)
    finally:
        lab.close()


def whole_transfer(peer, base, path, mbit):
    """Bytes at the receiver's interface for one undisturbed transfer over the link of `killed`."""
    return one_to_one(peer, base, path, loop=False, mbit=mbit)["net"]["sink"][0]


def changed_in_place(path, target, share=0.05, extents=16):
    """A copy with `share` of its bytes new, in `extents` runs spread evenly at unaligned places."""
    shutil.copyfile(path, target)
    size = path.stat().st_size
    dice = random.Random(7)
    with open(target, "r+b") as f:
        for i in range(extents):
            length = int(size * share / extents)
            f.seek(size // extents * i + dice.randrange(size // extents - length))
            f.write(os.urandom(length))


def inserted_in_front(path, target, share=0.05):
    with open(target, "wb") as out, open(path, "rb") as old:
        out.write(os.urandom(int(path.stat().st_size * share) + 13))
        shutil.copyfileobj(old, out, 4 * MIB)


def second_version(peer, base, path, change):
    """The receiver has the first version, brought to it by the same peer. Bytes: all that passed for the second."""
    lab = Lab(base, ["source", "sink"], loop=True)
    try:
        ready(peer, lab)
        source, sink = lab.nodes
        mine = source.dir / "data" / path.name
        mine.parent.mkdir()
        os.link(path, mine)
        place(peer, source, mine)
        peer.fetch(sink, [peer.offer(source, mine)], sink.dir / "got", path.name)
        check(peer, sink, path)
        time.sleep(1.1)  # paced: programs that look at whole seconds of mtime must see another one
        new = mine.with_suffix(".new")
        change(path, new)
        new.replace(mine)
        place(peer, source, mine)
        with Meter(lab.nodes) as meter:
            offer = peer.offer(source, mine)
            meter.lap("add")
            peer.fetch(sink, [offer], sink.dir / "got", path.name, how="delta")
        figures = meter.figures() | extra(peer, lab)
        check(peer, sink, mine)
        return figures | dict(wire=figures["net"]["sink"][0], share=figures["net"]["sink"][0] / mine.stat().st_size)
    finally:
        lab.close()


def sparse_file(path, size, data):
    """`data` bytes of noise in runs of 4 MiB, spread evenly; holes between."""
    with open(path, "wb") as f:
        f.truncate(size)
        runs = max(1, data // (4 * MIB))
        for i in range(runs):
            f.seek(size // runs * i // 4096 * 4096)
            f.write(os.urandom(4 * MIB))


def memory(peer, disk, size, data):
    """Peak memory of each side while a sparse file of `size` bytes passes, `data` of them noise."""
    free = shutil.disk_usage(disk).free
    if free < 12 * 2**30:
        raise Failed("less than 12 GiB of disk are free")
    lab = Lab(disk, ["source", "sink"], loop=True)
    try:
        path = lab.nodes[0].dir / "sparse.bin"
        sparse_file(path, size, data)
        ready(peer, lab)
        source, sink = lab.nodes
        idle = {n.name: n.memory()[0] / MIB for n in lab.nodes}
        place(peer, source, path)
        stop = threading.Event()

        def guard():
            while not stop.wait(0.5):
                if shutil.disk_usage(disk).free < 8 * 2**30:
                    sink.kill()
        threading.Thread(target=guard, daemon=True).start()
        try:
            with Meter(lab.nodes) as meter:
                offer = peer.offer(source, path)
                meter.lap("add")
                peer.fetch(sink, [offer], sink.dir / "got", path.name, how="sparse")
        finally:
            stop.set()
        figures = meter.figures() | extra(peer, lab)
        got = result(peer, sink, path.name)
        blocks = got.stat().st_blocks * 512
        sh("cmp", "-s", path, got)
        return figures | dict(idle_mib=idle, wire=figures["net"]["sink"][0], on_disk_mib=blocks / MIB)
    finally:
        lab.close()
