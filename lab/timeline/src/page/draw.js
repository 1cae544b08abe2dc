// The canvas: lanes, roles, lines, disks, messages, faults, clients. It draws only what is in
// view, and of what lies closer than a pixel only one: a frame costs what the screen can show, not
// what the trace holds.

const ROLES = ['follower', 'pre-candidate', 'candidate', 'leader', 'learner', 'down'];
// Faults that take the node away: its band says so already.
const OUT = new Set(['crash', 'power', 'retired']);
const GUTTER = 104, RULER = 24, FLAGS = 18, STRIP = 16;

const PALETTES = {
  light: {
    ground: '#fbfbfa', panel: '#ffffff', line: '#dcdcd6', faint: '#ecece8', ink: '#1d1f21', quiet: '#62666b',
    accent: '#2456c9', alarm: '#c4162a', good: '#1f7a3d', warn: '#9a5b00', disk: '#f4f4f1',
    messages: ['#2f62b8', '#a06a00', '#a9adb3', '#c25a00', '#1e7f78'], lost: '#d22f3c',
    write: '#8a8f96', sync: '#2f8f55', rotate: '#7443c0', trim: '#c4162a', commit: '#1d1f21', apply: '#1f7a3d',
    fault: '#d22f3c', term: hue => [`hsl(${hue} 62% 90%)`, `hsl(${hue} 58% 36%)`], none: ['#eeeeea', '#8a8f96'],
  },
  dark: {
    ground: '#131518', panel: '#1a1d21', line: '#343a41', faint: '#22262b', ink: '#e6e8ea', quiet: '#9aa2ab',
    accent: '#7aa2ff', alarm: '#ff6b6b', good: '#67c587', warn: '#e0a95a', disk: '#191c20',
    messages: ['#74a5f5', '#e3b341', '#59606a', '#f0883e', '#5cc8bf'], lost: '#ff6b6b',
    write: '#7d858e', sync: '#4fae77', rotate: '#b392f0', trim: '#ff6b6b', commit: '#e6e8ea', apply: '#67c587',
    fault: '#ff6b6b', term: hue => [`hsl(${hue} 34% 21%)`, `hsl(${hue} 62% 70%)`], none: ['#202429', '#7d858e'],
  },
};

// Neighbouring terms get hues far apart.
const hueOf = term => Math.round((205 + term * 137.508) % 360);

class Painter {
  constructor(model, canvas, overview) {
    Object.assign(this, { model, canvas, overview });
    this.context = canvas.getContext('2d', { alpha: false });
    this.small = overview.getContext('2d', { alpha: false });
    this.from = model.begin;
    this.to = model.end;
    this.terms = new Map();
    this.stats = { frames: 0, lanes: 0, messages: 0, drawn: 0, events: 0 };
    this.shown = [];
    this.hidden = new Set();
    this.hits = [];
    this.cursor = { t: model.begin, event: -1, node: -1 };
    this.hover = null;
    this.palette('light');
  }

  palette(name) { this.colors = PALETTES[name]; this.terms.clear(); this.hatch = null; }

  term(term) {
    if (term === undefined || term === null) return this.colors.none;
    let pair = this.terms.get(term);
    if (!pair) this.terms.set(term, pair = this.colors.term(hueOf(term)));
    return pair;
  }

  // ---- sizes

  resize(room) {
    const { model, canvas, overview } = this;
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    this.width = Math.max(320, canvas.clientWidth);
    const lanes = Math.max(1, model.nodes.length);
    this.bottom = model.operationRows ? model.operationRows * 9 + 22 : 8;
    const top = RULER + FLAGS;
    const each = (room - top - this.bottom) / lanes;
    this.gap = Math.max(14, Math.min(84, each * 0.4));
    this.lane = Math.max(40, Math.min(150, each - this.gap));
    this.top = top + this.gap / 2;
    this.height = Math.max(room, this.top + lanes * (this.lane + this.gap) - this.gap / 2 + this.bottom);
    canvas.style.height = `${this.height}px`;
    canvas.width = Math.round(this.width * this.ratio);
    canvas.height = Math.round(this.height * this.ratio);
    overview.width = Math.round(overview.clientWidth * this.ratio);
    overview.height = Math.round(overview.clientHeight * this.ratio);
    this.background = null;
  }

  x(t) { return GUTTER + (t - this.from) / (this.to - this.from) * (this.width - GUTTER); }
  time(x) { return this.from + (x - GUTTER) / (this.width - GUTTER) * (this.to - this.from); }
  y(lane) { return this.top + lane * (this.lane + this.gap); }
  laneAt(y) {
    const lane = Math.floor((y - this.top + this.gap / 2) / (this.lane + this.gap));
    return lane >= 0 && lane < this.model.nodes.length ? lane : -1;
  }

  // ---- a frame

  draw() {
    const began = performance.now();
    const c = this.context;
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.fillStyle = this.colors.ground;
    c.fillRect(0, 0, this.width, this.height);
    c.save();
    c.beginPath();
    c.rect(GUTTER, 0, this.width - GUTTER, this.height);
    c.clip();
    this.shown = [];
    this.labels = [];
    this.stats.events = 0;
    this.drawGrid();
    for (let lane = 0; lane < this.model.nodes.length; lane++) this.drawLane(lane);
    this.drawFaults();
    this.drawMessages();
    for (let lane = 0; lane < this.model.nodes.length; lane++) this.drawGlyphs(lane);
    this.drawLabels();
    this.drawOperations();
    this.drawFlags();
    this.drawCursor();
    c.restore();
    this.drawGutter();
    this.drawOverview();
    this.stats.frames++;
    this.stats.lanes = this.model.nodes.length;
    this.stats.millis = performance.now() - began;
  }

  text(words, x, y, color, font = '11px system-ui, "DejaVu Sans", sans-serif', align = 'left') {
    const c = this.context;
    c.font = font; c.fillStyle = color; c.textAlign = align; c.textBaseline = 'middle';
    c.fillText(words, x, y);
  }

  drawGrid() {
    const c = this.context, step = tick((this.to - this.from) / Math.max(2, (this.width - GUTTER) / 110));
    c.strokeStyle = this.colors.faint;
    c.lineWidth = 1;
    c.beginPath();
    for (let t = Math.ceil(this.from / step) * step; t <= this.to; t += step) {
      const x = Math.round(this.x(t)) + 0.5;
      c.moveTo(x, RULER); c.lineTo(x, this.height);
      this.text(clock(t, step), x + 4, RULER / 2, this.colors.quiet);
    }
    c.moveTo(GUTTER, RULER - 0.5); c.lineTo(this.width, RULER - 0.5);
    c.stroke();
  }

  drawLane(lane) {
    const c = this.context, y = this.y(lane), band = this.lane - STRIP, { roles } = this.model.lanes[lane];
    c.fillStyle = this.colors.disk;
    c.fillRect(GUTTER, y + band, this.width - GUTTER, STRIP);
    let at = Math.max(0, lowerBy(roles, this.from, role => role.t0) - 1), pixel = -1;
    for (; at < roles.length && roles[at].t0 <= this.to; at++) {
      const role = roles[at], x0 = Math.max(this.x(role.t0), GUTTER - 6), x1 = Math.min(this.x(role.t1), this.width + 6);
      if (x1 < GUTTER || Math.floor(x1) === pixel) continue; // it ends where the last one was drawn
      pixel = Math.floor(x1);
      this.drawRole(role, x0, y, Math.max(1, x1 - x0), band);
    }
    this.drawSeries(this.model.lanes[lane].commits, y, band, this.colors.commit, []);
    this.drawSeries(this.model.lanes[lane].applies, y, band, this.colors.apply, [3, 2]);
    this.drawDisk(lane, y + band);
  }

  // Colour by term, border by role.
  drawRole(role, x, y, width, height) {
    const c = this.context, [fill, edge] = this.term(role.term);
    c.fillStyle = role.role === 'down' ? this.hatching() : fill;
    c.fillRect(x, y, width, height);
    if (width >= 3 && role.role !== 'down') {
      const thick = { leader: 3, candidate: 2, 'pre-candidate': 1.5 }[role.role] || 1;
      const dash = { candidate: [7, 4], 'pre-candidate': [2, 3] }[role.role] || [];
      c.strokeStyle = edge; c.lineWidth = thick; c.setLineDash(dash);
      c.strokeRect(x + thick / 2, y + thick / 2, width - thick, height - thick);
      c.setLineDash([]);
      if (role.role === 'learner') { c.lineWidth = 1; c.strokeRect(x + 3.5, y + 3.5, width - 7, height - 7); }
    }
    if (width > 24) this.roleLabel(role, x, y, width, role.role === 'down' ? [this.colors.ground, this.colors.quiet] : [fill, edge]);
  }

  // The most that there is room for; drawn over what crosses the band, with the band's colour around.
  roleLabel(role, x, y, width, [halo, color]) {
    const c = this.context, left = Math.max(x, GUTTER) + 7, room = Math.min(x + width, this.width) - left - 4;
    const term = `${role.term ?? '?'}`, words = role.role === 'down' ? ['down'] : [`${role.role} · term ${term}`, role.role === 'follower' ? term : `${short(role.role)} ${term}`, term];
    const font = `${role.role === 'leader' ? '600 ' : ''}11px system-ui, "DejaVu Sans", sans-serif`;
    c.font = font;
    const fits = words.find(words => c.measureText(words).width <= room);
    if (fits) this.labels.push({ words: fits, x: left, y: y + 11, halo, color, font });
  }

  hatching() {
    if (this.hatch) return this.hatch;
    const tile = document.createElement('canvas'), t = tile.getContext('2d');
    tile.width = tile.height = 8;
    t.fillStyle = this.colors.ground; t.fillRect(0, 0, 8, 8);
    t.strokeStyle = this.colors.line; t.lineWidth = 1.5;
    t.beginPath();
    for (const d of [-8, 0, 8]) { t.moveTo(d, 8); t.lineTo(d + 8, 0); }
    t.stroke();
    return this.hatch = this.context.createPattern(tile, 'repeat');
  }

  // A line of steps: index over time, the same scale in all lanes.
  drawSeries(points, y, height, color, dash) {
    const [low, high] = this.range;
    const c = this.context, room = height - 24, base = y + height - 5;
    const place = index => base - Math.max(0, Math.min(1, (index - low) / Math.max(1, high - low))) * room;
    let at = lowerPair(points, this.from) - 2;
    if (at < 0) at = 0;
    if (at >= points.length) return;
    c.strokeStyle = color; c.lineWidth = 1.25; c.setLineDash(dash);
    c.beginPath();
    let before = null, drawn = null, pixel = -1;
    for (; at < points.length && points[at] <= this.to; at += 2) {
      const x = Math.max(this.x(points[at]), GUTTER - 2), index = points[at + 1];
      if (Math.floor(x) !== pixel && before !== null) {
        // What rose within the last pixel, then straight on to here.
        if (drawn !== before) c.lineTo(pixel + 0.5, before);
        c.lineTo(x, before);
        drawn = before;
      }
      const here = place(index);
      // 0: the node began anew and knows nothing yet.
      if (before === null || index === 0) { c.moveTo(x, here); drawn = here; }
      pixel = Math.floor(x); before = here;
    }
    if (before !== null && drawn !== before) c.lineTo(pixel + 0.5, before);
    if (before !== null) c.lineTo(this.width, before);
    c.stroke();
    c.setLineDash([]);
  }

  // Lowest and highest commit index in view.
  scale() {
    let low = Infinity, high = 0;
    for (const { commits } of this.model.lanes) {
      for (let at = Math.max(0, lowerPair(commits, this.from) - 2); at < commits.length && commits[at] <= this.to; at += 2) {
        if (commits[at + 1] > 0) low = Math.min(low, commits[at + 1]);
        high = Math.max(high, commits[at + 1]);
      }
    }
    this.range = [Math.min(low, high), high];
  }

  drawDisk(lane, y) {
    const c = this.context, { disk } = this.model.lanes[lane], { rows, T } = this.model;
    if (this.hidden.has('disk')) return;
    let pixel = -1, syncPixel = -1;
    const writes = [], syncs = [];
    for (let at = lowerBy(disk, this.from, i => T[i]); at < disk.length && T[disk[at]] <= this.to + 0; at++) {
      const i = disk[at], row = rows[i], x = this.x(T[i]);
      if (row.e === 'write') {
        if (Math.floor(x) !== pixel) { pixel = Math.floor(x); writes.push(x); this.show(i, x, y + 4, lane); }
      } else if (row.e === 'sync') {
        if (Math.floor(x) !== syncPixel) { syncPixel = Math.floor(x); syncs.push(Math.max(this.x(T[i] - (row.us || 0)), GUTTER - 2), x); this.show(i, x, y + 11, lane); }
      } else { this.drawDiskMark(row, x, y); this.show(i, x, y + 8, lane); }
    }
    c.fillStyle = this.colors.write;
    for (const x of writes) c.fillRect(x - 0.75, y + 2, 1.5, 5);
    c.fillStyle = this.colors.sync;
    for (let at = 0; at < syncs.length; at += 2) {
      c.globalAlpha = 0.4; c.fillRect(syncs[at], y + 9, Math.max(0.5, syncs[at + 1] - syncs[at]), 4); c.globalAlpha = 1;
      c.fillRect(syncs[at + 1] - 0.75, y + 8, 1.5, 6);
    }
  }

  drawDiskMark(row, x, y) {
    const c = this.context;
    if (row.e === 'recover') {
      const bad = /corrupt|refused/.test(row.verdict), doubt = !bad && !/^(clean|new)/.test(row.verdict);
      const color = bad ? this.colors.alarm : doubt ? this.colors.warn : this.colors.good;
      c.fillStyle = color;
      c.beginPath(); c.arc(x, y + STRIP / 2, 5, 0, 7); c.fill();
      this.text(bad ? '✕' : doubt ? '?' : '✓', x, y + STRIP / 2 + 0.5, this.colors.ground, 'bold 8px sans-serif', 'center');
      if (this.to - this.from < 4e6) this.text(row.verdict, x + 8, y + STRIP / 2, color, '10px system-ui, "DejaVu Sans", sans-serif');
      return;
    }
    c.fillStyle = row.e === 'rotate' ? this.colors.rotate : this.colors.trim;
    c.beginPath();
    if (row.e === 'rotate') c.rect(x - 1, y + 1, 2, STRIP - 2);
    else if (row.e === 'trim-tail') { c.moveTo(x + 4, y + 3); c.lineTo(x - 3, y + 8); c.lineTo(x + 4, y + 13); }
    else { c.moveTo(x - 4, y + 3); c.lineTo(x + 3, y + 8); c.lineTo(x - 4, y + 13); }
    c.fill();
  }

  show(i, x, y, lane) { this.shown.push(i, x, y, lane); this.stats.events++; }

  // ---- signs in a lane

  drawGlyphs(lane) {
    const { model } = this, { rows, T, lanes } = model, { glyphs } = lanes[lane], y = this.y(lane), c = this.context;
    const middle = y + (this.lane - STRIP) / 2 + 4, pixel = new Map();
    for (let at = lowerBy(glyphs, this.from, i => T[i]); at < glyphs.length && T[glyphs[at]] <= this.to; at++) {
      // Those in the middle are as wide as a letter, and none stands on another; the others are ticks.
      const i = glyphs[at], row = rows[i], x = this.x(T[i]), tick = row.e === 'commit' || row.e === 'apply';
      if (this.hidden.has(row.c) || x - (pixel.get(tick ? row.e : 'middle') ?? -99) < (tick ? 3 : model.head.trace ? 11 : 5)) continue;
      pixel.set(tick ? row.e : 'middle', x);
      const h = this.glyph(row, x, middle, y);
      this.show(i, x, h, lane);
    }
    const { roles } = lanes[lane];
    for (let at = lowerBy(roles, this.from, role => role.t0); at < roles.length && roles[at].t0 <= this.to; at++) this.show(roles[at].i, this.x(roles[at].t0), y + 11, lane);
    c.globalAlpha = 1;
  }

  glyph(row, x, middle, y) {
    const c = this.context, colors = this.colors;
    c.beginPath();
    switch (row.e) {
      case 'vote':
        c.fillStyle = c.strokeStyle = row.granted ? colors.good : colors.alarm; c.lineWidth = 1.4;
        if (row.granted) { c.moveTo(x, middle - 5); c.lineTo(x + 5, middle + 4); c.lineTo(x - 5, middle + 4); c.fill(); }
        else { c.moveTo(x, middle + 5); c.lineTo(x + 5, middle - 4); c.lineTo(x - 5, middle - 4); c.closePath(); c.stroke(); }
        return middle;
      case 'ask-vote':
        c.fillStyle = colors.warn; c.arc(x, middle, 5.5, 0, 7); c.fill();
        this.text('?', x, middle + 0.5, colors.ground, 'bold 9px sans-serif', 'center');
        return middle;
      case 'snapshot':
        c.fillStyle = colors.messages[3];
        c.moveTo(x, middle - 6); c.lineTo(x + 6, middle); c.lineTo(x, middle + 6); c.lineTo(x - 6, middle); c.fill();
        return middle;
      case 'members':
        c.fillStyle = colors.accent; c.rect(x - 4.5, middle - 4.5, 9, 9); c.fill();
        return middle;
      case 'commit': c.fillStyle = colors.commit; c.fillRect(x - 0.75, y + this.lane - STRIP - 5, 1.5, 5); return y + this.lane - STRIP - 3;
      case 'apply': c.fillStyle = colors.apply; c.fillRect(x - 0.75, y + this.lane - STRIP - 5, 1.5, 5); return y + this.lane - STRIP - 3;
      default: c.fillStyle = row.a ? colors.alarm : colors.quiet; c.arc(x, middle, 2.6, 0, 7); c.fill(); return middle;
    }
  }

  // ---- around the nodes

  drawFaults() {
    const c = this.context;
    if (this.hidden.has('fault')) return;
    const label = [];
    for (const fault of this.model.faults) {
      if (fault.t1 < this.from || fault.t0 > this.to) continue;
      const x0 = this.x(fault.t0), x1 = Math.max(this.x(fault.t1), x0 + 1.5);
      const lanes = fault.lanes.length ? fault.lanes : this.model.nodes.map((_, lane) => lane);
      c.fillStyle = this.colors.fault;
      const left = Math.max(x0, GUTTER - 2);
      for (const lane of lanes) {
        const y = this.y(lane) - 5;
        if (!OUT.has(fault.what)) { c.globalAlpha = 0.06; c.fillRect(left, y, x1 - left, this.lane + 10); }
        c.globalAlpha = 0.75; c.fillRect(left, y, x1 - left, 2.5);
        if (x0 >= GUTTER) c.fillRect(x0, y, 1.5, this.lane + 10);
        if ((label[lane] ?? -1e9) < left && x1 - left > 5) {
          c.globalAlpha = 1;
          const words = fault.what + (fault.links.length && x1 - left > 150 ? ` ${fault.links.join(' ')}` : '');
          if (x1 - left > 26 && this.gap > 18 && lane === Math.min(...lanes)) this.labels.push({ words, x: left + 3, y: y - 6, halo: this.colors.ground, color: this.colors.fault, font: '10px system-ui, "DejaVu Sans", sans-serif' });
          label[lane] = left + words.length * 6 + 6;
        }
        this.show(fault.i, x0, y + 2, lane);
      }
      c.globalAlpha = 1;
    }
  }

  // Over everything that crosses them.
  drawLabels() {
    const c = this.context;
    c.lineJoin = 'round';
    for (const { words, x, y, halo, color, font } of this.labels) {
      c.font = font; c.textAlign = 'left'; c.textBaseline = 'middle';
      c.strokeStyle = halo; c.lineWidth = 3.5;
      c.strokeText(words, x, y);
      this.text(words, x, y, color, font);
    }
  }

  drawOperations() {
    const { operations, operationRows, T } = this.model, c = this.context;
    if (!operationRows || this.hidden.has('client')) return;
    const top = this.height - this.bottom + 4, last = [];
    c.fillStyle = this.colors.faint; c.fillRect(GUTTER, top - 4, this.width - GUTTER, 1);
    let at = 0;
    for (; at < operations.length && operations[at].t0 <= this.to; at++) {
      const operation = operations[at];
      if (operation.t1 < this.from) continue;
      const x0 = Math.max(this.x(operation.t0), GUTTER - 3), x1 = Math.min(this.x(operation.t1), this.width + 3);
      if (last[operation.row] === Math.floor(x1)) continue;
      last[operation.row] = Math.floor(x1);
      const y = top + operation.row * 9;
      c.fillStyle = operation.ok === null ? this.colors.quiet : operation.ok ? this.colors.good : this.colors.alarm;
      c.globalAlpha = operation.ok === null ? 0.35 : 0.8;
      c.fillRect(x0, y + 1, Math.max(1.5, x1 - x0), 6);
      if (x1 - x0 > 60) {
        c.globalAlpha = 1;
        c.save(); c.beginPath(); c.rect(x0, y, x1 - x0, 8); c.clip();
        this.text(this.model.rows[operation.call].op || '', x0 + 3, y + 4.5, this.colors.ground, '8px system-ui, "DejaVu Sans", sans-serif');
        c.restore();
      }
      this.show(operation.call, this.x(operation.t0), y + 4, -1);
      if (operation.end !== NONE) this.show(operation.end, this.x(T[operation.end]), y + 4, -1);
    }
    c.globalAlpha = 1;
  }

  drawFlags() {
    const { model } = this, c = this.context, y = RULER + FLAGS / 2;
    const { T, rows } = model;
    c.fillStyle = this.colors.warn;
    let pixel = -9;
    for (let at = lowerBy(this.hits, this.from, i => T[i]); at < this.hits.length && T[this.hits[at]] <= this.to; at++) {
      const x = this.x(T[this.hits[at]]);
      if (x - pixel < 2) continue;
      pixel = x;
      c.beginPath(); c.moveTo(x - 4, RULER - 9); c.lineTo(x + 4, RULER - 9); c.lineTo(x, RULER - 1); c.fill();
    }
    let until = -1;
    for (const i of model.marks) {
      if (T[i] < this.from || T[i] > this.to) continue;
      const x = this.x(T[i]);
      c.fillStyle = this.colors.quiet; c.fillRect(x - 0.5, RULER, 1, this.height - RULER);
      if (x > until) { const all = rows[i].x, words = all.length > 40 ? `${all.slice(0, 39)}…` : all; this.text(words, x + 4, y, this.colors.quiet); until = x + words.length * 6 + 10; }
      this.show(i, x, y, -1);
    }
    for (const i of model.violations) {
      if (T[i] < this.from || T[i] > this.to) continue;
      const x = this.x(T[i]);
      c.fillStyle = this.colors.alarm; c.fillRect(x - 1, RULER, 2, this.height - RULER);
      const words = rows[i].x.slice(0, 70), left = x + 6 + words.length * 6.2 > this.width;
      c.fillRect(left ? x - 10 - words.length * 6.2 : x, RULER, words.length * 6.2 + 10, FLAGS);
      this.text(words, left ? x - 5 : x + 5, y, this.colors.ground, '600 11px system-ui, "DejaVu Sans", sans-serif', left ? 'right' : 'left');
      this.show(i, x, y, -1);
    }
  }

  drawCursor() {
    const c = this.context, { t, event } = this.cursor, x = this.x(t);
    c.fillStyle = this.colors.accent;
    c.fillRect(x - 0.75, 0, 1.5, this.height);
    c.beginPath(); c.moveTo(x - 6, 0); c.lineTo(x + 6, 0); c.lineTo(x, 8); c.fill();
    if (event >= 0) {
      for (let at = 0; at < this.shown.length; at += 4) {
        if (this.shown[at] !== event) continue;
        c.strokeStyle = this.colors.accent; c.lineWidth = 2;
        c.beginPath(); c.arc(this.shown[at + 1], this.shown[at + 2], 9, 0, 7); c.stroke();
      }
      const lane = this.model.L[event];
      if (lane >= 0) { c.beginPath(); c.arc(x, this.y(lane) + this.lane - STRIP, 4, 0, 7); c.fill(); }
    }
    if (this.hover && this.hover.x !== undefined) {
      c.strokeStyle = this.colors.ink; c.lineWidth = 1.5;
      c.beginPath(); c.arc(this.hover.x, this.hover.y, 7, 0, 7); c.stroke();
    }
  }

  drawGutter() {
    const c = this.context, { model } = this;
    c.fillStyle = this.colors.panel; c.fillRect(0, 0, GUTTER - 1, this.height);
    c.fillStyle = this.colors.line; c.fillRect(GUTTER - 1, 0, 1, this.height);
    for (let lane = 0; lane < model.nodes.length; lane++) {
      const y = this.y(lane), state = this.state && this.state[lane], [, edge] = this.term(state && state.role ? state.term : null);
      if (lane === this.cursor.node) { c.fillStyle = this.colors.faint; c.fillRect(0, y - 4, GUTTER - 1, this.lane + 8); c.fillStyle = this.colors.accent; c.fillRect(0, y - 4, 3, this.lane + 8); }
      this.text(nodeName(model, lane), 12, y + 12, this.colors.ink, '600 13px system-ui, "DejaVu Sans", sans-serif');
      if (!state || !state.role) continue;
      this.text(state.role, 12, y + 29, state.role === 'down' ? this.colors.quiet : edge, `${state.role === 'leader' ? '600 ' : ''}11px system-ui, "DejaVu Sans", sans-serif`);
      if (this.lane > 56) this.text(`term ${state.term}`, 12, y + 44, this.colors.quiet);
      if (this.lane > 74 && model.head.trace) this.text(`commit ${state.commit}`, 12, y + 59, this.colors.quiet);
    }
    if (model.operationRows) this.text('clients', 12, this.height - this.bottom + 12, this.colors.quiet);
  }

  // The whole run, drawn once, and the window over it.
  drawOverview() {
    const c = this.small, width = this.overview.width, height = this.overview.height;
    if (!this.background || this.background.width !== width) this.background = this.drawWhole(width, height);
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.drawImage(this.background, 0, 0);
    const gutter = GUTTER * this.ratio, span = this.model.end - this.model.begin;
    const place = t => gutter + (t - this.model.begin) / span * (width - gutter);
    const x0 = place(this.from), x1 = Math.max(place(this.to), x0 + 2 * this.ratio);
    c.fillStyle = this.colors.ground; c.globalAlpha = 0.66;
    c.fillRect(gutter, 0, x0 - gutter, height); c.fillRect(x1, 0, width - x1, height);
    c.globalAlpha = 1; c.strokeStyle = this.colors.accent; c.lineWidth = 1.5 * this.ratio;
    c.strokeRect(x0, this.ratio, x1 - x0, height - 2 * this.ratio);
    c.fillStyle = this.colors.accent; c.fillRect(place(this.cursor.t) - 0.5, 0, 1.5 * this.ratio, height);
  }

  drawWhole(width, height) {
    const whole = document.createElement('canvas'), c = whole.getContext('2d', { alpha: false });
    whole.width = width; whole.height = height;
    c.fillStyle = this.colors.panel; c.fillRect(0, 0, width, height);
    c.font = `${11 * this.ratio}px system-ui, "DejaVu Sans", sans-serif`; c.textBaseline = 'middle';
    c.fillStyle = this.colors.quiet; c.fillText('whole run', 12 * this.ratio, height / 2);
    const { model } = this, gutter = GUTTER * this.ratio, span = model.end - model.begin, lanes = model.nodes.length;
    const place = t => gutter + (t - model.begin) / span * (width - gutter), each = (height - 6) / Math.max(1, lanes);
    model.lanes.forEach((lane, at) => {
      for (const role of lane.roles) {
        const [fill, edge] = this.term(role.term), x = place(role.t0);
        c.fillStyle = role.role === 'down' ? this.colors.line : role.role === 'leader' ? edge : fill;
        c.fillRect(x, 3 + at * each, Math.max(0.6, place(role.t1) - x), each - 1.5);
      }
    });
    c.fillStyle = this.colors.fault; c.globalAlpha = 0.8;
    for (const fault of model.faults) c.fillRect(place(fault.t0), 0, Math.max(this.ratio, 1), 3 * this.ratio);
    c.globalAlpha = 1; c.fillStyle = this.colors.alarm;
    for (const i of model.violations) c.fillRect(place(model.T[i]) - 1, 0, 2 * this.ratio, height);
    return whole;
  }

  // ---- what lies under a point: an event, else a message

  hit(x, y) {
    let best = null, near = 110;
    for (let at = 0; at < this.shown.length; at += 4) {
      const dx = this.shown[at + 1] - x, dy = this.shown[at + 2] - y, d = dx * dx + dy * dy;
      if (d < near) { near = d; best = { event: this.shown[at], x: this.shown[at + 1], y: this.shown[at + 2] }; }
    }
    if (best) return best;
    let away = 5;
    for (const line of this.lines || []) {
      const d = distance(line, x, y);
      if (d < away) { away = d; best = { event: this.model.messages.send[line.at], message: line.at }; }
    }
    return best;
  }
}

// In a flat list of pairs, where the first pair at or after a time begins.
function lowerPair(points, t) {
  let from = 0, to = points.length / 2;
  while (from < to) {
    const mid = (from + to) >> 1;
    if (points[mid * 2] < t) from = mid + 1; else to = mid;
  }
  return from * 2;
}

const short = role => ({ 'pre-candidate': 'pre', candidate: 'cand', leader: 'lead', learner: 'learn' })[role] || role;
const nodeName = (model, lane) => (model.head.trace ? `node ${model.nodes[lane]}` : model.head.format === '6.824' ? `S${model.nodes[lane]}` : `[${model.nodes[lane]}]`);

// A step of 1, 2 or 5 times a power of ten that is no less than `least`.
function tick(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return power * [1, 2, 5, 10].find(times => power * times >= least);
}

// A time with as many places as a step needs.
function clock(t, step = 1) {
  if (step >= 1e6) return `${(t / 1e6).toFixed(0)} s`;
  if (step >= 1e3) return `${(t / 1e6).toFixed(Math.max(0, 6 - Math.floor(Math.log10(step))))} s`;
  return `${(t / 1e6).toFixed(6)} s`;
}
