#!/usr/bin/env python3
"""How many hops a message makes for a number of neighbours: reckoned, so that no machine's load is in it.

The graph of `swarmlab gossip` (each node connected to five earlier ones), meshes formed by gossipsub's heartbeat, hops
of equal length, the first one to everybody its author is connected to. Prints means over 60 graphs of 100 messages:
hops at the median and at the 99th percentile, the share of deliveries that took more than four, copies heard.
"""
import random

NODES, DIALS, GRAPHS, MESSAGES, BEATS = 200, 5, 60, 100, 12
PRUNED = 60  # heartbeats a pruned neighbour is not asked again


def formed(dice, want, low, high, outbound):
    """Connections and meshes."""
    linked = [set() for _ in range(NODES)]
    dialed = [set() for _ in range(NODES)]
    for a in range(1, NODES):
        for b in dice.sample(range(a), min(a, DIALS)):
            linked[a].add(b)
            linked[b].add(a)
            dialed[a].add(b)
    mesh = [set() for _ in range(NODES)]
    barred = {}
    order = list(range(NODES))
    for beat in range(BEATS):
        dice.shuffle(order)
        for a in order:
            own = mesh[a]

            def some(count, among):
                free = [p for p in sorted(among) if p not in own and barred.get((a, p), -1) < beat]
                dice.shuffle(free)
                return free[:count]

            def part(p):
                own.discard(p)
                mesh[p].discard(a)
                barred[a, p] = barred[p, a] = beat + PRUNED

            asked = []
            if len(own) < low:
                asked += some(want - len(own), linked[a])
                own.update(asked)
            if len(own) >= high:
                too_many = sorted(own)
                dice.shuffle(too_many)
                kept = len(own & dialed[a])
                for p in too_many:
                    if len(own) == want:
                        break
                    if p in dialed[a]:
                        if kept <= outbound:
                            continue
                        kept -= 1
                    part(p)
            missing = outbound - len(own & dialed[a])
            if len(own) >= low and missing > 0:
                more = some(missing, dialed[a])
                own.update(more)
                asked += more
            for p in asked:
                # Who is full takes only those it has dialed itself.
                if len(mesh[p]) >= high and a not in dialed[p]:
                    part(p)
                else:
                    mesh[p].add(a)
    return linked, mesh


def spread(dice, linked, mesh):
    """Hops of every delivery of some messages, and copies each node heard."""
    hops, copies = [], 0
    for _ in range(MESSAGES):
        author = dice.randrange(NODES)
        far = {author: 0} | {p: 1 for p in linked[author]}
        bearer = {p: author for p in linked[author]}
        wave = list(bearer)
        copies += len(wave)
        while wave:
            following = []
            for a in wave:
                for p in mesh[a] - {bearer[a]}:
                    copies += 1
                    if p not in far:
                        far[p], bearer[p] = far[a] + 1, a
                        following.append(p)
            wave = following
        hops += [h for p, h in far.items() if p != author]
    return sorted(hops), copies / MESSAGES / (NODES - 1)


def main():
    print("neighbours  p50   p99   over 4  copies")
    for want in (3, 4, 5, 6, 7, 8):
        sums = [0.0] * 4
        for graph in range(GRAPHS):
            dice = random.Random(graph)
            hops, copies = spread(dice, *formed(dice, want, want - 1, want + 2, want // 2))
            over = sum(h > 4 for h in hops) / len(hops)
            found = (hops[len(hops) // 2], hops[int(len(hops) * 0.99)], over * 100, copies)
            sums = [s + f for s, f in zip(sums, found)]
        p50, p99, over, copies = (s / GRAPHS for s in sums)
        print(f"{want:10}  {p50:.2f}  {p99:.2f}  {over:5.2f}%  {copies:.2f}")


if __name__ == "__main__":
    main()
