// The events as a table: time, and a column for each node. Rows are made when they come into
// view, in pieces whose height is remembered, so a table of any length scrolls at once.

const PIECE = 100, ROW_HEIGHT = 23;

class Table {
  constructor(model, scroller, table, choose) {
    Object.assign(this, { model, scroller, table, choose });
    this.world = model.L.some(lane => lane === WORLD);
    this.columns = 1 + (this.world ? 1 : 0) + model.nodes.length;
    this.hits = new Set();
    this.hidden = new Set();
    this.selected = -1;
    this.watch = new IntersectionObserver(seen => this.seen(seen), { root: scroller, rootMargin: '600px' });
    this.heading();
    table.addEventListener('click', event => {
      const row = event.target.closest('tr[data-i]');
      if (row) choose(Number(row.dataset.i));
    });
  }

  heading() {
    const names = ['time'];
    if (this.world) names.push(this.model.head.trace ? 'around them' : 'TEST');
    this.model.nodes.forEach((_, lane) => names.push(nodeName(this.model, lane)));
    const row = document.createElement('tr');
    for (const name of names) row.append(element('th', { scope: 'col' }, name));
    this.table.tHead.replaceChildren(row);
  }

  // Shows these events: those of a test, without hidden topics.
  show(first, last) {
    for (const body of [...this.table.tBodies]) body.remove();
    this.watch.disconnect();
    this.list = [];
    for (let i = first; i <= last; i++) if (!this.hidden.has(this.model.rows[i].c)) this.list.push(i);
    this.table.setAttribute('aria-rowcount', String(this.list.length + 1));
    this.bodies = [];
    for (let from = 0; from < this.list.length; from += PIECE) {
      const body = document.createElement('tbody');
      body.piece = this.bodies.length;
      this.bodies.push(body);
      this.table.append(body);
      this.empty(body, Math.min(PIECE, this.list.length - from) * ROW_HEIGHT);
      this.watch.observe(body);
    }
  }

  seen(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !target.filled) this.fill(target);
      else if (!isIntersecting && target.filled) this.empty(target, target.offsetHeight);
    }
  }

  empty(body, height) {
    const cell = element('td', { colspan: String(this.columns) });
    cell.style.height = `${height}px`;
    const row = element('tr', { class: 'filler', 'aria-hidden': 'true' });
    row.append(cell);
    body.replaceChildren(row);
    body.filled = false;
  }

  fill(body) {
    const from = body.piece * PIECE, rows = [];
    for (let at = from; at < Math.min(from + PIECE, this.list.length); at++) rows.push(this.row(this.list[at], at));
    body.replaceChildren(...rows);
    body.filled = true;
  }

  row(i, at) {
    const { model } = this, event = model.rows[i], lane = model.L[i];
    const row = element('tr', { 'data-i': String(i), 'aria-rowindex': String(at + 2), 'aria-selected': String(i === this.selected) });
    if (this.hits.has(i)) row.classList.add('hit');
    if (event.a) row.classList.add('alarm');
    if (event.e === 'test') row.classList.add('test');
    if (event.r !== undefined && ROLES.includes(event.r)) row.classList.add(`becomes-${event.r}`);
    row.append(element('td', {}, event.k ?? clock(model.T[i])));
    if (lane === WIDE) {
      row.append(element('td', { colspan: String(this.columns - 1) }, event.x));
      return row;
    }
    const column = lane === WORLD ? 0 : lane + (this.world ? 1 : 0);
    for (let c = 0; c < this.columns - 1; c++) {
      const cell = element('td', {}, c === column ? event.x : '');
      if (c === column && model.roleAt[i]) cell.classList.add(ROLES[model.roleAt[i] - 1]);
      row.append(cell);
    }
    return row;
  }

  // Marks an event and brings it into view.
  select(i, visible) {
    this.table.querySelector('tr[aria-selected="true"]')?.setAttribute('aria-selected', 'false');
    this.selected = i;
    if (!visible || !this.list) return;
    const at = lower(this.list, i);
    const body = this.bodies[Math.floor(at / PIECE)];
    if (!body) return;
    if (!body.filled) this.fill(body);
    const row = body.rows[at % PIECE];
    if (!row) return;
    if (Number(row.dataset.i) === i) row.setAttribute('aria-selected', 'true');
    const top = row.offsetTop, head = this.table.tHead.offsetHeight;
    if (top < this.scroller.scrollTop + head || top + row.offsetHeight > this.scroller.scrollTop + this.scroller.clientHeight) {
      this.scroller.scrollTop = top - this.scroller.clientHeight / 2;
    }
  }
}

function element(name, attributes = {}, text) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
