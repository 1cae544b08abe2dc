// Messages on the canvas: a line from where it was sent to where it came, or half the way to a
// cross. Of too many a part is drawn.

const LINES_MAX = 1800;

Object.assign(Painter.prototype, {
  drawMessages() {
    const { messages } = this.model, c = this.context, lists = new Map();
    const inView = [];
    const first = this.firstInView(messages);
    const hide = this.hideMessages();
    for (let at = first; at < messages.count && messages.t0[at] <= this.to; at++) {
      if (messages.t1[at] < this.from && messages.fate[at] !== 2) continue;
      if (hide[messages.cls[at] & 7] && messages.fate[at] !== 1 || hide[5] && messages.fate[at] === 1) continue;
      inView.push(at);
    }
    const chosen = thin(inView, messages, this.from, this.to);
    this.stats.messages = inView.length;
    this.stats.drawn = chosen.length;
    this.lines = [];
    for (const at of chosen) {
      const line = this.line(at), style = messages.fate[at] === 1 ? 16 : messages.cls[at];
      if (!lists.has(style)) lists.set(style, []);
      lists.get(style).push(line);
      this.lines.push(line);
    }
    // Where only a part is drawn, arrows say nothing but how much goes where.
    const crowd = inView.length > chosen.length ? 0.16 : chosen.length > 500 ? 0.45 : 0.85;
    for (const [style, lines] of [...lists].sort((a, b) => a[0] - b[0])) this.strokeLines(style, lines, crowd);
    const own = this.model.messages.ofEvent.get(this.cursor.event);
    if (own !== undefined) this.strokeLines(messages.fate[own] === 1 ? 16 : messages.cls[own], [this.line(own)], 1, 3);
    if (inView.length > chosen.length) {
      this.text(`${chosen.length.toLocaleString('en')} of ${inView.length.toLocaleString('en')} messages drawn; zoom in for all`, this.width - 10, this.height - 8, this.colors.quiet, '11px system-ui, "DejaVu Sans", sans-serif', 'right');
    }
  },

  hideMessages() {
    return ['append', 'vote', 'heartbeat', 'snapshot', 'message', 'lost'].map(topic => this.hidden.has(topic));
  },

  firstInView(messages) {
    let block = 0;
    while (block < messages.latest.length && messages.latest[block] < this.from) block++;
    return Math.min(block << 8, messages.count);
  },

  line(at) {
    const { messages } = this.model, from = messages.from[at], to = messages.to[at], down = to > from;
    const x0 = this.x(messages.t0[at]), y0 = this.y(from) + (down ? this.lane : 0);
    let x1 = this.x(messages.t1[at]), y1 = this.y(to) + (down ? 0 : this.lane);
    if (messages.fate[at]) { // half the way, to a cross or into the open
      x1 = Math.max(x1, x0 + 7);
      y1 = y0 + (y1 - y0) / 2 * Math.min(1, (this.gap + 10) / Math.max(1, Math.abs(y1 - y0)));
    }
    return { at, x0, y0, x1, y1 };
  },

  strokeLines(style, lines, alpha, width = 1) {
    const c = this.context, lost = style === 16, reply = !lost && style & 8;
    c.strokeStyle = c.fillStyle = lost ? this.colors.lost : this.colors.messages[style & 7];
    c.globalAlpha = reply ? alpha * 0.6 : lost ? Math.max(alpha, 0.45) : alpha;
    c.lineWidth = width;
    c.beginPath();
    for (const { x0, y0, x1, y1 } of lines) { c.moveTo(x0, y0); c.lineTo(x1, y1); }
    c.stroke();
    if (lost) {
      c.globalAlpha = 1; c.lineWidth = 1.6;
      c.beginPath();
      for (const { x1, y1 } of lines) { c.moveTo(x1 - 3, y1 - 3); c.lineTo(x1 + 3, y1 + 3); c.moveTo(x1 + 3, y1 - 3); c.lineTo(x1 - 3, y1 + 3); }
      c.stroke();
    } else if (alpha > 0.2) {
      c.beginPath();
      for (const { at, x0, y0, x1, y1 } of lines) {
        if (this.model.messages.fate[at]) continue;
        const length = Math.hypot(x1 - x0, y1 - y0) || 1, ux = (x1 - x0) / length, uy = (y1 - y0) / length;
        c.moveTo(x1, y1); c.lineTo(x1 - ux * 7 - uy * 3, y1 - uy * 7 + ux * 3); c.lineTo(x1 - ux * 7 + uy * 3, y1 - uy * 7 - ux * 3);
      }
      c.fill();
    }
    c.globalAlpha = 1;
  },
});

// Of too many messages a part that stays the same while the view moves: for each pair of nodes one
// in each slice of time, slices as wide as needed.
function thin(inView, messages, from, to) {
  if (inView.length <= LINES_MAX) return inView;
  let slice = 2 ** Math.floor(Math.log2((to - from) / 2000));
  for (;;) {
    const seen = new Set(), chosen = [];
    for (const at of inView) {
      const key = (Math.floor(messages.t0[at] / slice) * 4096 + messages.from[at] * 64 + messages.to[at]) * 2 + (messages.fate[at] === 1 ? 1 : 0);
      if (!seen.has(key)) { seen.add(key); chosen.push(at); if (chosen.length > LINES_MAX * 2) break; }
    }
    if (chosen.length <= LINES_MAX) return chosen;
    slice *= 2;
  }
}

function distance({ x0, y0, x1, y1 }, x, y) {
  const dx = x1 - x0, dy = y1 - y0, along = Math.max(0, Math.min(1, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
}
