// The page: tabs, keys, mouse, search, links, and what stands beside the timeline.

const $ = id => document.getElementById(id);

class App {
  constructor(model) {
    this.model = model;
    this.painter = new Painter(model, $('canvas'), $('overview'));
    this.table = new Table(model, $('scroller'), $('events'), i => this.select(i));
    this.hits = [];
    this.hidden = new Set();
    this.tab = 'timeline';
    this.node = -1;
    this.test = -1;
    this.cursor = { t: model.begin, event: -1 };
    $('title').textContent = model.head.title;
    this.setTheme(this.stored('theme') || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'));
    this.makeChips();
    this.makeTests();
    this.makeHelp();
    this.listen();
    if (model.violations.length) {
      $('violation').hidden = false;
      $('violation').lastChild.textContent = `${model.violations.length}`;
      $('violation').setAttribute('aria-label', `First of ${model.violations.length} broken rules or failures`);
    }
    this.table.show(0, model.count - 1);
    if (!model.head.trace) this.show('table');
    this.readLink();
    new ResizeObserver(() => this.resize()).observe($('stage'));
    this.resize();
    this.tell();
  }

  resize() {
    if (this.tab !== 'timeline') return;
    // Sizing empties a canvas: it is filled again before anybody sees it.
    this.painter.resize($('stage').clientHeight);
    this.drawNow();
  }

  // At most one frame for all that changed.
  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.drawNow();
    });
  }

  drawNow() {
    const { painter } = this;
    if (this.tab !== 'timeline') return;
    painter.cursor = { ...this.cursor, node: this.node };
    painter.state = this.state ??= stateAt(this.model, this.eventBefore());
    painter.hits = this.hits;
    painter.hidden = this.hidden;
    painter.scale();
    painter.draw();
  }

  eventBefore() { return this.cursor.event >= 0 ? this.cursor.event : eventAt(this.model, this.cursor.t); }

  // ---- moving about

  setView(from, to, quiet) {
    const { begin, end } = this.model, span = end - begin;
    const margin = span * 0.01;
    let width = Math.max(20, Math.min(to - from, span + 2 * margin));
    from = Math.max(begin - margin, Math.min(from, end + margin - width));
    this.painter.from = from;
    this.painter.to = from + width;
    if (!quiet) this.writeLink();
    this.draw();
  }

  // Everything, with a little room at both ends.
  fit(quiet) {
    const { begin, end } = this.model, margin = (end - begin) * 0.01;
    this.setView(begin - margin, end + margin, quiet);
  }

  zoom(factor, at = this.inView(this.cursor.t) ? this.cursor.t : (this.painter.from + this.painter.to) / 2) {
    const { from, to } = this.painter;
    this.setView(at - (at - from) * factor, at + (to - at) * factor);
  }

  pan(part) {
    const width = this.painter.to - this.painter.from;
    this.setView(this.painter.from + part * width, this.painter.to + part * width);
  }

  inView(t) { return t >= this.painter.from && t <= this.painter.to; }

  select(i, keep) {
    if (i < 0 || i >= this.model.count) return;
    this.cursor = { t: this.model.T[i], event: i };
    this.state = null;
    if (!keep && !this.inView(this.cursor.t)) {
      const half = (this.painter.to - this.painter.from) / 2;
      this.setView(this.cursor.t - half, this.cursor.t + half, true);
    }
    this.table.select(i, this.tab === 'table');
    this.tell();
    this.writeLink();
    this.draw();
  }

  moveTo(t) {
    this.cursor = { t: Math.max(this.model.begin, Math.min(this.model.end, t)), event: -1 };
    this.state = null;
    this.table.select(this.eventBefore(), this.tab === 'table');
    this.tell();
    this.writeLink();
    this.draw();
  }

  // The next event that is shown: of the node in focus, or of all.
  step(by) {
    const { model } = this;
    let i = this.cursor.event >= 0 ? this.cursor.event + by : by > 0 ? lower(model.T, this.cursor.t) : eventAt(model, this.cursor.t);
    const [first, last] = this.range();
    while (i >= first && i <= last && !this.isShown(i)) i += by;
    if (i >= first && i <= last) this.select(i);
    else this.say(by > 0 ? 'No event after this one' : 'No event before this one');
  }

  range() {
    const test = this.model.tests[this.test];
    return test ? [test.first, test.last] : [0, this.model.count - 1];
  }

  isShown(i) { return !this.hidden.has(this.model.rows[i].c) && (this.node < 0 || this.model.L[i] === this.node); }

  focusNode(lane) {
    this.node = Math.max(-1, Math.min(this.model.nodes.length - 1, lane));
    this.say(this.node < 0 ? 'All nodes' : `Only ${nodeName(this.model, this.node)}: ${this.nodeWords(this.node)}`);
    this.tell();
    this.writeLink();
    this.draw();
  }

  // ---- what is told

  tell() {
    const { model, cursor } = this;
    const moment = $('moment');
    moment.textContent = cursor.event >= 0 && model.rows[cursor.event].k || clock(cursor.t);
    this.state ??= stateAt(model, this.eventBefore());
    this.tellEvent(cursor.event);
    this.tellNodes();
  }

  tellEvent(i) {
    const box = $('details'), { model } = this;
    if (i < 0) {
      box.replaceChildren(element('p', { class: 'where' }, 'No event chosen: click one, or step with the arrow keys.'));
      return;
    }
    const row = model.rows[i], lane = model.L[i];
    const where = lane >= 0 ? nodeName(model, lane) : lane === WORLD ? 'around the nodes' : 'the run';
    const parts = [
      element('p', { class: 'where' }, `${where} · ${row.e || row.c} · event ${(i + 1).toLocaleString('en')} of ${model.count.toLocaleString('en')}`),
      element('p', { class: 'said' }, row.x),
    ];
    const list = element('dl');
    const mine = new Set(['t', 'n', 'e', 'c', 'x', 'k', 'r', 'a']);
    for (const [key, value] of Object.entries(row)) {
      if (mine.has(key)) continue;
      list.append(element('dt', {}, key), element('dd', {}, typeof value === 'string' ? value : JSON.stringify(value)));
    }
    parts.push(list);
    const at = model.messages.ofEvent.get(i);
    if (at !== undefined) {
      const other = model.messages.send[at] === i ? model.messages.end[at] : model.messages.send[at];
      const took = model.messages.t1[at] - model.messages.t0[at];
      if (other === NONE) parts.push(element('p', { class: 'where' }, 'still on its way when the trace ends'));
      else {
        const go = element('button', {}, other > i ? (model.messages.fate[at] === 1 ? 'Where it was lost' : `Its arrival, ${span(took)} later`) : `Its sending, ${span(took)} before`);
        go.addEventListener('click', () => this.select(other));
        parts.push(go);
      }
    }
    box.replaceChildren(...parts);
    this.say(`${clock(model.T[i])}, ${where}: ${row.x}`);
  }

  say(words) { $('live').textContent = words; }

  nodeWords(lane) {
    const node = this.state[lane];
    return `${node.role || 'no role'}, term ${node.term}, commit ${node.commit}, log to ${node.last}`;
  }

  tellNodes() {
    const parts = this.state.map((node, lane) => this.nodeCard(node, lane));
    if (this.model.head.trace) parts.push(element('p', { class: 'legend' }, 'Colour: term. Green foot: committed. Hatched: not on disk yet.'));
    $('nodes').replaceChildren(...parts);
  }

  nodeCard(node, lane) {
    const card = element('div', { class: lane === this.node ? 'node focus' : 'node' });
    const who = element('button', { class: 'who', 'aria-pressed': String(lane === this.node) });
    const role = element('span', { class: `role ${ROLES.includes(node.role) ? node.role : ''}` }, node.role || '–');
    if (node.role && node.role !== 'down') role.style.color = this.painter.term(node.term)[1];
    who.append(element('b', {}, nodeName(this.model, lane)), role, document.createTextNode(node.term ? `term ${node.term}` : ''));
    who.addEventListener('click', () => this.focusNode(lane === this.node ? -1 : lane));
    card.append(who);
    if (!this.model.head.trace) return card;
    const figures = element('div', { class: 'figures' });
    const figure = (name, value) => { figures.append(`${name} `, element('b', {}, String(value)), '  '); };
    figure('commit', node.commit); figure('applied', node.applied); figure('on disk', node.durable);
    if (node.snapshot) figure('snapshot', node.snapshot);
    if (node.recovered) figure('recovered', node.recovered.verdict);
    card.append(figures, this.logOf(node));
    return card;
  }

  // The last entries of a log, coloured by term.
  logOf(node) {
    const box = element('div', { class: 'log', role: 'img', 'aria-label': this.logWords(node) });
    // As many as there is room for: a larger index needs a wider cell.
    const wide = Math.max(17, String(node.last).length * 6.1 + 5), room = Math.max(3, Math.min(15, Math.floor(284 / (wide + 1)))), cells = [];
    const from = Math.max(node.first, node.last - room + 1);
    if (node.last < node.first || !node.runs.length && node.last === 0) {
      box.append(element('em', {}, 'empty'));
      return box;
    }
    if (from > node.first) cells.push(element('em', {}, `${node.first} …`));
    for (let index = from; index <= node.last; index++) {
      const run = node.runs.find(known => known.first <= index && index <= known.last);
      const cell = element('span', { title: `entry ${index}, term ${run ? run.term : 'unknown'}${index <= node.commit ? ', committed' : ''}${index > node.durable ? ', not on disk yet' : ''}` }, String(index));
      cell.append(element('small', {}, run ? `t${run.term}` : '?'));
      const [fill, edge] = this.painter.term(run ? run.term : null);
      cell.style.minWidth = `${wide}px`;
      cell.style.maxWidth = `${Math.max(34, wide + 4)}px`;
      cell.style.backgroundColor = fill;
      cell.style.color = edge;
      if (index > node.commit) cell.classList.add('open');
      if (index > node.durable) cell.classList.add('volatile');
      cells.push(cell);
    }
    box.append(...cells);
    return box;
  }

  logWords(node) {
    const runs = node.runs.slice(-5).map(run => `${run.first} to ${run.last} of term ${run.term}`).join(', ');
    return `Log from ${node.first} to ${node.last}: ${runs || 'terms unknown'}; committed to ${node.commit}, on disk to ${node.durable}`;
  }

  // ---- chips, tests, tabs, theme, search

  makeChips() {
    const order = ['role', 'vote', 'append', 'heartbeat', 'snapshot', 'message', 'lost', 'commit', 'disk', 'fault', 'client'];
    const found = [...this.model.topics].sort((a, b) => (order.indexOf(a[0]) + 99) % 99 - (order.indexOf(b[0]) + 99) % 99);
    for (const [topic, count] of found.slice(0, 40)) {
      const chip = element('button', { 'aria-pressed': 'true', 'data-topic': topic });
      const dot = element('span', { class: 'dot' });
      const at = MESSAGE_CLASS[topic];
      dot.style.background = at !== undefined ? `var(--topic-${at})` : { lost: 'var(--alarm)', fault: 'var(--alarm)', violation: 'var(--alarm)', commit: 'var(--ink)', client: 'var(--good)', disk: 'var(--good)' }[topic] || 'var(--quiet)';
      chip.append(dot, element('span', { class: 'word' }, topic), element('span', { class: 'count' }, count.toLocaleString('en')));
      chip.addEventListener('click', () => this.toggle(topic));
      $('chips').append(chip);
    }
    // Heartbeats are most of an idle trace, and say least.
    if (this.model.head.trace && this.model.topics.has('heartbeat')) this.toggle('heartbeat', true);
  }

  toggle(topic, early) {
    if (!this.hidden.delete(topic)) this.hidden.add(topic);
    for (const chip of $('chips').children) chip.setAttribute('aria-pressed', String(!this.hidden.has(chip.dataset.topic)));
    this.table.hidden = this.hidden;
    if (early) return;
    this.table.show(...this.range());
    this.table.select(this.cursor.event, this.tab === 'table');
    this.draw();
  }

  makeTests() {
    const { tests } = this.model;
    if (tests.length < 2) return;
    const menu = $('tests');
    menu.append(element('option', { value: '-1' }, `all ${tests.length}`));
    tests.forEach((test, at) => menu.append(element('option', { value: String(at) }, `${test.failed ? '✖ ' : ''}${test.name}`)));
    menu.closest('label').hidden = false;
    menu.addEventListener('change', () => this.chooseTest(Number(menu.value)));
  }

  chooseTest(at) {
    this.test = at;
    $('tests').value = String(at);
    const [first, last] = this.range();
    this.table.show(first, last);
    const { T } = this.model, margin = (T[last] - T[first]) * 0.02;
    this.setView(T[first] - margin, T[last] + margin);
    this.select(first);
  }

  show(tab) {
    this.tab = tab;
    for (const name of ['timeline', 'table']) {
      const on = name === tab;
      $(name).hidden = !on;
      $(`tab-${name}`).setAttribute('aria-selected', String(on));
      $(`tab-${name}`).tabIndex = on ? 0 : -1;
    }
    if (tab === 'table') this.table.select(this.eventBefore(), true);
    else if (this.painter) this.resize();
  }

  setTheme(name) {
    this.theme = name;
    document.documentElement.dataset.theme = name;
    this.painter.palette(name);
    this.painter.background = null;
    PALETTES[name].messages.forEach((color, at) => document.documentElement.style.setProperty(`--topic-${at}`, color));
    if (this.state) this.tell();
    this.draw();
  }

  // What was chosen last; a page that is opened from a disk may not be allowed to keep anything.
  stored(key) { try { return localStorage.getItem(`raft-lab.${key}`); } catch { return null; } }
  store(key, value) { try { localStorage.setItem(`raft-lab.${key}`, value); } catch { /* then not */ } }

  search(text) {
    this.hits = searchFor(this.model, text);
    this.table.hits = new Set(this.hits);
    this.table.show(...this.range());
    this.table.select(this.cursor.event, this.tab === 'table');
    this.tellHits();
    this.draw();
  }

  tellHits() {
    const at = this.hits.indexOf(this.cursor.event);
    $('hits').textContent = !$('query').value.trim() ? '' : !this.hits.length ? 'none' : at < 0 ? this.hits.length.toLocaleString('en') : `${at + 1}/${this.hits.length.toLocaleString('en')}`;
  }

  nextHit(by) {
    if (!this.hits.length) return this.say('No hit');
    const from = this.eventBefore();
    let at = by > 0 ? lower(this.hits, from + 1) : lower(this.hits, this.cursor.event >= 0 ? from : from + 1) - 1;
    at = (at + this.hits.length) % this.hits.length;
    this.select(this.hits[at]);
    this.tellHits();
  }

  nextViolation() {
    const { violations } = this.model;
    if (!violations.length) return this.say('No rule was broken');
    const at = lower(violations, this.cursor.event + 1);
    this.select(violations[at % violations.length]);
  }

  // ---- links: #t=microseconds&n=node&q=event&w=microseconds shown&tab=table

  writeLink() {
    const { cursor, painter } = this, parts = [`t=${Math.round(cursor.t)}`];
    if (this.node >= 0) parts.push(`n=${this.model.nodes[this.node]}`);
    if (cursor.event >= 0) parts.push(`q=${cursor.event}`);
    const whole = painter.to - painter.from >= this.model.end - this.model.begin;
    if (!whole) parts.push(`w=${Math.round(painter.to - painter.from)}`);
    if (this.tab === 'table') parts.push('tab=table');
    const link = `#${parts.join('&')}`;
    clearTimeout(this.linking);
    // Browsers refuse too many changes in a row.
    this.linking = setTimeout(() => { this.link = link; try { history.replaceState(null, '', link); } catch { location.hash = link; } }, 150);
  }

  readLink() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const number = key => (asked.has(key) && Number.isFinite(Number(asked.get(key))) ? Number(asked.get(key)) : null);
    const t = number('t'), node = number('n'), event = number('q'), width = number('w');
    if (asked.get('tab') === 'table' || asked.get('tab') === 'timeline') this.show(asked.get('tab'));
    if (node !== null && this.model.laneOf.has(node)) this.node = this.model.laneOf.get(node);
    this.fit(true);
    if (t !== null) {
      if (width !== null) this.setView(t - width / 2, t + width / 2, true);
      let at = event;
      if (at === null || this.model.T[at] !== t) {
        // The last event up to then, of the node if one was named.
        at = eventAt(this.model, t);
        while (at >= 0 && node !== null && this.node >= 0 && this.model.L[at] !== this.node) at--;
      }
      if (at >= 0 && this.model.T[at] === t) this.select(at, true);
      else this.moveTo(t);
    }
  }
}

const span = micros => (micros >= 1e6 ? `${(micros / 1e6).toFixed(2)} s` : micros >= 1e3 ? `${(micros / 1e3).toFixed(2)} ms` : `${micros} µs`);
