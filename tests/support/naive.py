"""Leaves, root and slot digest of a machine as the pages define them, in the plainest way."""

from fractions import Fraction
from itertools import groupby

from tiny_keccak import keccak256

EMPTY = keccak256(b"")


def be(value, size):
    return value.to_bytes(size, "big", signed=value < 0)


def naive_tree(leaves, tag):
    """As RFC 6962 has it."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else EMPTY
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return keccak256(tag + naive_tree(leaves[:half], tag) + naive_tree(leaves[half:], tag))


def leaves_of(machine):
    """Bytes of every leaf by (tag, key), from the pages that define them."""
    out = {}
    for a in machine.accounts:
        leaf = b"\x10\x02" + be(a.index, 4) + a.owner + be(a.subaccount, 2) + be(a.generation, 8) + be(0, 2)
        only = be(a.subaccount - 0x8000, 2) if a.subaccount >= 0x8000 else b"\xff\xff"
        leaf += be(a.collateral, 8) + b"\0" + only + be(a.flags, 4) + be(len(a.positions), 1)
        for n, p in sorted(a.positions.items()):
            leaf += be(n, 2) + be(p.size, 8) + be(p.entry, 16) + be(p.funding, 16)
        out[0x10, a.index] = leaf
        leaf = b"\x12\x02" + be(a.index, 4) + be(a.transfers, 4) + be(a.timer, 8) + be(a.step, 4)
        signers = [(a.owner + bytes(8 + 8 + 4), a.nonces)] if a.index else []
        for agent in a.agents.values():
            terms = be(agent.expiry, 8) + be(agent.appointed, 8) + be(agent.max_life, 4)
            signers.append((agent.address + terms, agent.nonces))
        leaf += be(len(signers), 1)
        for who, nonces in signers:
            leaf += who + be(nonces.floor, 6) + be(len(nonces.used), 1)
            leaf += b"".join(be(n, 6) for n in nonces.used)
        out[0x12, a.index] = leaf
    for o in machine.orders.values():
        leaf = b"\x50\x02" + be(o.instrument, 2) + be(o.side, 1) + be(o.price, 4) + be(o.queue, 8)
        leaf += be(o.handle, 4) + be(o.account.index, 4) + be(o.client_id, 8) + be(o.remaining, 4)
        out[0x50, o.handle] = leaf + be(o.self_trade | o.reduce_only << 2, 1)
    for n, m in machine.markets.items():
        t = m.terms
        leaf = b"\x62\x02" + be(n, 2) + be(t.kind, 1) + be(t.underlying, 2) + bytes(2) + be(m.status, 1)
        leaf += be(t.expiry, 8) + bytes(8)
        leaf += be(t.first, 4) + be(t.count, 4)
        leaf += be(t.base, 4) + be(m.mark, 8) + be(m.mark_time, 8) + be(m.last_trade, 8)
        leaf += be(m.basis, 16) + be(m.trade_time, 8)
        impact, funding = m.impact, m.funding
        leaf += be(impact.time, 8) + be(impact.value or 0, 8) + be(impact.total, 16) + be(impact.elapsed, 8)
        premium = funding.premium
        leaf += be(premium.time, 8) + be(premium.value or 0, 8) + be(funding.until, 8)
        leaf += be(premium.total, 16) + be(premium.elapsed, 8)
        leaf += be(funding.begun, 8) + be(funding.index, 8) + be(funding.cumulative, 16)
        if s := m.settlement:
            a = s.average
            leaf += be(a.total, 16) + be(a.time, 8) + be(a.elapsed, 8) + be(s.heard, 8)
            leaf += be(a.value or 0, 8) + be(s.last, 8)
        else:
            leaf += bytes(16 + 5 * 8)
        leaf += 8 * bytes(20) + be(m.open_interest, 8)
        leaf += b"\2" + be(m.dust, 16) + be(m.funding_dust, 16)
        out[0x62, n] = leaf
    for n, f in machine.feeds.items():
        leaf = b"\x63\x02" + be(n, 2) + be(f.index, 8) + be(f.time, 8) + be(f.counted, 1)
        leaf += bytes(16 + 8 + 4 + 8 + 32 + 8)
        said = [o for o in f.observed if o]
        leaf += be(len(said), 1)
        for o in said:
            leaf += be(o.publisher, 1) + be(o.value, 8) + be(o.time, 8) + be(o.number, 8) + bytes(32)
        out[0x63, n] = leaf
    for owner, tag in machine._ledger.tags.items():
        leaf = b"\x64\x02" + be(tag.number, 2) + owner + 5 * b"\xff" * 8 + b"\0" + b"\xff" * 8
        out[0x64, tag.number] = leaf + bytes(4 + 8 + 8 + 4)
    for place, s in machine._ledger.strategies.items():
        leaf = b"\x65\x02" + be(place, 4) + be(s.account.index, 4) + be(s.account.generation, 8)
        leaf += be(s.client_id, 8) + be(s.kind, 1) + be(s.instrument, 2) + be(s.side, 1) + be(s.trigger, 1)
        leaf += b"".join(
            be(v, 4) for v in (s.trigger_price, s.limit_price, s.offset_ppm, s.quantity, s.every)
        )
        leaf += b"".join(be(v, 8) for v in (s.low, s.high, s.until, s.queue, s.next, s.done, s.best))
        out[0x65, place] = leaf + be(s.fired, 1)
    for index, until in machine._ledger.waiting.items():
        out[0x66, index] = b"\x66\x02\x02" + be(index, 4) + be(until, 8)
    if machine.rules:
        told = keccak256(b"\xa3\5" + machine.rules.encode())
        leaf = b"\x67\x02" + be(machine.rules.number, 4) + be(machine._ledger.rules_from, 8)
        out[0x67, 0] = leaf + told
    return out


def naive_root(machine):
    leaves = {key: keccak256(leaf) for key, leaf in leaves_of(machine).items()}
    by_tag = {
        tag: [leaves[key] for key in keys]
        for tag, keys in groupby(sorted(key for key in leaves if key[0] != 0x50), key=lambda key: key[0])
    }
    best = sorted(
        machine.orders.values(),
        key=lambda o: (o.instrument, o.side, o.price if o.side else -o.price, o.queue),
    )
    m = machine
    venue = b"\x60\x02" + m.config.rules_hash()
    for v in (m.next_slot, m.time, m.last_seq, m.batch, m._next_withdrawal, m.deposit_index):
        venue += be(v, 8)
    parts = [Fraction(x.dust, x.terms.denominator) for x in m.markets.values()]
    parts += [Fraction(x.funding_dust, x.terms.denominator << 28) for x in m.markets.values()]
    dust = int(sum(parts))
    venue += m.deposit_accumulator + be(m.request_index, 8) + m.request_accumulator
    venue += b"".join(be(v, 16) for v in (m.deposited, m.withdrawn, m.fees, m.insurance, dust))
    venue += naive_tree(by_tag[0x12], b"\x13")
    for tag in (0x62, 0x63, 0x64, 0x65, 0x66, 0x67):
        section = by_tag.get(tag, [])
        venue += be(len(section), 4) + naive_tree(section, b"\x6f")
    orders = naive_tree([leaves[0x50, o.handle] for o in best], b"\x51")
    return keccak256(b"\x70" + naive_tree(by_tag[0x10], b"\x11") + orders + keccak256(venue))


def naive_digest(before, machine, slot, previous):
    """Behind ``slot``, from all leaves before it and after it."""
    after = leaves_of(machine)
    changed = {key: leaf for key, leaf in after.items() if before.get(key) != leaf}
    for key in before.keys() - after.keys():
        changed[key] = None  # an order that ended, a tag that came free, an index that waits no more
    hashes = []
    for key in sorted(changed):
        leaf = changed[key]
        if leaf is None:
            old = before[key]
            ends = {
                0x50: old[:-5] + bytes(4) + old[-1:],
                0x64: old[:4] + bytes(20) + old[24:],
                0x65: old[:6] + bytes(len(old) - 6),
            }
            leaf = ends.get(key[0], old[:-8] + bytes(8))
        hashes.append(keccak256(leaf))
    return keccak256(b"\x71" + previous + be(slot, 8) + b"".join(hashes)), len(hashes)
