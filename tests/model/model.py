#!/usr/bin/env python3
"""An executable model of FORMAT.md and its rules of durability: the log on disk, its recovery, and a disk that cheats.

It is small enough to read beside the prose, and it searches: every short history of operations, a power
cut after every single call to the disk, every legal content of the disk after that cut (or a sample, where
there are too many), one rotten sector on top if asked, and a recovery that is itself cut off.

    model.py --depth 3                     all histories of up to 3 operations
    model.py --random 500 --length 8       longer ones, at random, made shorter when one fails
    model.py --rot                         plus one rotten sector: zeroed, flipped, or one bit of a head
    model.py --reuse                       files of trimmed segments are written again; begins in one that is
    model.py --nested                      plus kill -9 at every call, and a cut at each step inside recovery
    model.py --history esipses             one history, every crash state on its way (model.py --list: the letters)
    model.py --without RULE                one rule removed (--list names them)
    model.py --emit                        histories on stdin; what a recovery gives after each operation
    model.py --controls                    removes each rule in turn: each must yield a counter-example

RULES are in the documents. REPAIRS were found by this model: --without one of them is the text as it stood.

Layers, as in the documents: Ino and Disk (what may be there after a cut) - codec (batch <-> bytes, pure) -
View (what a log means) - read, verdict, recover (pure until the commit point) - Log (write, sync, rotate) -
Ledger (what the caller was told, kept apart from the log so that it can judge it) - search.

Left out, because it decides nothing here: index files, Refill, OnDamage::Faulty and the rebuilding of a rotten
State (the model refuses, which is always allowed), codecs, groups, read-only handing out on a full disk.
"""
import argparse, copy, itertools, multiprocessing, random, struct, sys, time, zlib

SECTOR, PAGE, HEAD, BODY0, SIZE = 512, 4096, 40, 8192, 12 * 4096
MAGIC = 0x4C474F48

RULES = {  # rule: (what stands when it is removed, operations that show it, depth, needs rot)
    'proven-end':      ('P is X, whatever was proven; nothing is written again', 'ek', 3, False),
    'rewrite':         ('batches from P to X are read, but not written again', 'ek', 3, False),
    'state-at-p':      ('State holds memory, not what held at P', 'esk', 3, False),
    'page-rule':       ('P is the watermark, though its page may be harmed by a failed writeback', 'esf', 4, False),
    'failed-sync':     ('after a failed fdatasync the same file is synced again and believed', 'esf', 3, False),
    'dir-sync':        ('a rename is relied on without a directory sync', 'esrv', 3, False),
    'stop-at-rename':  ('the old segment is written on after a rename that failed', 'eswv', 4, False),
    'row3-durable':    ('row 3 asks only for something valid after X, not for durable >= s', 'ebgs', 3, False),
    'row4-all-zero':   ('row 4 asks only for a zero head at X', 'abs', 3, True),
    'row4-promise':    ('row 4 also fits directly after State or a batch that changes a promise', 'esv', 4, True),
    'vote-marker':     ('no marker is written after a batch that changes a promise', 'avs', 3, True),
    'marker-page':     ('a marker begins right after the zero head, not at a page', 'vs', 3, True),
    'marker-gap':      ('a marker begins at the next page, even over the zero head', 'gise', 5, False),
    'marker-sequence': ('a marker consumes a sequence', 'eik', 4, False),
    'promise-beyond':  ('promises are taken from before X only', 'avs', 3, True),
    'marker-proof':    ('an un-synced marker counts as proven when the batch before it is', '=esiiek', 6, False),
    'born-end':        ('the header states no born_end', 'esk', 3, True),
    'trim-synced':     ('files are unlinked before the trim is synced', 'ersT', 5, False),
    'trim-marker':     ('files are unlinked before a synced marker states the trim durable', 'ersT', 5, True),
    'skip-empty-only': ('step 7 skips a segment with batches written again between State and marker', 'esk', 4, False),
}
REUSE = {  # the same of files that are used again; the histories begin in such a file
    'reuse-name':      ('a file is written over before the loss of its old name is durable', '=eTr', 3, False),
    'reuse-link':      ('a file that has a second name is reused', '=rehTrrrrr', 10, False),
    'reuse-reader':    ('a file that somebody reads is reused', '=reHTrrrrr', 10, False),
    'reuse-zero-head': ('what was written at the birth of a reused file leaves old bytes between', '=bbbbbreTrbbbbbf', 15, False),
    'reuse-tail':      ('no zero head is put behind a batch', '=bbbbbies', 9, False),
}
REPAIRS = {  # found by this model; without them it is the documents as they stood
    'open-dir-sync':    ('open relies on names it found, though they may be in the page cache only', 'eGk', 4, False),
    'lost-from-commit': ('maybe_lost comes from the sections of the head at X, where that is valid', 'ebus', 4, True),
    'row2-markers':     ('a marker missing before P refuses, though one in the last segment does not', '=esipses', 7, True),
    'lost-in-window':   ('maybe_lost may lie below the window, where a TrimBefore written again clears it', 'elb', 4, False),
    'residue-wide':     ('the residue is one batch, wholly in one sector', 'esz', 4, True),
}
OFF = set()


def on(rule):
    return rule not in OFF


# --------------------------------------------------------------------------- the disk

class Ino:
    """A file: what the page cache holds (live), what the platter holds (dur), and, for each sector written
    since the last good sync, every content that a power cut may leave there (pend; the first is the old one)."""

    def __init__(self, data=None):
        self.live = bytearray(data if data is not None else SIZE)
        self.dur = bytearray(self.live)
        self.pend, self.clean, self.harm, self.hurt = {}, set(), set(), False

    def write(self, off, data):
        assert off + len(data) <= len(self.live), 'segment overrun'
        self.live[off:off + len(data)] = data
        for k in range(off // SECTOR, (off + len(data) - 1) // SECTOR + 1):
            now = bytes(self.live[k * SECTOR:(k + 1) * SECTOR])
            old = self.pend.get(k) or [bytes(self.dur[k * SECTOR:(k + 1) * SECTOR])]
            if old[-1] != now:
                self.pend[k] = old + [now]
            self.clean.discard(k * SECTOR // PAGE)          # written again, so dirty again

    def sync(self):
        for k in [k for k in self.pend if k * SECTOR // PAGE not in self.clean]:
            self.dur[k * SECTOR:(k + 1) * SECTOR] = self.live[k * SECTOR:(k + 1) * SECTOR]
            del self.pend[k]

    def fail_sync(self):
        """Nothing is known to have reached the disk, the kernel marks the pages clean, and any sector of
        those pages may be unreadable from now on (FORMAT.md: a failed writeback may have harmed that page)."""
        pages = {k * SECTOR // PAGE for k in self.pend}
        self.clean |= pages
        self.harm |= {p * PAGE // SECTOR + i for p in pages for i in range(PAGE // SECTOR)}
        self.hurt = True


class Disk:
    """Files by name. Names change in memory at once; after a cut each change since the last directory sync
    may be there or not, in any combination (strict) or as a prefix (journal). `step` is called after each
    call: the places where a power cut can fall."""

    def __init__(self, journal=False):
        self.names, self.dur_names, self.changes = {}, {}, []
        self.journal, self.step = journal, None

    def _did(self):
        if self.step:
            self.step()

    def write(self, ino, off, data):
        ino.write(off, data); self._did()

    def sync(self, ino):
        ino.sync(); self._did()

    def fail_sync(self, ino):
        ino.fail_sync(); self._did()

    def rename(self, name, ino):
        self.names[name] = ino; self.changes.append((name, ino)); self._did()

    def unlink(self, name):
        self.names.pop(name, None); self.changes.append((name, None)); self._did()

    def dir_sync(self):
        self.dur_names, self.changes = dict(self.names), []; self._did()

    def images(self, limit, rng):
        """Every (or a sample of `limit`) content after a power cut: ({name: (ino, bytes)}, harmed (name, ino, sector))."""
        n = len(self.changes)
        kept = ([[i < j for i in range(n)] for j in range(n + 1)] if self.journal
                else itertools.product((False, True), repeat=n))
        for mask in kept:
            names = dict(self.dur_names)
            for there, (name, ino) in zip(mask, self.changes):
                if there:
                    names[name] = ino
                    if ino is None:
                        del names[name]
            slots = [(name, k, v) for name, ino in names.items() for k, v in sorted(ino.pend.items())]
            total = 1
            for *_, v in slots:
                total *= len(v)
            if total <= limit:
                picks = itertools.product(*[range(len(v)) for *_, v in slots])
            else:
                old, new = [0] * len(slots), [len(v) - 1 for *_, v in slots]
                picks = [old, new] + [new[:i] + [0] + new[i + 1:] for i in range(len(slots))]
                picks += [old[:i] + [new[i]] + old[i + 1:] for i in range(len(slots))]
                rng.shuffle(picks)
                picks = picks[:limit // 2]
                picks += [[rng.randrange(len(v)) for *_, v in slots] for _ in range(limit - len(picks))]
            base = {name: (ino, bytes(ino.dur)) for name, ino in names.items()}
            for pick in picks:
                patch = {}
                for c, (name, k, v) in zip(pick, slots):
                    if c:
                        patch.setdefault(name, bytearray(base[name][1]))[k * SECTOR:(k + 1) * SECTOR] = v[c]
                yield {f: (i, bytes(patch.get(f, d))) for f, (i, d) in base.items()}, None
            for name, ino in names.items():
                for k in ino.harm:
                    bad = bytearray(base[name][1])
                    bad[k * SECTOR:(k + 1) * SECTOR] = b'\xee' * SECTOR
                    yield {**base, name: (ino, bytes(bad))}, (name, ino, k)

    @staticmethod
    def of(image):
        disk = Disk()
        disk.names = {name: Ino(data) for name, (_, data) in image.items()}
        disk.dur_names = dict(disk.names)
        return disk


# --------------------------------------------------------------------------- the codec

def pad8(n):
    return (n + 7) // 8 * 8


def marker_at(e):
    """Where a marker begins after a batch that ends at e. Writer and reader both ask here."""
    if not on('marker-page'):
        return e + HEAD
    if e % PAGE == 0 or not on('marker-gap'):
        return (e + PAGE - 1) // PAGE * PAGE
    return (e + HEAD + PAGE - 1) // PAGE * PAGE


KINDS = ['entries', 'hard', 'meta', 'truncate', 'trim', 'reset', 'mark', 'state']


def magic_at(salt, off):
    """The first word of a batch: nobody who does not know the salt can make bytes that look like a head, so
    the search for heads computes no CRC over a payload that was made to cost it time."""
    return MAGIC ^ ((salt ^ off) * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 32


def encode_section(sec):
    kind, args = sec[0], sec[1:]
    body = b''
    if kind == 'entries':
        first, term, payloads = args
        head, at = struct.pack('<5Q', first, term, 0, len(payloads), 0), 0
        for p in payloads:
            at += len(p)
            head += struct.pack('<II', at, zlib.crc32(p))
        body = b''.join(payloads)
    elif kind == 'meta':
        key, cls, value = args
        head, body = struct.pack('<2QII', key, cls, zlib.crc32(value), len(value)), value
    elif kind == 'state':
        head = struct.pack('<11q', *args[0]) + b''.join(struct.pack('<3Q', *m) for m in args[1])
    else:
        head = struct.pack(f'<{len(args)}Q', *args)
    return struct.pack('<HHIII', KINDS.index(kind), 0, len(head), 0, 0) + head, body


def encode(salt, off, seq, durable, marker, secs):
    pairs = [encode_section(s) for s in secs]
    heads, body = b''.join(p[0] for p in pairs), b''.join(p[1] for p in pairs)
    rest = struct.pack('<IIQQQ', len(heads), len(body), seq, durable, int(marker)) + heads
    crc = zlib.crc32(rest, zlib.crc32(struct.pack('<QQ', salt, off)))
    out = struct.pack('<II', magic_at(salt, off), crc) + rest + body
    return out + bytes(pad8(len(out)) - len(out))


class Batch:
    __slots__ = 'off end seq durable marker secs ok'.split()


def decode(data, off, salt):
    """The batch at `off`, or None if its head is not valid. `ok`: its bodies are valid too."""
    if off + HEAD > len(data) or struct.unpack_from('<I', data, off)[0] != magic_at(salt, off):
        return None
    _, crc, hlen, blen, seq, durable, flags = struct.unpack_from('<IIIIQQQ', data, off)
    if off + HEAD + hlen + blen > len(data):
        return None
    if crc != zlib.crc32(data[off + 8:off + HEAD + hlen], zlib.crc32(struct.pack('<QQ', salt, off))):
        return None
    b = Batch()
    b.off, b.end, b.seq, b.durable, b.marker = off, off + pad8(HEAD + hlen + blen), seq, durable, bool(flags & 1)
    b.secs, b.ok, at, body = [], True, off + HEAD, off + HEAD + hlen
    while at < off + HEAD + hlen:
        kind, _, n, _, _ = struct.unpack_from('<HHIII', data, at)
        at, kind = at + 16, KINDS[kind]
        if kind == 'entries':
            first, term, _, count, _ = struct.unpack_from('<5Q', data, at)
            payloads, start = [], 0
            for i in range(count):
                stop, c = struct.unpack_from('<II', data, at + 40 + 8 * i)
                payloads.append(bytes(data[body + start:body + stop]))
                b.ok &= zlib.crc32(payloads[-1]) == c
                start = stop
            body += start
            b.secs.append((kind, first, term, payloads))
        elif kind == 'meta':
            key, cls, c, length = struct.unpack_from('<2QII', data, at)
            value = bytes(data[body:body + length])
            b.ok &= zlib.crc32(value) == c
            body += length
            b.secs.append((kind, key, cls, value))
        elif kind == 'state':
            slots = [struct.unpack_from('<3Q', data, at + 88 + 24 * i) for i in range((n - 88) // 24)]
            b.secs.append((kind, struct.unpack_from('<11q', data, at), slots))
        else:
            b.secs.append((kind,) + struct.unpack_from(f'<{n // 8}Q', data, at))
        at += n
    state = bool(b.secs) and b.secs[0][0] == 'state'
    if b.durable > b.seq or (b.durable == b.seq and not (b.marker or state)):
        return None
    return b


def encode_header(h):
    out = struct.pack('<IQQ4QQ', MAGIC, h['id'], h['salt'], *(h['pred'] or (0, 0, 0, 0)), h['born'])
    return out + struct.pack('<I', zlib.crc32(out))


def decode_header(data):
    """Two copies; either serves, two valid ones are equal, both bad is corruption (None)."""
    for at in (0, PAGE):
        raw = data[at:at + 60]
        magic, sid, salt, *pred, born = struct.unpack('<IQQ4QQ', raw)
        if magic == MAGIC and struct.unpack_from('<I', data, at + 60)[0] == zlib.crc32(raw):
            return {'id': sid, 'salt': salt, 'pred': tuple(pred) if pred[0] else None, 'born': born}
    return None


# --------------------------------------------------------------------------- what a log means

class Refuse(Exception):
    pass


class View:
    """The meaning of a chain of batches: window, entries, commit, slots, promises, newest mark."""

    def __init__(self):
        self.first, self.prev, self.last, self.entries = 1, (0, 0), 0, {}
        self.commit, self.slots, self.mark, self.lost = 0, {}, 0, None
        self.hard, self.vows = (0, 0), {}                       # the promises

    def copy(self):
        v = copy.copy(self)
        v.entries, v.slots, v.vows = dict(self.entries), dict(self.slots), dict(self.vows)
        return v

    def key(self):
        return (self.first, self.prev, self.last, tuple(sorted(self.entries.items())), self.commit,
                tuple(sorted(self.slots.items())), self.mark)

    def promises(self):
        return [('hard', self.hard[0], self.hard[1], self.commit)] + \
               [('meta', k, 1, struct.pack('<Q', v)) for k, v in sorted(self.vows.items())]

    def take_promises(self, secs):
        for s in secs:
            if s[0] == 'hard':
                self.hard = s[1:3]
            elif s[0] == 'state':
                self.hard = tuple(s[1][6:8])
                self.vows.update({k: v for k, c, v in s[2] if c})
            elif s[0] == 'meta' and s[2]:
                self.vows[s[1]] = struct.unpack('<Q', s[3])[0]

    def state(self, newest):
        """The State section: as of here, except promises, which are the newest known."""
        slots = [(k, 0, v) for k, v in sorted(self.slots.items())] + [(k, 1, v) for k, v in sorted(newest.vows.items())]
        last_term = self.entries.get(self.last, (self.prev[1], 0))[0]
        return ('state', (self.first, *self.prev, self.last, last_term, self.commit, *newest.hard,
                          self.mark, -1 if self.lost is None else self.lost, 0), slots)

    def apply(self, batch_secs, marker=False):
        self.take_promises(batch_secs)
        if marker:
            return
        for s in batch_secs:
            if s[0] == 'entries':
                if s[1] != self.last + 1:
                    raise Refuse(f'entries begin at {s[1]} after {self.last}')
                for i, p in enumerate(s[3]):
                    self.entries[s[1] + i] = (s[2], zlib.crc32(p))
                self.last = s[1] + len(s[3]) - 1
            elif s[0] == 'hard':
                self.commit = s[3]
            elif s[0] == 'meta' and not s[2]:
                self.slots[s[1]] = struct.unpack('<Q', s[3])[0]
            elif s[0] == 'truncate':
                self.last = s[1] - 1
            elif s[0] in ('trim', 'reset'):
                self.first, self.prev = s[1], s[2:4]
                if s[0] == 'reset' or self.last < self.first - 1:
                    self.last = self.first - 1
                if s[0] == 'reset':
                    self.commit = max(self.commit, s[2])
                if self.lost is not None and self.lost < self.first:
                    self.lost = None
            elif s[0] == 'mark':
                self.mark = s[1]
            elif s[0] == 'state':
                self.first, *prev, self.last, _, self.commit, _, _, self.mark, lost, _ = s[1]
                self.prev, self.lost = tuple(prev), None if lost < 0 else lost
                self.slots = {k: v for k, c, v in s[2] if not c}
        self.entries = {i: e for i, e in self.entries.items() if self.first <= i <= self.last}


def changes_promise(secs, view):
    after = view.copy()
    after.take_promises(secs)
    return (after.hard, after.vows) != (view.hard, view.vows)


def lowest(secs):
    """The lowest index that a batch touches, or None."""
    return min([s[1] for s in secs if s[0] in ('entries', 'truncate', 'reset')], default=None)


# --------------------------------------------------------------------------- reading, verdict, recovery

def read(data, salt, seq, off=BODY0, stop=None):
    """FORMAT.md, Reading a segment: the batches from `off` on, and X. State carries the sequence before it."""
    out = []
    while stop is None or off < stop:
        for at in (off, marker_at(off)):
            b = decode(data, at, salt)
            if b and b.ok and (at == off or b.marker) and b.seq == (seq if is_state(b) or (b.marker and on('marker-sequence')) else seq + 1):
                out.append(b)
                off, seq = b.end, b.seq
                break
            if data[off:off + HEAD].strip(b'\0'):
                return out, off
        else:
            return out, off
    return out, off


def is_state(b):
    return bool(b.secs) and b.secs[0][0] == 'state'


def search(data, salt, off):
    """All valid heads from X on; the bodies of valid heads are stepped over."""
    out, off = [], pad8(off)
    while True:
        off += (len(data) - off - len(data[off:].lstrip(b'\0'))) // 8 * 8
        if off + HEAD > len(data):
            return out
        b = decode(data, off, salt)
        if b:
            out.append(b)
        off = b.end if b else off + 8


def verdict(data, head, batches, x, beyond, end):
    """FORMAT.md, the table: ('row n', where to go on or None). `end`: P of the successor, if there is one."""
    if not batches:
        raise Refuse('row 1: State is rotten')
    s = batches[-1].seq + 1
    only_markers = beyond and not beyond[0].marker and beyond[0].off > x and beyond[0].seq == s and beyond[0].ok
    if x < head['born'] and (end is None or x < end):
        raise Refuse(f'row 1: X={x} lies before born_end={head["born"]}')
    if end is not None and x < end:
        if only_markers and beyond[0].off < end and on('row2-markers'):
            return 'row 2, only markers missing', beyond[0].off
        raise Refuse(f'row 2: X={x} lies before P={end}')
    if any(b.durable >= s or not on('row3-durable') for b in beyond):
        if only_markers:
            return 'row 3, only markers missing', beyond[0].off
        raise Refuse(f'row 3: X={x}, and a later head states sequence {s} durable')
    zeros = not data[x:x + HEAD if not on('row4-all-zero') else len(data)].strip(b'\0')
    before = batches[-1]
    vow = not before.marker and (is_state(before) or any(
        q[0] == 'hard' or (q[0] == 'meta' and q[2]) for q in before.secs) and before_changed(batches))
    if zeros and not (vow and on('row4-promise')):
        return 'row 4, clean end', None
    return 'row 5, unproven', None


def before_changed(batches):
    view = View()
    for b in batches[:-1]:
        view.take_promises(b.secs)
    return changes_promise(batches[-1].secs, view)


def read_segment(data, head, end=None):
    """Reads to X (or to P = end), stepping over missing markers where row 3 allows it."""
    seq = head['pred'][3] if head['pred'] else 0
    batches, x = read(data, head['salt'], seq, stop=end)
    while True:
        if end is not None and x == end:
            return batches, x, [], 'sealed'
        beyond = search(data, head['salt'], x)
        row, go_on = verdict(data, head, batches, x, beyond, end)
        if go_on is None:
            return batches, x, beyond, row
        more, x = read(data, head['salt'], batches[-1].seq, go_on, end)
        batches += more


def proven(head, batches, x, beyond):
    """How many of the batches are proven durable, and P, as an index into them (P is that batch's end)."""
    durable = max(b.durable for b in batches + beyond)
    n = max(i for i, b in enumerate(batches)
            if i == 0 or b.end <= head['born']
            or (b.seq <= durable and not (b.marker and on('marker-proof')))) + 1
    if not on('proven-end'):
        return len(batches) - 1
    unproven = batches[n].off if n < len(batches) else x
    floor = unproven // PAGE * PAGE if on('page-rule') else unproven
    return max(i for i in range(n) if i == 0 or batches[i].end <= floor)


def recover(disk):
    """Diagnose (reads only), then commit by one rename. Returns (Log, report) or raises Refuse."""
    data = {n: bytes(i.live) for n, i in disk.names.items() if n.startswith('wal')}
    if not data:
        raise Refuse('missing: no segment')
    top = max(data)
    head = decode_header(data[top])
    if head is None:
        raise Refuse(f'header of {top}')
    batches, x, beyond, row = read_segment(data[top], head)
    window = View()
    for b in batches:
        if is_state(b) or b.marker:
            window.apply(b.secs, b.marker)
        else:                                              # only the window is asked for here
            window.apply([s for s in b.secs if s[0] in ('trim', 'reset')])
    chain, at = [(top, head, batches)], head
    while at['pred']:
        state = chain[-1][2][0].secs[0][1]
        if state[3] < window.first or state[3] < state[0]:
            break
        sid, salt, end, _ = at['pred']
        name = f'wal{sid:04}'
        if name not in data:
            raise Refuse(f'missing: {name}')
        at = decode_header(data[name])
        if at is None or at['salt'] != salt:
            raise Refuse(f'header of {name}')
        chain.append((name, at, read_segment(data[name], at, end)[0]))
    view, at_p, p = View(), None, proven(head, batches, x, beyond)
    for name, _, bs in reversed(chain):
        for i, b in enumerate(bs):
            view.apply(b.secs, b.marker)
            if name == top and i == p:
                at_p = view.copy()
    if len(view.entries) != view.last - view.first + 1:
        raise Refuse('missing: a hole in the entries')
    if view.mark and f'snap{view.mark:04}' not in disk.names:
        raise Refuse(f'missing: snapshot {view.mark}')
    found = beyond if on('promise-beyond') else []
    for b in sorted(batches + [b for b in found], key=lambda b: (b.seq, b.off)):
        view.take_promises(b.secs if b.ok else [s for s in b.secs if s[0] != 'meta'])
    if row == 'row 5, unproven':
        low = view.commit + 1
        at_x = [b for b in beyond if b.off == x]
        if at_x and lowest(at_x[0].secs) is not None and not on('lost-from-commit'):
            low = lowest(at_x[0].secs)
        if on('lost-in-window'):
            low = max(low, view.first)
        view.lost = low if view.lost is None else min(low, view.lost)
    at_p.lost = view.lost
    again = [b for b in batches[p + 1:] if not b.marker]
    if on('open-dir-sync'):
        disk.dir_sync()                                    # the names found may be in the page cache only
    log = Log(disk)
    idle = len(batches) == 2 if on('skip-empty-only') else batches[-1].end <= head['born']
    if idle and row == 'row 4, clean end':                 # step 7
        pred, seq, again, at_p = head['pred'], batches[0].seq, [], View()
        at_p.apply(batches[0].secs)
        chain = chain[1:]
    else:
        pred, seq = (head['id'], head['salt'], batches[p].end, batches[p].seq), batches[p].seq
    log.sid, log.view = head['id'], view
    if not on('rewrite') or not on('proven-end'):
        again = []
    log.begin(pred, view if not on('state-at-p') else at_p, seq, [(b.seq, b.secs) for b in again], view)
    keep = {name for name, *_ in chain} | {f'wal{log.sid:04}'}
    for name in sorted(data):                              # leftovers, and the skipped file
        if name not in keep:
            disk.unlink(name)
    return log, row


# --------------------------------------------------------------------------- the log

class Log:
    def __init__(self, disk, ledger=None):
        self.disk, self.ledger, self.sid, self.poisoned, self.view = disk, ledger, 0, False, View()
        self.retired, self.reuses, self.held = [], False, []   # files that wait, each with the segment active then

    @staticmethod
    def create(disk, ledger):
        log = Log(disk)
        log.begin(None, View(), 0, [], View())
        ledger.rebase(log)
        return log

    def blank(self, fresh=False):
        """A new file, or that of a trimmed segment: with one name at most gone, and that durably."""
        for i, (ino, since) in reversed(list(enumerate(self.retired))):
            named = on('reuse-link') and any(n.startswith('copy') and i is ino for n, i in self.disk.names.items())
            held = on('reuse-reader') and ino in self.held
            if (self.sid > since or not on('reuse-name')) and not (named or held or fresh):
                del self.retired[i]
                return ino, True
        return Ino(), False

    def begin(self, pred, at_p, seq, again, newest, fail=None, fresh=False):
        """Makes the next segment: header twice, State, batches written again, marker; sync; rename; dir sync."""
        ino, used = self.blank(fresh)
        salt, off, last = random.getrandbits(60), BODY0, seq
        out, recs, view, places = [], [], at_p.copy(), []
        view.take_promises([at_p.state(newest)])
        base = view.copy()
        for s, secs, marker in [(seq, [at_p.state(newest)], False)] + [(s, secs, False) for s, secs in again] + \
                               [(None, newest.promises(), True)]:
            if marker:
                if used and on('reuse-zero-head'):
                    out.append((off, bytes(marker_at(off) - off)))
                off, s = marker_at(off), last + (not on('marker-sequence'))
            buf = encode(salt, off, s, min(seq, s - (not (marker or s == seq))), marker, secs)
            out.append((off, buf))
            if not marker and recs:
                places.append((s, off, off + len(buf)))
            off, last = off + len(buf), s
            recs.append((s, secs, off, marker))
        head = encode_header({'id': self.sid + 1, 'salt': salt, 'pred': pred, 'born': off if on('born-end') else 0})
        if used:
            out.append((off, bytes(-off % PAGE if on('reuse-zero-head') else 0)))
            for at in (0, PAGE):                           # the headers go first: whoever reads the file can tell
                self.disk.write(ino, at, bytes(len(head)))
        for at, buf in out + [(0, head), (PAGE, head)]:
            if buf:
                self.disk.write(ino, at, buf) if used else ino.write(at, buf)
        self.disk.sync(ino)
        self.used = used
        if fail == 'before rename':
            return
        self.disk.rename(f'wal{self.sid + 1:04}', ino)
        if fail == 'after rename':
            self.poisoned = on('stop-at-rename')
            return
        if on('dir-sync'):
            self.disk.dir_sync()
        self.sid += 1
        self.ino, self.salt, self.off, self.seq, self.base, self.recs = ino, salt, off, last, base, recs
        self.durable, self.durable_off, self.dirty = last, off, None
        if self.ledger:
            self.ledger.moved(ino, places)
            self.ledger.evidence(last)
            self.ledger.ack()

    def write(self, secs):
        """One batch, its marker if it changes a promise, and the zero head: one positioned write."""
        vow = changes_promise(secs, self.view)
        if self.off + 3 * PAGE + sum(len(encode_section(s)[1]) for s in secs) > SIZE:
            self.rotate()
        self.seq += 1
        at, self.dirty = self.off, min(self.dirty or self.off, self.off)
        buf = encode(self.salt, at, self.seq, self.durable, False, secs)
        self.off += len(buf)
        self.recs.append((self.seq, secs, self.off, False))
        self.view.apply(secs)
        if self.ledger:
            self.ledger.wrote(self, secs, at, vow)
        if vow and on('vote-marker'):
            m = marker_at(self.off)
            buf += bytes(m - self.off) + self._marker(m, True)
        self.disk.write(self.ino, at, buf + bytes(HEAD if on('reuse-tail') else 0))

    def _marker(self, at, vow=False):
        self.seq += not on('marker-sequence')
        buf = encode(self.salt, at, self.seq, self.durable, True, self.view.promises())
        self.off = at + len(buf)
        self.recs.append((self.seq, [], self.off, True))
        if self.ledger:
            self.ledger.stated(self, at, vow)
        return buf

    def marker(self):
        """The idle marker: un-synced, so that the last acknowledged batch becomes provable."""
        if self.off + 2 * PAGE > SIZE:
            self.rotate()
        m = marker_at(self.off)
        self.dirty = min(self.dirty or m, m)
        self.disk.write(self.ino, m, self._marker(m) + bytes(HEAD))

    def sync(self):
        self.disk.sync(self.ino)
        self.synced()

    def synced(self):
        self.durable, self.durable_off, self.dirty = self.seq, self.off, None
        self.ledger.ack()

    def failed_write(self, secs):
        """The call returned an error, whatever of it is in the file; the log goes on in the successor."""
        before = self.view.copy(), self.seq, self.off, list(self.recs), self.dirty
        at = self.off
        self.ledger.unknown = True
        self.write(secs)
        self.view, self.seq, self.off, self.recs, self.dirty = before
        self.dirty = min(self.dirty or at, at)
        self.go_on()

    def failed_sync(self, fail=None):
        self.disk.fail_sync(self.ino)
        if not on('failed-sync'):
            return self.sync()
        if fail == 'at once':
            self.poisoned = True
            return
        self.go_on(fail)

    def go_on(self, fail=None):
        unproven = self.dirty or self.off
        floor = unproven // PAGE * PAGE if on('page-rule') else unproven
        p = max(i for i, r in enumerate(self.recs) if i == 0 or r[2] <= min(floor, self.durable_off))
        at_p = self.base.copy()
        for _, secs, _, marker in self.recs[1:p + 1]:
            at_p.apply(secs, marker)
        at_p.lost = self.view.lost
        self.begin((self.sid, self.salt, self.recs[p][2], self.recs[p][0]), at_p if on('state-at-p') else self.view,
                   self.recs[p][0], [r[:2] for r in self.recs[p + 1:] if not r[3]], self.view, fail)

    def rotate(self, fail=None):
        self.sync()
        self.begin((self.sid, self.salt, self.off, self.seq), self.view, self.seq, [], self.view, fail)

    def close(self):
        self.sync()
        if self.used:                                      # a file that ends in zeros, for a clean end
            self.begin((self.sid, self.salt, self.off, self.seq), self.view, self.seq, [], self.view, fresh=True)
        self.marker(); self.sync()

    def forget(self, secs):
        """trim_prefix, or a reset: the batch and a marker that states it durable are synced, then files go."""
        self.write(secs)
        if on('trim-synced'):
            self.sync()
            if on('trim-marker'):
                self.marker(); self.sync()
        names = sorted(n for n in self.disk.names if n.startswith('wal') and n < f'wal{self.sid:04}')
        names += [f'wal{self.sid:04}']
        for name, after in zip(names, names[1:]):
            data = bytes(self.disk.names[after].live)
            state = decode(data, BODY0, decode_header(data)['salt']).secs[0][1]
            if not (state[3] < self.view.first or state[3] < state[0]):
                break
            ino = self.disk.names[name]
            if self.reuses and not ino.hurt:
                self.retired.append((ino, self.sid))       # in tmp/, where it needs no name here
            self.disk.unlink(name)
        for name in sorted(n for n in self.disk.names if n.startswith('snap')):
            if name < f'snap{self.view.mark:04}':
                self.disk.unlink(name)

    def snapshot(self, index):
        ino = Ino(b'snapshot'.ljust(SECTOR, b'.'))
        self.disk.sync(ino)
        self.disk.rename(f'snap{index:04}', ino)
        self.disk.dir_sync()


# --------------------------------------------------------------------------- what the caller was told

class Ledger:
    """The states that a recovery may show (one for each batch written since the last open), which of them was
    acknowledged, and what on the disk proves how much durable: all that is needed to judge a recovery."""

    def rebase(self, log):
        """An open handed this out: it is acknowledged, and all of it is proven (it lies before born_end)."""
        self.hist, self.acked = [(log.view.key(), None, log.seq)], 0
        self.vows, self.vow_acked = [(log.view.hard, dict(log.view.vows))], 0
        self.unknown = False                               # is the newest batch one whose write failed?
        self.places, self.vow_markers, self.proof, self.unsynced = {}, [], [(log.seq, None, 0, 0)], []
        log.ledger = self

    def wrote(self, log, secs, at, vow):
        self.hist.append((log.view.key(), lowest(secs), log.seq))
        self.places[log.seq] = (log.ino, at, log.off)
        self.unsynced.append((log.durable, log.ino, at, at + HEAD + 64))
        if vow:
            self.vows.append((log.view.hard, dict(log.view.vows)))

    def stated(self, log, at, vow):
        self.unsynced.append((log.durable, log.ino, at, log.off))
        if vow:
            self.vow_markers.append((log.ino, at, log.off))

    def moved(self, ino, places):
        self.places.update({s: (ino, a, e) for s, a, e in places})

    def evidence(self, seq):
        self.unsynced.append((seq, None, 0, 0))

    def ack(self):
        if self.unknown:                                   # it stayed behind in the old segment, beyond P
            self.hist.pop()
            self.unknown = False
        self.acked, self.vow_acked = len(self.hist) - 1, len(self.vows) - 1
        self.proof, self.unsynced = self.proof + self.unsynced, []

    def residue(self, lost, rot):
        """FORMAT.md: an acknowledged last batch wholly in one sector that turned to zeros. Repaired: the
        last batches whose bytes other than zero all lie in it."""
        ino, k, kind = rot
        if kind != 'zero' or any(i is ino and a < (k + 1) * SECTOR and e > k * SECTOR for i, a, e in self.vow_markers):
            return False
        if len(lost) > 1 and not on('residue-wide'):
            return False
        for _, _, seq in lost:
            i, a, e = self.places[seq]
            outside = bytes(i.live[a:min(e, k * SECTOR)]) + bytes(i.live[max(a, (k + 1) * SECTOR):e])
            if i is not ino or (outside.strip(b'\0') if on('residue-wide') else outside):
                return False
        return True

    def judge(self, log, row, rot, harmed):
        """None, or which promise is broken. rot: (ino, sector, kind) or None; harmed: (name, ino, sector) or None."""
        view, fault = log.view, rot or harmed
        ks = [k for k, h in enumerate(self.hist) if h[0] == view.key()]
        if not ks:
            return f'a state that never was (or lost what an open handed out): {row}, {view.key()}'
        vows = range(self.vow_acked, len(self.vows))
        if not any(view.hard == self.vows[j][0] for j in vows) or not any(view.vows == self.vows[j][1] for j in vows):
            return f'a promise was forgotten ({row})'
        lost = self.hist[ks[-1] + 1:self.acked + 1]
        if not lost:
            return None
        what = f'acknowledged batches {[h[2] for h in lost]} lost'
        if not fault:
            return f'{what} ({row})'
        ino, sector = rot[:2] if rot else harmed[1:]       # what stood there proves nothing any more
        hit = (ino, sector * SECTOR, (sector + 1) * SECTOR)
        proof = max([s for s, i, a, e in self.proof if not (i is hit[0] and a < hit[2] and e > hit[1])], default=0)
        if lost[0][2] <= proof:
            return f'{what}, though the disk proves {proof} durable ({row})'
        low = min([h[1] for h in lost if h[1] is not None], default=None)
        if row.startswith('row 5'):
            if low is not None and (view.lost is None or view.lost > low):
                return f'{what} from index {low} on, but maybe_lost says {view.lost}'
            return None
        if rot and self.residue(lost, rot):
            return None
        return f'{what} silently ({row})'


# --------------------------------------------------------------------------- histories

class World:
    def __init__(self, journal, seed, reuse=False):
        self.disk, self.ledger, self.n, self.reuse = Disk(journal), Ledger(), 0, reuse
        self.copies, self.held = {}, []                    # what others have: by name, and in memory
        self.rng = random.Random(seed)
        self.log = None

    def payload(self, size):
        self.n += 1
        return bytes([1 + self.n % 250]) * size if size < 8 else struct.pack('<Q', self.n).ljust(size, b'p')

    def fill(self, unit, rest):
        """The size of a payload with which the batch ends at `rest` modulo `unit`."""
        fixed = len(encode(0, 0, 1, 0, False, [('entries', 1, 0, [b''])]))
        return (rest - self.log.off - fixed) % unit or unit

    def open(self):
        self.log, _ = recover(self.disk)
        self.log.reuses = self.reuse
        self.held = []                                     # readers end with the process
        self.ledger.rebase(self.log)


def entries(w, payload, more=()):
    return list(more) + [('entries', w.log.view.last + 1, term(w.log.view), [payload])]


def term(v):
    """Terms never go back from one entry to the next."""
    return max(v.hard[0], v.entries.get(v.last, (v.prev[1], 0))[0])


def replace_last(w, n=1):
    v = w.log.view
    at = v.last + 1 - n
    if at <= v.commit or at < v.first:
        return False
    w.log.write([('truncate', at), ('entries', at, term(v) + 1, [w.payload(24)])])


def lazy_trim(w):
    v = w.log.view
    if v.last <= v.first:
        return False
    w.log.write([('trim', v.last, v.last - 1, v.entries[v.last - 1][0])])


def trim(w):
    v = w.log.view
    if v.last <= v.first or v.mark >= v.last - 1:
        return False
    w.log.snapshot(v.last - 1)
    w.log.forget([('mark', v.last - 1), ('trim', v.last, v.last - 1, v.entries[v.last - 1][0])])


def install(w):
    v, at = w.log.view, w.log.view.last + 3
    w.log.snapshot(at)
    w.log.forget([('reset', at + 1, at, term(v)), ('hard', *v.hard, at), ('mark', at)])


def vote(w):
    new = w.log.view.hard[0] + 1
    return hard(w, new, 1 + new % 3, w.log.view.commit)


def power_cut(w):
    images = [i for i, harmed in w.disk.images(6, w.rng) if not harmed]
    step, journal = w.disk.step, w.disk.journal
    w.disk = Disk.of(w.rng.choice(images))
    w.disk.step, w.disk.journal = step, journal
    w.open()


def oldest(w):
    """The oldest sealed segment and its bytes up to P, if there is one."""
    names = sorted(n for n in w.disk.names if n.startswith('wal'))
    if len(names) < 2:
        return None
    end = decode_header(bytes(w.disk.names[names[1]].live))['pred'][2]
    return w.disk.names[names[0]], bytes(w.disk.names[names[0]].live[:end])


def second_name(w):
    ino, data = oldest(w) or (None, None)
    if ino is None or ino in [i for i, _ in w.copies.values()]:
        return False
    name = f'copy{len(w.copies)}'
    w.disk.rename(name, ino)
    w.disk.dir_sync()
    w.copies[name] = ino, data


def hold(w):
    ino, data = oldest(w) or (None, None)
    if ino is None:
        return False
    w.held.append((ino, data))
    w.log.held = [i for i, _ in w.held]


def hard(w, term, vote, commit):
    if (term, vote, commit) == (*w.log.view.hard, w.log.view.commit):
        return False
    w.log.write([('hard', term, vote, commit)])


OPS = {  # letter: (what, does)
    'e': ('append a small entry', lambda w: w.log.write(entries(w, w.payload(20)))),
    'b': ('append an entry over several sectors', lambda w: w.log.write(entries(w, w.payload(900)))),
    'z': ('append an entry of zeros', lambda w: w.log.write(entries(w, bytes(900)))),
    'a': ('append up to the end of a sector', lambda w: w.log.write(entries(w, w.payload(w.fill(SECTOR, 0))))),
    'p': ('append up to the end of a page', lambda w: w.log.write(entries(w, w.payload(w.fill(PAGE, 0))))),
    'g': ('append up to 16 bytes before it', lambda w: w.log.write(entries(w, w.payload(w.fill(PAGE, PAGE - 16))))),
    't': ('replace the last entry', replace_last),
    'v': ('vote in a new term', lambda w: vote(w)),
    'C': ('commit all', lambda w: hard(w, *w.log.view.hard, w.log.view.last)),
    'm': ('set an ordinary slot', lambda w: w.log.write([('meta', 1, 0, struct.pack('<Q', w.log.seq))])),
    'M': ('set a slot that is a promise', lambda w: w.log.write([('meta', 2, 1, struct.pack('<Q', w.log.seq))])),
    'u': ('replace the last two entries', lambda w: replace_last(w, 2)),
    'l': ('trim to the last entry, without a sync', lazy_trim),
    's': ('sync', lambda w: w.log.sync() if w.log.dirty else False),
    'f': ('a sync that fails', lambda w: w.log.failed_sync() if w.log.dirty else False),
    'F': ('a sync that fails, and its successor too', lambda w: w.log.failed_sync('at once') if w.log.dirty else False),
    'G': ('a sync that fails, and the rename after it', lambda w: w.log.failed_sync('after rename') if w.log.dirty else False),
    'W': ('an append that fails', lambda w: w.log.failed_write(entries(w, w.payload(900))) if w.log.off < 5 * PAGE else False),
    'i': ('idle: a marker', lambda w: w.log.marker()),
    'r': ('rotate', lambda w: w.log.rotate()),
    'q': ('rotate, failing before the rename', lambda w: w.log.rotate('before rename')),
    'w': ('rotate, failing after the rename', lambda w: w.log.rotate('after rename')),
    'T': ('snapshot and trim to the last entry', trim),
    'R': ('install a snapshot beyond the end', install),
    'o': ('close and open', lambda w: (w.log.close(), w.open())),
    'k': ('kill -9 and open', lambda w: w.open()),
    'x': ('power cut and open', power_cut),
}
REUSE_OPS = {  # with --reuse only
    'h': ('give the oldest sealed segment a second name', second_name),
    'H': ('begin to read the oldest sealed segment, and go on', hold),
}
ALL_OPS = {**OPS, **REUSE_OPS}
AFTER_POISON = 'kx'
REUSED = 'evbbbbibbrerTrr'                                 # after these the active file is a used one, full of old batches


class Found(Exception):
    pass


def attempt(disk):
    try:
        return recover(disk)
    except Refuse as r:
        return None, str(r)


def outcome(log):
    return log.view.key(), log.view.hard, log.view.vows, log.view.lost


def describe(image, w):
    out = []
    for name, (ino, data) in sorted(image.items()):
        diff = [k for k in range(SIZE // SECTOR) if data[k * SECTOR:(k + 1) * SECTOR] != ino.live[k * SECTOR:(k + 1) * SECTOR]]
        out.append(name + (f' with other bytes in sectors {diff} (bytes {diff[0] * SECTOR}..)' if diff else ' as written'))
    return '; '.join(out) or 'no files'


def check(w, image, rot, harmed, opts):
    where = lambda: describe(image, w) + (f'; rot: {rot[2]} sector {rot[1]}' if rot else '')
    for name, (_, data) in image.items() if not (rot or harmed) else ():
        head = decode_header(data) if name.startswith('wal') else None
        if name.startswith('wal') and not (head and name == f'wal{head["id"]:04}'):
            raise Found(f'{name} stands for the bytes of another segment', where())
        if name in w.copies and not data.startswith(w.copies[name][1]):
            raise Found('somebody\'s copy of a segment has changed', where())
    disk = Disk.of(image)
    steps = []
    if opts.nested and not rot:
        rng = random.Random(1)
        disk.step = lambda: steps.extend(i for i, h in disk.images(4, rng))
    log, row = attempt(disk)
    disk.step = None
    if log is None:
        if row.startswith('missing') or not (rot or harmed):
            raise Found(f'open refuses ({row})', where())
        return
    broken = w.ledger.judge(log, row, rot, harmed)
    if broken:
        raise Found(broken, where())
    for nested in [{n: (None, bytes(i.live)) for n, i in disk.names.items()}] + steps:
        again, why = attempt(Disk.of(nested))
        if again is None:
            raise Found(f'opens ({row}), but the next open refuses ({why})', where())
        if outcome(again) != outcome(log):
            raise Found(f'two opens differ: {outcome(log)} ({row}), then {outcome(again)} ({why})', where())


def check_kill(w):
    """kill -9 right here: open from the page cache, and a power cut at each step of that open or after it."""
    step, w.disk.step = w.disk.step, None
    disk, images, rng = copy.deepcopy(w.disk), [], random.Random(1)
    w.disk.step = step
    disk.step = lambda: images.extend(i for i, harmed in disk.images(4, rng) if not harmed)
    log, row = attempt(disk)
    disk.step = None
    if log is None:
        raise Found(f'open refuses ({row})', 'kill -9 here')
    broken = w.ledger.judge(log, row, None, None)
    if broken:
        raise Found(broken, 'kill -9 here')
    for image, after in [(i, False) for i in images] + [(i, True) for i, _ in disk.images(8, rng)]:
        where = f'kill -9 here, open ({row}), power cut {"after" if after else "inside"} it; then there are {sorted(image)}'
        again, why = attempt(Disk.of(image))
        if again is None:
            raise Found(f'open refuses ({why})', where)
        broken = w.ledger.judge(again, why, None, None)
        if broken or after and outcome(again) != outcome(log):
            raise Found(broken or f'two opens differ: {outcome(log)}, then {outcome(again)} ({why})', where)


def rotten(image):
    for name, (ino, data) in image.items():
        if not name.startswith('wal'):
            continue
        for k in range(SIZE // SECTOR):
            old = data[k * SECTOR:(k + 1) * SECTOR]
            if old.strip(b'\0'):
                for kind, new in (('zero', bytes(SECTOR)), ('flip', bytes(x ^ 0x55 for x in old))):
                    bad = data[:k * SECTOR] + new + data[(k + 1) * SECTOR:]
                    yield {**image, name: (ino, bad)}, (ino, k, kind)
                head = decode_header(data)
                for at in range(k * SECTOR, (k + 1) * SECTOR, 8):
                    if at in (0, PAGE) or head and decode(data, at, head['salt']):
                        bad = bytearray(data)              # one bit of a head, and nothing else
                        bad[at] ^= 1
                        yield {**image, name: (ino, bytes(bad))}, (ino, k, 'bit')


def explore(history, opts, every=False):
    """Runs a history; looks at each crash state of its last operation (or of each). Returns (states, Found?, used)."""
    random.seed(opts.seed)
    w, rng, seen, count = World(opts.journal, opts.seed, opts.reuse), random.Random(opts.seed), set(), [0]

    def look():
        if not w.ledger.__dict__:
            return
        if any(not ino.live.startswith(data) for ino, data in w.held):
            raise Found('the bytes under a reader change', 'the running log')
        for image, harmed in w.disk.images(opts.states, rng):
            tag = (w.ledger.acked, len(w.ledger.hist), hash(tuple((n, d) for n, (_, d) in sorted(image.items()))))
            if tag in seen:
                continue
            seen.add(tag)
            if harmed and any(n > harmed[0] for n in image if n.startswith('wal')):
                harmed = None                              # it has a successor: the page rule must make it harmless
            count[0] += 1
            check(w, image, None, harmed, opts)
        if opts.nested:
            count[0] += 1
            check_kill(w)
        if opts.rot:
            if any(i.pend for i in w.disk.names.values()) or w.disk.changes:
                picks = [i for i, harmed in w.disk.images(opts.states, rng) if not harmed]
                picks = [rng.choice(picks)]
            else:
                picks = [{n: (i, bytes(i.live)) for n, i in w.disk.names.items()}]
            for image in picks:
                for bad, rot in rotten(image):
                    tag = (w.ledger.acked, len(w.ledger.hist), hash(tuple((n, d) for n, (_, d) in sorted(bad.items()))))
                    if tag not in seen:
                        seen.add(tag)
                        count[0] += 1
                        check(w, bad, rot, None, opts)

    try:
        if not opts.reuse and (not history or every):
            w.disk.step = look
        w.log = Log.create(w.disk, w.ledger)
        w.log.reuses = opts.reuse
        for op in REUSED if opts.reuse else '':
            assert OPS[op][1](w) is not False
        if not history or every:
            w.disk.step = look
        look() if w.disk.step else None
        for n, op in enumerate(history):
            if w.log.poisoned and op not in AFTER_POISON:
                return count[0], None, False
            w.disk.step = look if every or n == len(history) - 1 else None
            if ALL_OPS[op][1](w) is False:
                return count[0], None, every
            if w.disk.step:
                look()
    except Found as f:
        return count[0], f.args, True
    except Refuse as r:
        return count[0], (f'open refuses ({r})', 'the page cache after kill -9, or the image of operation x'), True
    return count[0], None, True


def recovered(image):
    """What a recovery makes of an image, in words that do not depend on the layout of bytes."""
    log, row = attempt(Disk.of(image))
    if log is None:
        return 'refused'
    v = log.view
    terms = [v.entries[i][0] for i in range(v.first, v.last + 1)]
    return (f'row={row[4]} first={v.first} prev={v.prev[0]}/{v.prev[1]} terms={terms} commit={v.commit} mark={v.mark} '
            f'hard={v.hard[0]}/{v.hard[1]} slots={sorted(v.slots)} vows={sorted(v.vows)} lost={v.lost or "-"}')


def emit(history, opts):
    """After each operation: what a recovery gives after kill -9, and after a power cut that takes all it can."""
    random.seed(opts.seed)
    w = World(opts.journal, opts.seed)
    w.log = Log.create(w.disk, w.ledger)
    for i, op in enumerate(history):
        if w.log.poisoned and op not in AFTER_POISON or OPS[op][1](w) is False:
            break
        print(history, i, 'kill', recovered({n: (None, bytes(f.live)) for n, f in w.disk.names.items()}))
        print(history, i, 'loss', recovered({n: (None, bytes(f.dur)) for n, f in w.disk.dur_names.items()}))


# --------------------------------------------------------------------------- search

def shorten(history, opts):
    """Leaves out operations as long as the history still fails."""
    best = explore(history, opts, True)[1]
    i = 0
    while i < len(history):
        less = history[:i] + history[i + 1:]
        found = explore(less, opts, True)[1]
        history, best, i = (less, found, 0) if found else (history, best, i + 1)
    return history, best


def chunk(job):
    histories, opts, every = job
    OFF.clear()
    OFF.update(opts.without)
    total, used = 0, 0
    for h in histories:
        states, found, ran = explore(h, opts, every)
        total, used = total + states, used + ran
        if found:
            return total, used, (h, found)
    return total, used, None


def run(histories, opts, every, name, quiet=False):
    """All histories, in order and in parallel; stops at the first that fails."""
    start, states, used, found = time.time(), 0, 0, None
    size = 8 if every else 40
    jobs = ((c, opts, every) for c in iter(lambda it=iter(histories): list(itertools.islice(it, size)), []))
    pool = multiprocessing.Pool(opts.jobs) if opts.jobs > 1 else None
    shown = start
    for s, u, f in (pool.imap(chunk, jobs) if pool else map(chunk, jobs)):
        states, used, found = states + s, used + u, found or f
        if not quiet and time.time() - shown > 20:
            shown = time.time()
            print(f'  {name}: {used} histories, {states} states, {shown - start:.0f} s', flush=True)
        if found or time.time() - start > opts.seconds:
            break
    complete = found is None and time.time() - start <= opts.seconds
    if pool:
        pool.terminate()
    if not quiet:
        print(f'{name}: {used} histories, {states} states, {time.time() - start:.0f} s'
              + ('' if complete or found else ' (stopped: out of time)'), flush=True)
    return states, found


def deeper(opts, letters, quiet=False):
    states = 0
    for depth in range(opts.depth + 1):
        n, found = run(map(''.join, itertools.product(letters, repeat=depth)), opts, False, f'depth {depth}', quiet)
        states += n
        if found:
            return states, found
    return states, None


def tell(found):
    history, (broken, state) = found
    print('COUNTER-EXAMPLE')
    for op in history:
        print(f'  {op}  {ALL_OPS[op][0]}')
    print(f'  crash state: {state}\n  broken: {broken}')


def control(job):
    """The rule, the states looked at until it broke, what broke, and whether the history holds with the rule."""
    rule, (_, letters, depth, rot), opts = job
    o = argparse.Namespace(**{**vars(opts), 'without': [rule], 'depth': depth, 'rot': rot, 'jobs': 1,
                              'reuse': rule in REUSE})
    OFF.clear()
    OFF.add(rule)
    if letters[0] == '=':
        states, found, _ = explore(letters[1:], o, True)
        found = found and (letters[1:], found)
    else:
        states, found = deeper(o, letters, True)
    OFF.clear()
    return rule, states, found, found and explore(found[0], o, True)[1] is None


def controls(opts):
    bad = 0
    jobs = [(rule, what, opts) for rule, what in {**RULES, **REUSE, **REPAIRS}.items()]
    pool = multiprocessing.Pool(opts.jobs) if opts.jobs > 1 else None
    print(f'{"removed rule":18} {"history":9} {"states":>7}  what broke')
    for rule, states, found, holds in (pool.imap(control, jobs) if pool else map(control, jobs)):
        bad += not holds
        print(f'{rule:18} {found[0] if found else "-":9} {states:7}  {found[1][0][:150] if found else "NOTHING FOUND"}'
              + ('' if holds or not found else ' - BUT IT FAILS WITH THE RULE TOO'), flush=True)
    print(f'{len(jobs) - bad} of {len(jobs)} rules are needed')
    return bad


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--depth', type=int, default=2, help='all histories up to this many operations')
    a.add_argument('--ops', default=''.join(OPS), help='letters of the operations to use')
    a.add_argument('--states', type=int, default=32, help='crash states per set of names; sampled beyond that')
    a.add_argument('--random', type=int, default=0, help='random histories instead')
    a.add_argument('--length', type=int, default=8, help='their length')
    a.add_argument('--rot', action='store_true', help='one rotten sector, zeroed or flipped')
    a.add_argument('--nested', action='store_true', help='a power cut at each step of recovery')
    a.add_argument('--journal', action='store_true', help='names become durable in order')
    a.add_argument('--reuse', action='store_true', help='files of trimmed segments are used again')
    a.add_argument('--seed', type=int, default=1)
    a.add_argument('--jobs', type=int, default=1)
    a.add_argument('--seconds', type=float, default=1e9, help='limit for each depth')
    a.add_argument('--without', action='append', default=[], metavar='RULE', choices=[*RULES, *REUSE, *REPAIRS])
    a.add_argument('--controls', action='store_true', help='remove each rule in turn')
    a.add_argument('--history', help='just this one, with every crash state on its way')
    a.add_argument('--emit', action='store_true', help='histories on stdin; tells what a recovery gives after each operation')
    a.add_argument('--list', action='store_true', help='operations and rules')
    opts = a.parse_args()
    if opts.list:
        print('\n'.join(f'{k:18} {v[0]}' for k, v in {**ALL_OPS, **RULES, **REUSE, **REPAIRS}.items()))
        return 0
    OFF.update(opts.without)
    if opts.emit:
        for line in sys.stdin:
            emit(line.strip(), opts)
        return 0
    if opts.controls:
        return 1 if controls(opts) else 0
    if opts.history is not None:
        states, found, _ = explore(opts.history, opts, True)
        found = found and (opts.history, found)
    elif opts.random:
        rng = random.Random(opts.seed)
        many = (''.join(rng.choice(opts.ops) for _ in range(opts.length)) for _ in range(opts.random))
        states, found = run(many, opts, True, f'random, length {opts.length}')
        found = found and shorten(found[0], opts)
    else:
        states, found = deeper(opts, opts.ops)
    if found:
        tell(found)
        return 1
    print(f'no counter-example in {states} states')
    return 0


if __name__ == '__main__':
    sys.exit(main())
