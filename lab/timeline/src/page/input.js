// Keys and pointers.

const KEYS = {
  ArrowRight: app => app.step(1),
  ArrowLeft: app => app.step(-1),
  ArrowDown: app => app.focusNode(app.node + 1),
  ArrowUp: app => app.focusNode(app.node - 1),
  Home: app => app.select(app.range()[0]),
  End: app => app.select(app.range()[1]),
  PageDown: app => app.pan(0.8),
  PageUp: app => app.pan(-0.8),
  '+': app => app.zoom(1 / 1.6), '=': app => app.zoom(1 / 1.6), '-': app => app.zoom(1.6),
  0: app => app.fit(),
  '/': () => $('query').focus(),
  n: app => app.nextHit(1), N: app => app.nextHit(-1),
  v: app => app.nextViolation(),
  m: app => app.otherEnd(),
  t: app => { app.show(app.tab === 'table' ? 'timeline' : 'table'); app.writeLink(); },
  d: app => app.switchTheme(),
  '?': () => $('help').showModal(),
  Escape: app => app.focusNode(-1),
};

const HELP_KEYS = [
  ['← →', 'event before, next event'], ['↑ ↓', 'only the node above, below; Esc: all nodes'],
  ['Home End', 'first, last event'], ['PgUp PgDn', 'a screen back, on'],
  ['+ − 0', 'zoom in, out, everything'], ['/ n N', 'search, next hit, hit before'],
  ['m', 'the other end of a message'], ['v', 'next broken rule or failure'],
  ['t', 'timeline or table'], ['d', 'dark or light'],
];
const HELP_SIGNS = [
  ['Band', 'colour: term; border: thick leader, dashed candidate, dotted pre-candidate, double learner, hatched down'],
  ['Lines in it', 'solid: commit index; dashed: applied index'],
  ['▲ ▽ ●?', 'vote granted, vote refused, asks for votes'],
  ['◆ ■', 'snapshot, members'],
  ['Foot of a lane', 'its disk: grey write, green sync from the first write it covers, violet next file, red ◂ dropped tail, ✓ ? ✕ what recovery found'],
  ['Arrows', 'messages, fainter for replies; a cross: lost'],
  ['Red bands', 'faults, from what broke to what mended'],
  ['Bottom', 'operations of clients: green done, red failed, grey not answered'],
];

Object.assign(App.prototype, {
  makeHelp() {
    const lists = [['Keys', HELP_KEYS, 'kbd'], ['Signs', HELP_SIGNS, 'b']].map(([title, list, tag]) => {
      const box = element('div'), all = element('dl');
      for (const [sign, words] of list) {
        const term = element('dt');
        for (const one of tag === 'kbd' ? sign.split(' ') : [sign]) term.append(element(tag, {}, one), ' ');
        all.append(term, element('dd', {}, words));
      }
      box.append(element('h2', {}, title), all);
      return box;
    });
    const two = element('div', { class: 'two' }), close = element('button', {}, 'Close');
    two.append(...lists);
    close.addEventListener('click', () => $('help').close());
    $('help').append(two, element('p', {}, 'Wheel: zoom; drag: move; drag above: choose a part. Links keep time, node, event and zoom.'), close);
  },

  switchTheme() {
    const other = this.theme === 'dark' ? 'light' : 'dark';
    this.store('theme', other);
    this.setTheme(other);
  },

  otherEnd() {
    const at = this.model.messages.ofEvent.get(this.cursor.event);
    if (at === undefined) return this.say('No message');
    const { send, end } = this.model.messages;
    const other = send[at] === this.cursor.event ? end[at] : send[at];
    if (other !== NONE) this.select(other);
  },

  listen() {
    document.addEventListener('keydown', event => this.key(event));
    window.addEventListener('hashchange', () => { if (location.hash !== this.link) this.readLink(); });
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', event => { if (!this.stored('theme')) this.setTheme(event.matches ? 'dark' : 'light'); });
    const on = (id, run) => $(id).addEventListener('click', run);
    for (const tab of ['timeline', 'table']) on(`tab-${tab}`, () => { this.show(tab); this.writeLink(); });
    $('tabs').addEventListener('keydown', event => {
      if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
      this.show(this.tab === 'table' ? 'timeline' : 'table');
      $(`tab-${this.tab}`).focus();
      event.stopPropagation();
    });
    on('step-back', () => this.step(-1)); on('step-on', () => this.step(1));
    on('zoom-in', () => this.zoom(1 / 1.6)); on('zoom-out', () => this.zoom(1.6)); on('zoom-fit', () => this.fit());
    on('violation', () => this.nextViolation());
    on('theme', () => this.switchTheme());
    on('help-open', () => $('help').showModal());
    on('hit-before', () => this.nextHit(-1));
    let typing;
    $('query').addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(() => this.search($('query').value), 150); });
    $('search').addEventListener('submit', event => {
      event.preventDefault();
      clearTimeout(typing);
      this.search($('query').value);
      this.nextHit(1);
    });
    this.listenCanvas();
    this.listenOverview();
  },

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || $('help').open) return;
    const field = event.target.closest('input, select');
    if (field) {
      if (event.key === 'Escape') field.blur();
      return;
    }
    if (event.target.closest('button') && (event.key === 'Enter' || event.key === ' ')) return;
    // In the table these keys scroll.
    if (this.tab === 'table' && /^Page|^Home|^End/.test(event.key)) return;
    const run = KEYS[event.key];
    if (!run) return;
    event.preventDefault();
    run(this);
  },

  listenCanvas() {
    const canvas = $('canvas');
    let held = null;
    const place = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    canvas.addEventListener('pointerdown', event => {
      const [x, y] = place(event);
      held = { x, y, from: this.painter.from, to: this.painter.to, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener('pointermove', event => {
      const [x, y] = place(event);
      if (!held) return this.point(x, y);
      if (Math.abs(x - held.x) > 3) held.moved = true;
      if (!held.moved) return;
      canvas.classList.add('moving');
      const by = (held.x - x) / (this.painter.width - GUTTER) * (held.to - held.from);
      this.setView(held.from + by, held.to + by);
    });
    canvas.addEventListener('pointerup', event => {
      const [x, y] = place(event), moved = held?.moved;
      held = null;
      canvas.classList.remove('moving');
      if (!moved) this.click(x, y);
    });
    canvas.addEventListener('pointerleave', () => this.point(-1, -1));
    canvas.addEventListener('wheel', event => {
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan((event.deltaX || event.deltaY) / 1200);
      else if (event.ctrlKey || $('stage').scrollHeight <= $('stage').clientHeight + 1) this.zoom(Math.exp(event.deltaY * 0.0022), this.painter.time(Math.max(GUTTER, place(event)[0])));
      else return;
      event.preventDefault();
    }, { passive: false });
    canvas.addEventListener('dblclick', event => this.zoom(1 / 4, this.painter.time(Math.max(GUTTER, place(event)[0]))));
  },

  click(x, y) {
    if (x < GUTTER) {
      const lane = this.painter.laneAt(y);
      return this.focusNode(lane === this.node ? -1 : lane);
    }
    const hit = this.painter.hit(x, y);
    if (hit) this.select(hit.event);
    else this.moveTo(this.painter.time(x));
  },

  // Says what lies under the pointer.
  point(x, y) {
    const hit = x < GUTTER ? null : this.painter.hit(x, y), tip = $('tip');
    const changed = hit?.event !== this.painter.hover?.event;
    this.painter.hover = hit;
    if (changed) this.draw();
    tip.hidden = !hit;
    if (!hit) return;
    if (changed) tip.replaceChildren(...this.tipOf(hit));
    const left = Math.min(x + 14, this.painter.width - tip.offsetWidth - 6);
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${y + 18 + tip.offsetHeight > $('stage').scrollTop + $('stage').clientHeight ? y - tip.offsetHeight - 10 : y + 18}px`;
  },

  tipOf({ event, message }) {
    const { model } = this, row = model.rows[event], lane = model.L[event];
    const where = lane >= 0 ? nodeName(model, lane) : 'around the nodes';
    const parts = [element('small', {}, `${row.k || clock(model.T[event])} · ${where}`), element('b', {}, row.x)];
    const at = message ?? model.messages.ofEvent.get(event);
    if (at !== undefined) {
      const { fate, t0, t1, end } = model.messages;
      const words = fate[at] === 1 ? `lost: ${model.rows[end[at]].why || ''}` : fate[at] === 2 ? 'on its way when the trace ends' : `arrives ${span(t1[at] - t0[at])} later`;
      parts.push(element('small', {}, words));
    }
    return parts;
  },

  listenOverview() {
    const overview = $('overview');
    let held = null;
    const time = event => {
      const box = overview.getBoundingClientRect();
      return this.model.begin + (event.clientX - box.left - GUTTER) / (box.width - GUTTER) * (this.model.end - this.model.begin);
    };
    overview.addEventListener('pointerdown', event => {
      const t = time(event), { from, to } = this.painter;
      overview.setPointerCapture(event.pointerId);
      // Inside the window: move it. Outside, or when it is everything: choose a new one.
      const all = to - from >= this.model.end - this.model.begin;
      held = t > from && t < to && !all ? { grip: t - from, width: to - from } : { start: t };
    });
    overview.addEventListener('pointermove', event => {
      if (!held) return;
      const t = time(event);
      if (held.width !== undefined) this.setView(t - held.grip, t - held.grip + held.width);
      else if (Math.abs(this.painter.x(t) - this.painter.x(held.start)) > 3 || held.drawn) { held.drawn = true; this.setView(Math.min(t, held.start), Math.max(t, held.start)); }
    });
    overview.addEventListener('pointerup', event => {
      if (held && held.width === undefined && !held.drawn) {
        const t = time(event), half = (this.painter.to - this.painter.from) / 2;
        this.setView(t - half, t + half);
        this.moveTo(t);
      }
      held = null;
    });
  },
});

// A trace that cannot be shown says why.
try {
  const rows = JSON.parse($('rows').textContent), head = JSON.parse($('head').textContent);
  window.lab = new App(readModel(head, rows));
} catch (error) {
  document.body.prepend(element('p', { role: 'alert' }, `This page cannot show its trace: ${error.message}`));
  throw error;
}
