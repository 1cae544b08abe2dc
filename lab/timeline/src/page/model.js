// What the trace says, prepared once: times, lanes, messages, roles, indexes, faults, operations;
// and the state of every node at any moment. Nothing here touches the page.

const WORLD = -1, WIDE = -2, NONE = 0xffffffff;
const FRAME = 1500; // events between two kept states

// A trace may say anything: what is no number where one should be, or too large to count with, is
// taken away. The words of the event still show it.
const NUMBERS = ['first', 'last', 'index', 'term', 'after', 'commit', 'us', 'm', 'to', 'from', 'prev', 'leader', 'vote', 'client', 'serial'];
const WORDS = ['kind', 'what', 'verdict', 'why', 'op', 'detail', 'text'];
const LARGEST = 2 ** 52;

function clean(row) {
  const counts = value => Number.isInteger(value) && value >= 0 && value <= LARGEST;
  for (const key of NUMBERS) if (Object.hasOwn(row, key) && !counts(row[key])) delete row[key];
  for (const key of WORDS) if (Object.hasOwn(row, key) && typeof row[key] !== 'string') row[key] = JSON.stringify(row[key]);
  for (const key of ['nodes', 'voters']) if (Object.hasOwn(row, key) && !Array.isArray(row[key])) delete row[key];
  if (!counts(row.t)) delete row.t;
}

function readModel(head, rows) {
  const count = rows.length;
  rows.forEach(clean);
  const nodes = head.nodes;
  const laneOf = new Map(nodes.map((node, lane) => [node, lane]));
  const T = new Float64Array(count), L = new Int32Array(count), topics = new Map();
  let last = 0;
  for (let i = 0; i < count; i++) {
    const row = rows[i];
    // A line without a time belongs to the one before it; time never goes back.
    if (typeof row.t === 'number' && row.t > last) last = row.t;
    T[i] = last;
    L[i] = row.n === null ? WIDE : laneOf.has(row.n) ? laneOf.get(row.n) : WORLD;
    topics.set(row.c, (topics.get(row.c) || 0) + 1);
  }
  const model = {
    head, rows, count, nodes, laneOf, T, L, topics,
    begin: count ? T[0] : 0, end: count ? T[count - 1] : 0,
  };
  if (model.end <= model.begin) model.end = model.begin + 1000;
  model.lanes = nodes.map(() => ({
    roles: [], commits: [], applies: [], disk: [], glyphs: [], events: [],
  }));
  for (let i = 0; i < count; i++) if (L[i] >= 0) model.lanes[L[i]].events.push(i);
  readMessages(model);
  readLanes(model);
  readFaults(model);
  readOperations(model);
  readMarks(model);
  readFrames(model);
  return model;
}

// ---- messages: a line from its send to where it came or was lost

const MESSAGE_CLASS = { append: 0, vote: 1, heartbeat: 2, snapshot: 3, message: 4 };

function readMessages(model) {
  const { rows, T, L } = model;
  const sends = new Map();
  const from = [], to = [], t0 = [], t1 = [], cls = [], fate = [], first = [], second = [];
  const add = (send, end, lane, how) => {
    from.push(L[send]); to.push(lane); t0.push(T[send]); t1.push(end === NONE ? T[send] : T[end]);
    const reply = /reply/.test(rows[send].kind || '') ? 8 : 0;
    cls.push((MESSAGE_CLASS[rows[send].c] ?? 4) | reply);
    fate.push(how); first.push(send); second.push(end);
  };
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i];
    if (row.e === 'send' && L[i] >= 0 && row.m !== undefined) sends.set(row.m, { send: i, done: false });
    if ((row.e !== 'recv' && row.e !== 'lost') || row.m === undefined) continue;
    const known = sends.get(row.m);
    if (!known) continue;
    if (row.e === 'recv' && L[i] >= 0) add(known.send, i, L[i], 0);
    else {
      const lane = model.laneOf.get(rows[known.send].to);
      if (lane !== undefined) add(known.send, i, lane, 1);
    }
    known.done = true;
  }
  for (const { send, done } of sends.values()) {
    const lane = model.laneOf.get(rows[send].to);
    if (!done && lane !== undefined) add(send, NONE, lane, 2); // on its way when the trace ends
  }
  const order = Array.from(from.keys()).sort((a, b) => t0[a] - t0[b]);
  const pick = (type, list) => type.from(order, at => list[at]);
  const messages = {
    count: order.length,
    from: pick(Int16Array, from), to: pick(Int16Array, to),
    t0: pick(Float64Array, t0), t1: pick(Float64Array, t1),
    cls: pick(Uint8Array, cls), fate: pick(Uint8Array, fate),
    send: pick(Uint32Array, first), end: pick(Uint32Array, second),
    ofEvent: new Map(), latest: [],
  };
  for (let at = 0; at < messages.count; at++) {
    messages.ofEvent.set(messages.send[at], at);
    if (messages.end[at] !== NONE) messages.ofEvent.set(messages.end[at], at);
    const block = at >> 8;
    messages.latest[block] = Math.max(messages.latest[block] ?? 0, messages.t1[at]);
  }
  model.messages = messages;
}

// ---- what stands in each lane

const DISK = new Set(['write', 'sync', 'rotate', 'trim-tail', 'trim-prefix', 'recover']);
const GLYPHS = new Set(['vote', 'ask-vote', 'snapshot', 'members', 'apply', 'commit']);

function readLanes(model) {
  const { rows, T, L, lanes } = model;
  const open = lanes.map(() => null);
  model.roleAt = new Uint8Array(model.count); // index into ROLES, plus 1
  model.termMax = 0;
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i], lane = lanes[L[i]];
    if (row.e === 'test') open.fill(null), lanes.forEach(l => endRole(l, T[i]));
    if (!lane) continue;
    if (row.r !== undefined) {
      endRole(lane, T[i]);
      lane.roles.push({ t0: T[i], t1: model.end, role: row.r, term: row.term ?? open[L[i]]?.term, leader: row.leader, i });
      open[L[i]] = lane.roles[lane.roles.length - 1];
      model.termMax = Math.max(model.termMax, row.term || 0);
    }
    if (open[L[i]]) model.roleAt[i] = 1 + ROLES.indexOf(open[L[i]].role);
    if (row.e === 'commit' && row.index !== undefined) lane.commits.push(T[i], row.index);
    if (row.e === 'apply' && row.last !== undefined) lane.applies.push(T[i], row.last);
    if (row.e === 'recover' && row.last !== undefined) {
      // A node forgets what it had committed and applied; the lines begin anew.
      lane.commits.push(T[i], 0);
      lane.applies.push(T[i], 0);
    }
    if (DISK.has(row.e)) lane.disk.push(i);
    else if (GLYPHS.has(row.e)) lane.glyphs.push(i);
    else if (!model.head.trace && row.e !== 'test') lane.glyphs.push(i);
  }
}

function endRole(lane, at) {
  const before = lane.roles[lane.roles.length - 1];
  if (before && before.t1 > at) before.t1 = at;
}

// ---- faults: from what breaks to what mends

const MENDS = { heal: ['cut', 'partition'], connect: ['disconnect'], resume: ['pause'], restart: ['crash', 'power', 'retired'] };
const LASTING = new Set(['cut', 'partition', 'disconnect', 'pause', 'crash', 'power', 'retired', 'clog', 'disk-hang', 'disk-slow', 'disk-full', 'disk-error', 'rot', 'power-soon']);

function readFaults(model) {
  const bands = [], open = [];
  const close = (test, at) => {
    for (let k = open.length - 1; k >= 0; k--) {
      if (test(open[k])) { open[k].t1 = at; open.splice(k, 1); }
    }
  };
  for (let i = 0; i < model.count; i++) {
    const row = model.rows[i], at = model.T[i];
    if (row.e !== 'fault') continue;
    let named = Array.isArray(row.nodes) ? row.nodes : [];
    const links = row.what === 'cut' || row.what === 'partition' ? String(row.detail || '').match(/\d+>\d+/g) || [] : [];
    if (links.length) named = [...new Set(links.flatMap(link => link.split('>').map(Number)))];
    const lanes = named.map(node => model.laneOf.get(node)).filter(lane => lane !== undefined);
    const touches = band => !lanes.length || !band.lanes.length || band.lanes.some(lane => lanes.includes(lane));
    const mends = Object.hasOwn(MENDS, row.what) ? MENDS[row.what] : null;
    if (row.what === 'power' || row.what === 'crash') close(band => band.what === 'power-soon' && touches(band), at);
    if (mends) close(band => mends.includes(band.what) && touches(band), at);
    else if (row.what === 'mend') close(band => /^disk|^rot|^clog/.test(band.what) && touches(band), at);
    else {
      // The links that are cut now replace those that were.
      if (row.what === 'cut') close(band => band.what === 'cut' && links.length > 0, at);
      const lasts = LASTING.has(row.what);
      const band = { t0: at, t1: lasts ? model.end : at, what: row.what, lanes, links, i };
      bands.push(band);
      if (lasts) open.push(band);
    }
  }
  model.faults = bands;
}

// ---- operations of clients: from call to return, in as few rows as they need

function readOperations(model) {
  const open = new Map(), operations = [];
  for (let i = 0; i < model.count; i++) {
    const row = model.rows[i];
    if (row.e === 'call') {
      const operation = { t0: model.T[i], t1: model.end, call: i, end: NONE, ok: null, row: 0 };
      open.set(`${row.client}/${row.serial}`, operation);
      operations.push(operation);
    } else if (row.e === 'return') {
      const operation = open.get(`${row.client}/${row.serial}`);
      if (!operation) continue;
      operation.t1 = model.T[i]; operation.end = i; operation.ok = row.ok === true;
      open.delete(`${row.client}/${row.serial}`);
    }
  }
  const free = [];
  for (const operation of operations) {
    let row = free.findIndex(until => until <= operation.t0);
    if (row < 0) row = free.length < 6 ? free.length : 5;
    free[row] = Math.max(free[row] ?? 0, operation.t1);
    operation.row = row;
  }
  model.operations = operations;
  model.operationRows = free.length;
}

function readMarks(model) {
  model.marks = []; model.violations = []; model.tests = [];
  for (let i = 0; i < model.count; i++) {
    const row = model.rows[i];
    if (row.a) model.violations.push(i);
    if (row.e === 'mark') model.marks.push(i);
    if (row.e === 'test' || (row.e === 'mark' && row.what === 'test')) {
      model.tests.push({ name: row.e === 'test' ? row.x : row.text, first: i, last: model.count - 1, failed: false });
      if (model.tests.length > 1) model.tests[model.tests.length - 2].last = i - 1;
    }
    const test = model.tests[model.tests.length - 1];
    if (test && row.a) test.failed = true;
  }
}

// ---- the state of every node at a moment: kept now and then, and played on from there

function newState(model) {
  return model.nodes.map(() => ({
    role: '', term: 0, leader: null, vote: null, commit: 0, applied: 0,
    first: 1, last: 0, durable: 0, runs: [], snapshot: 0, recovered: null, voters: null,
  }));
}

function readFrames(model) {
  model.frames = [];
  const state = newState(model);
  for (let i = 0; i < model.count; i++) {
    if (i % FRAME === 0) model.frames.push(structuredClone(state));
    playEvent(model, state, i);
  }
}

// The state after event `i`.
function stateAt(model, i) {
  if (i < 0 || !model.frames.length) return newState(model);
  const frame = Math.floor(i / FRAME), state = structuredClone(model.frames[frame]);
  for (let at = frame * FRAME; at <= i; at++) playEvent(model, state, at);
  return state;
}

function playEvent(model, state, i) {
  const row = model.rows[i];
  const node = state[model.L[i]];
  if (row.e === 'test') return void state.forEach((old, at) => { state[at] = newState(model)[at]; });
  if (!node) return;
  if (row.r !== undefined) { node.role = row.r; node.leader = row.leader ?? null; }
  if (row.term !== undefined && ['role', 'write', ''].includes(row.e)) node.term = row.term;
  switch (row.e) {
    case 'commit': node.commit = row.index ?? node.commit; setTerm(node, row.index, row.term); break;
    case 'apply': node.applied = row.last ?? node.applied; break;
    case 'write':
      if (row.vote !== undefined) node.vote = row.vote;
      if (row.first !== undefined && row.last !== undefined) writeEntries(model, state, node, row);
      break;
    case 'sync': node.durable = node.last; break;
    case 'trim-tail': cutAfter(node, row.after ?? node.last); break;
    case 'trim-prefix':
      if (row.first === undefined) break;
      node.first = row.first;
      node.runs = node.runs.filter(run => run.last >= row.first);
      if (node.last < row.first - 1) { node.last = row.first - 1; node.durable = node.last; }
      break;
    case 'recover':
      cutAfter(node, row.last ?? 0);
      node.first = row.first ?? 1; node.last = row.last ?? 0; node.durable = node.last;
      node.commit = 0; node.applied = 0; node.recovered = row;
      break;
    case 'snapshot':
      if (row.index === undefined) break;
      if (row.what === 'taken' || row.what === 'installed') node.snapshot = row.index;
      if (row.what === 'installed') { node.applied = Math.max(node.applied, row.index); node.commit = Math.max(node.commit, row.index); }
      break;
    case 'members': node.voters = row.voters; break;
  }
}

function cutAfter(node, after) {
  node.runs = node.runs.filter(run => run.first <= after);
  const end = node.runs[node.runs.length - 1];
  if (end && end.last > after) end.last = after;
  node.last = Math.min(node.last, after);
  node.durable = Math.min(node.durable, after);
}

// A write does not say the terms of its entries: a leader's are its own, a follower's are those
// that its leader's log has there.
function writeEntries(model, state, node, row) {
  cutAfter(node, row.first - 1);
  if (!node.runs.length && node.last < row.first - 1) node.last = row.first - 1;
  const leader = state[model.laneOf.get(node.leader)];
  let at = row.first;
  if (node.role !== 'leader' && leader) {
    for (const run of leader.runs) {
      if (run.last < at || run.first > row.last) continue;
      addRun(node, Math.max(at, run.first), Math.min(run.last, row.last), run.term);
      at = Math.min(run.last, row.last) + 1;
    }
  }
  if (at <= row.last) addRun(node, at, row.last, node.term);
  node.last = row.last;
}

function addRun(node, first, last, term) {
  const end = node.runs[node.runs.length - 1];
  if (end && end.term === term && end.last + 1 === first) end.last = last;
  else node.runs.push({ first, last, term });
}

// The entry's term is known after all: what stands there in another term was a guess.
function setTerm(node, index, term) {
  const at = node.runs.findIndex(run => run.first <= index && index <= run.last);
  if (at < 0 || term === undefined || node.runs[at].term === term) return;
  const run = node.runs[at], pieces = [];
  if (run.first < index) pieces.push({ first: run.first, last: index - 1, term: run.term });
  pieces.push({ first: index, last: index, term });
  if (run.last > index) pieces.push({ first: index + 1, last: run.last, term: run.term });
  node.runs.splice(at, 1, ...pieces);
}

// ---- finding

// The first place in a sorted list whose value is not below `value`.
function lower(list, value, from = 0, to = list.length) {
  while (from < to) {
    const mid = (from + to) >> 1;
    if (list[mid] < value) from = mid + 1; else to = mid;
  }
  return from;
}

// The last event at or before a time; -1 before the first.
function eventAt(model, t) { return lower(model.T, t + 0.5) - 1; }

function lowerBy(list, value, key) {
  let from = 0, to = list.length;
  while (from < to) {
    const mid = (from + to) >> 1;
    if (key(list[mid]) < value) from = mid + 1; else to = mid;
  }
  return from;
}

// Words, and `node:2 kind:vote term:3 index:7 topic:disk`; all must hold.
function searchFor(model, text) {
  const tests = text.toLowerCase().split(/\s+/).filter(Boolean).map(word => {
    const [, key, value] = word.match(/^(node|n|kind|e|term|index|topic|m):(.+)$/) || [];
    switch (key) {
      case 'node': case 'n': return row => String(row.n) === value;
      case 'kind': case 'e': return row => row.e === value || row.kind === value;
      case 'topic': return row => row.c.toLowerCase() === value;
      case 'term': return row => String(row.term) === value;
      case 'm': return row => String(row.m) === value;
      case 'index': return row => concerns(row, Number(value));
      default: return row => row.x.toLowerCase().includes(word);
    }
  });
  const hits = [];
  if (!tests.length) return hits;
  for (let i = 0; i < model.count; i++) if (tests.every(test => test(model.rows[i]))) hits.push(i);
  return hits;
}

function concerns(row, index) {
  if (row.first !== undefined) return row.first <= index && index <= (row.last ?? row.first);
  return row.index === index || row.last === index || row.after === index;
}
