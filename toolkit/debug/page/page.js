'use strict';

const $ = id => document.getElementById(id);
const states = ['active', 'hijacked', 'new', 'idle', 'parked'];
const query = { sort: 'state', q: '', states: new Set(), limit: 50 };
let server = null; // what does not change
let last = null; // the last event
let past = []; // of the plot
let ended = ''; // why no event comes any more
let lost = 0; // when the connection was found to be gone
let source = null;
let silence = 0; // a timer

// make builds an element. Nothing is ever set as HTML: paths are the clients' own.
function make(tag, attrs = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs)) {
    if (name === 'tone') e.style.setProperty('--tone', `var(--${value})`);
    else if (value === true) e.setAttribute(name, '');
    else if (value !== false && value != null) e.setAttribute(name, value);
  }
  e.append(...children.filter(c => c != null));
  return e;
}

// span is a time in nanoseconds, in three digits or so.
function span(ns) {
  const s = ns / 1e9;
  if (s < 1e-3) return Math.round(s * 1e6) + ' µs';
  if (s < 1) return (s * 1e3).toFixed(s < 0.01 ? 1 : 0) + ' ms';
  if (s < 60) return s.toFixed(1) + ' s';
  const m = Math.floor(s / 60);
  if (m < 60) return m + 'm ' + Math.floor(s % 60) + 's';
  const h = Math.floor(m / 60);
  return h < 48 ? h + 'h ' + m % 60 + 'm' : Math.floor(h / 24) + 'd ' + h % 24 + 'h';
}
// between is that of two times in milliseconds, which are no more exact.
const between = (from, to) => to - from < 1 ? '< 1 ms' : span((to - from) * 1e6);
const time = at => Date.parse(at);
const clock = at => new Date(at).toLocaleTimeString([], { hour12: false });
const many = (n, one, more) => n.toLocaleString('en') + ' ' + (n === 1 ? one : more || one + 's');

// connect listens to what the server tells of itself.
function connect() {
  if (source) source.close();
  const args = new URLSearchParams({ format: 'events', sort: query.sort, limit: query.limit });
  if (query.q) args.set('q', query.q);
  if (query.states.size) args.set('state', [...query.states].join());
  source = new EventSource(location.pathname + '?' + args);
  source.onmessage = e => show(JSON.parse(e.data));
  source.onerror = () => {
    document.body.removeAttribute('data-live');
    // Else it tries again by itself.
    const gaveUp = source.readyState === EventSource.CLOSED;
    if (ended) return void (gaveUp && setTimeout(connect, 2000));
    // A server that drains takes no new connections: who has lost it then has seen its end.
    if (last && last.phase !== 'ready' && last.phase !== 'starting') return finish('lost');
    lose();
    if (gaveUp) setTimeout(connect, 2000);
  };
  listen();
}

// listen is for each event: where none follows for long, what is shown is not what is. No
// end of a connection tells that a machine, or a network, has gone.
function listen() {
  clearTimeout(silence);
  silence = setTimeout(() => {
    if (ended) return;
    lose();
    connect();
  }, 60e3);
}

// lose says that there is no connection.
function lose() {
  lost = lost || Date.now();
  document.body.removeAttribute('data-live');
  phase('lost', 'no connection');
  $('drain').hidden = true;
  story();
}

function show(event) {
  listen();
  lost = 0;
  if (event.server) {
    if (server && server.pid !== event.server.pid) past = [];
    server = event.server;
    ended = '';
    about();
  }
  last = event;
  if (event.end && event.end !== 'unseen') { // all but this page's own connection, which goes now
    event.counts.active -= event.watching;
    event.conns = (event.conns || []).filter(c => !c.watches);
    event.conns_of = event.conns.length;
  }
  const from = past.length ? time(past[past.length - 1].at) : 0;
  past.push(...(event.history || []).filter(p => time(p.at) > from));
  // Nobody has counted before the first event, nor does after the last one.
  if (event.end || !past.length) past.push({ at: event.at, ...event.counts });
  const oldest = time(event.at) - 300e3;
  while (past.length > 2 && time(past[1].at) < oldest) past.shift();
  document.body.setAttribute('data-live', '');
  phase(event.phase, event.phase);
  $('drain').hidden = !server.drains || event.phase !== 'ready';
  tiles();
  totals();
  table();
  lists();
  if (event.end) finish(event.end);
  timeline();
  story();
  plot();
}

// finish is for when no event comes any more. From time to time it is tried whether the
// server is there again.
function finish(why) {
  ended = why;
  source.close();
  document.body.removeAttribute('data-live');
  if (why === 'unseen') phase('draining', 'draining');
  else phase('stopped', 'stopped');
  $('drain').hidden = true;
  timeline();
  story();
  setTimeout(connect, 2000);
}

const icons = { ready: '12875a', starting: '12875a', draining: 'd98a1f', exiting: 'd98a1f', lost: 'd0453b', stopped: '8b94a3' };
function phase(name, text) {
  if (ended && name === 'lost') return;
  document.body.dataset.phase = name;
  $('phase').querySelector('b').textContent = text;
  document.title = text + ' · ' + (server ? server.program : 'lastcall');
  const icon = `data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="6" fill="%23${icons[name] || '8b94a3'}"/></svg>`;
  if ($('icon').href !== icon) $('icon').href = icon;
}

// about shows what does not change.
function about() {
  $('who').textContent = [server.program, 'pid ' + server.pid, server.go, (server.addrs || []).join(', ')].join(' · ');
  $('who').title = $('who').textContent;
  const [set, rest] = [$('settings').querySelector('dl'), $('settings').querySelector('details dl')];
  set.replaceChildren();
  rest.replaceChildren();
  for (const s of server.settings) {
    (s.default ? rest : set).append(make('dt', {}, s.call), make('dd', {}, s.value));
  }
  fill('warnings', server.warnings, w => make('li', { title: w.reason }, make('b', {}, w.call), make('p', {}, w.danger)));
}

function fill(id, items, one) {
  $(id).hidden = !items || items.length === 0;
  $(id).querySelector('ul').replaceChildren(...(items || []).map(one));
}

function lists() {
  const dot = tone => make('i', tone ? { tone } : {});
  fill('work', last.work, w => make('li', {}, dot('warn'), make('b', {}, w.name), make('span', {}, span(w.age_ns))));
  const tones = { ok: 'good', failed: 'bad', running: 'warn' };
  fill('hooks', last.hooks, h => make('li', {}, dot(tones[h.state]), make('b', {}, h.name),
    make('span', {}, h.stage + ', ' + (h.state === 'pending' ? 'to come' : (h.state === 'running' ? 'runs for ' : '') + span(h.took_ns))),
    h.err && make('p', { class: 'bad' }, h.err)));
  fill('checks', last.checks, c => {
    const asked = c.at ? between(time(c.at), time(last.at)) + ' ago, took ' + span(c.took_ns) : 'not asked yet';
    const running = c.running ? 'runs for ' + between(time(c.running), time(last.at)) : '';
    return make('li', {}, dot(c.err ? 'bad' : c.at ? 'good' : ''), make('b', {}, c.name), make('span', {}, running || asked),
      c.err && make('p', { class: 'bad' }, c.err));
  });
}

// timeline draws the phases with how long each took, and, of the drain, what is to come.
const phases = ['starting', 'ready', 'draining', 'exiting', 'stopped'];
function timeline() {
  if (!last || !server) return;
  const began = {};
  for (const p of last.phases) began[p.phase] = time(p.at);
  const now = time(last.at);
  const over = ended && ended !== 'unseen';
  if (over) {
    began.exiting = began.exiting || now;
    began.stopped = began.stopped || now;
  }
  const at = over ? 'stopped' : last.phase;
  $('timeline').replaceChildren(...phases.map((name, i) => {
    const next = phases.slice(i + 1).map(p => began[p]).find(t => t);
    const state = name === at ? 'now' : began[name] ? 'past' : '';
    let text = '';
    if (name === 'stopped') text = over ? clock(began.stopped) : '';
    else if (began[name] && !(over && name === 'exiting')) text = between(began[name], next || now);
    else if (name === 'exiting') text = many((last.hooks || []).filter(h => h.stage === 'exit').length, 'hook');
    const li = make('li', { class: state + (name === 'draining' ? ' wide' : ''), 'data-name': name, 'aria-current': state === 'now' ? 'step' : false },
      make('div', { class: 'head' }, make('b', {}, name), make('span', {}, text)), make('div', { class: 'track' }));
    if (name === 'draining') plan(li, began.draining ? ((next || now) - began.draining) * 1e6 : 0, state);
    return li;
  }));
}

// plan draws the parts of the drain: a drain that is over took some of them, one that is
// to come may take all.
function plan(li, took, state) {
  const l = server.life;
  const parts = [];
  if (l.shutdown_delay_ns > 0) parts.push(['delay', l.shutdown_delay_ns]);
  const drain = l.drain_timeout_ns;
  if (l.last_call_ns > 0 && (drain < 0 || l.last_call_ns < drain)) parts.push(['last call', l.last_call_ns]);
  parts.push([drain < 0 ? 'no limit' : 'deadline', drain < 0 ? 60e9 : drain - Math.min(l.last_call_ns < 0 ? 0 : l.last_call_ns, drain), drain]);
  if (drain >= 0 && l.abort_timeout_ns > 0) parts.push(['abort', l.abort_timeout_ns]);
  const widths = parts.map(p => Math.log(4 + p[1] / 50e6)); // a last call is short, and wants to be seen
  const sum = widths.reduce((a, b) => a + b, 0);
  const track = li.querySelector('.track');
  const texts = make('div', { class: 'plan' });
  let done = 0;
  let left = took;
  parts.forEach(([name, ns, shown], i) => {
    const width = widths[i] / sum * 100;
    done += width * Math.min(1, Math.max(0, left) / ns);
    left -= ns;
    const text = name + (shown < 0 ? '' : ' ' + span(shown || ns));
    for (const [to, inner] of [[track, null], [texts, text]]) {
      const s = make('span', { title: text }, inner);
      s.style.width = width + '%';
      to.append(s);
    }
  });
  if (state) {
    const needle = make('em');
    needle.style.width = done + '%';
    track.append(needle);
  }
  li.append(texts);
}

// story says in words where the server is.
function story() {
  if (!last || !server) {
    $('story').textContent = lost ? 'There is no server here, or it does not let this page in. When there is one, this page shows it.' : '';
    return;
  }
  const c = last.counts;
  const parts = [];
  const say = (...words) => parts.push(...words);
  const l = server.life;
  const busy = Math.max(0, c.active - last.watching);
  if (lost && !ended) {
    say(`The connection to the server was lost at ${clock(lost)}, and nothing here has changed since. This page goes on trying.`);
  } else if (ended === 'drained' || ended === 'cut') {
    const took = time(last.at) - time(last.phases.find(p => p.phase === 'draining').at);
    say(ended === 'drained' ? 'All that was awaited has been answered' : 'The drain ended by force: what was still open has been cut', `after ${span(took * 1e6)};`, 'exit hooks run, and the process ends.');
    say(`Of ${many(states.reduce((n, s) => n + last.open[s], 0), 'open connection')} ${last.last_called} were closed after a last call, ${last.cut} were cut; ${many(last.told, 'response')} told their clients to close.`);
    say('When a server is here again, this page shows it.');
  } else if (ended === 'lost') {
    say('The server is gone, and this connection with it. When one is here again, this page shows it.');
  } else if (ended === 'unseen') {
    say('The drain goes on, but over HTTP/2 it cannot be seen from here.');
  } else if (last.phase === 'ready' || last.phase === 'starting') {
    say('On the first signal',
      l.shutdown_delay_ns > 0 ? `it goes on accepting for ${span(l.shutdown_delay_ns)},` : 'it accepts no more,',
      l.last_call_ns < 0 ? 'waits until idle connections have timed out,' : l.last_call_ns > 0 ? `gives idle connections a last call of ${span(l.last_call_ns)},` : 'closes idle connections,',
      'and awaits', busy || c.hijacked ? many(busy + c.hijacked, 'busy connection') : 'busy connections',
      l.drain_timeout_ns < 0 ? 'without a limit.' : `for at most ${span(l.drain_timeout_ns)}.`);
  } else if (last.phase === 'draining') {
    const left = last.deadline ? time(last.deadline) - time(last.at) : 0;
    say(`Draining, begun by “${last.cause}”:`, last.deadline ? (left > 0 ? span(left * 1e6) + ' until the deadline.' : 'the deadline has come, what is left will be cut.') : 'no deadline.');
    const rest = [];
    if (busy) rest.push(many(busy, 'request'));
    if (c.hijacked) rest.push(many(c.hijacked, 'hijacked connection'));
    if (c.idle + c.parked + c.new) rest.push(many(c.idle + c.parked + c.new, 'idle connection'));
    if ((last.work || []).length) rest.push(last.work.map(w => w.name).join(', '));
    say(rest.length ? 'Still awaited: ' + rest.join(', ') + '.' : 'Nothing more is awaited.');
    say(`So far ${many(last.told, 'response')} told their clients to close, and ${many(last.last_called, 'idle connection')} ended after a last call.`);
  }
  if (last.starving) say('It cannot accept connections: ' + last.starving + '.');
  $('story').textContent = parts.join(' ');
}

function tiles() {
  const c = last.counts;
  const all = states.reduce((n, s) => n + c[s], 0);
  const box = $('tiles');
  if (!box.children.length) {
    for (const s of ['all', ...states]) {
      const b = make('button', { type: 'button', class: s, tone: s, 'data-state': s }, make('b'), make('span', {}, s === 'all' ? 'open' : s));
      b.onclick = () => {
        if (s === 'all') query.states.clear();
        else if (!query.states.delete(s)) query.states.add(s);
        tiles();
        connect();
      };
      box.append(b);
    }
  }
  for (const b of box.children) {
    const s = b.dataset.state;
    b.querySelector('b').textContent = (s === 'all' ? all : c[s]).toLocaleString('en');
    if (s !== 'all') b.setAttribute('aria-pressed', query.states.has(s));
  }
}

function totals() {
  const t = last.totals;
  const refused = t.refused_conns + t.refused_per_ip + t.refused_starved;
  const items = [['accepted', t.accepted], ['refused', refused, true], ['too slow', t.slow_requests + t.slow_responses, true],
    ['accept errors', t.accept_errors, true], ['panics', last.panics, true], ['parked so far', t.parked], ['in flight', last.in_flight.now],
    ['told to close', last.told], ['last-called', last.last_called], ['watching', last.watching]];
  const always = new Set(['accepted', 'refused', 'panics', 'watching']);
  $('totals').replaceChildren(...items.filter(([name, n]) => n || always.has(name)).map(([name, n, bad]) =>
    make('span', { class: bad && n ? 'bad' : false }, make('b', {}, n.toLocaleString('en')), ' ' + name)));
}

// The table: a column each with its key in the query, and what it shows.
const columns = [
  ['id', 'ID', c => c.id, 'number least'],
  ['remote', 'Remote', c => c.remote === '@' ? '' : c.remote, 'remote'],
  ['state', 'State', c => make('span', { class: 'state', tone: c.state }, c.state)],
  ['since', 'For', c => span(c.since_ns), 'number', 'how long in its state: idle for, or busy with its request for'],
  ['age', 'Age', c => span(c.age_ns), 'number least'],
  ['requests', 'Requests', c => c.requests.toLocaleString('en'), 'number less'],
  ['route', 'Route', c => c.route || '', 'route'],
  ['engine', 'Engine', c => c.multiplexed ? 'HTTP/2' : c.adopted ? 'net/http' : 'fasthttp', 'least quiet'],
  ['parked', 'Parked', c => c.state === 'parked' ? 'parked' : '', 'least quiet'],
];
const rows = new Map(); // by ID

function head() {
  document.querySelector('thead tr').replaceChildren(...columns.map(([key, title, , kind, hint]) => {
    const b = make('button', { type: 'button', 'data-sort': key }, title);
    b.onclick = () => {
      // Of numbers, the large ones first.
      const down = ['since', 'age', 'requests'].includes(key);
      query.sort = query.sort === (down ? '-' + key : key) ? (down ? key : '-' + key) : (down ? '-' + key : key);
      sorted();
      connect();
    };
    return make('th', { class: kind && kind.replace('quiet', ''), title: hint, scope: 'col' }, b);
  }));
  sorted();
}

// sorted says by which column the rows are in order. The buttons stay, and so does the focus.
function sorted() {
  for (const b of document.querySelectorAll('th button')) {
    const th = b.parentElement;
    if (b.dataset.sort !== query.sort.replace('-', '')) th.removeAttribute('aria-sort');
    else th.setAttribute('aria-sort', query.sort[0] === '-' ? 'descending' : 'ascending');
  }
}

function table() {
  const body = document.querySelector('tbody');
  const conns = last.conns || [];
  const seen = new Set();
  conns.forEach((c, i) => {
    seen.add(c.id);
    let tr = rows.get(c.id);
    if (!tr) {
      tr = make('tr', { 'data-id': c.id }, ...columns.map(([, , , kind]) => make('td', { class: kind })));
      tr.onanimationend = e => e.currentTarget.classList.remove('changed');
      rows.set(c.id, tr);
    }
    if (tr.dataset.state && tr.dataset.state !== c.state) {
      tr.classList.remove('changed');
      void tr.offsetWidth; // so that it begins anew
      tr.classList.add('changed');
    }
    tr.dataset.state = c.state;
    tr.style.setProperty('--tone', `var(--${c.state})`);
    columns.forEach(([key, , get], j) => {
      const td = tr.cells[j];
      const value = get(c);
      if (typeof value !== 'object') {
        if (td.textContent !== String(value)) td.textContent = value;
      } else if (td.textContent !== value.textContent) td.replaceChildren(value);
      if (key === 'route' || key === 'remote') td.title = value;
      if (key === 'remote' && c.watches && !td.querySelector('.tag')) td.append(make('span', { class: 'tag' }, 'watches'));
    });
    if (body.children[i] !== tr) body.insertBefore(tr, body.children[i] || null);
  });
  for (const [id, tr] of rows) {
    if (!seen.has(id)) {
      tr.remove();
      rows.delete(id);
    }
  }
  const n = last.conns_of || 0;
  $('shown').textContent = conns.length < n ? `${conns.length.toLocaleString('en')} of ${n.toLocaleString('en')}` : n.toLocaleString('en');
  $('empty').hidden = conns.length > 0;
}

// plot draws the connections of the last minutes, stacked by state.
let pointer = null; // where the mouse is, over the plot
function plot() {
  const canvas = document.querySelector('canvas');
  const { width, height } = canvas.getBoundingClientRect();
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const g = canvas.getContext('2d');
  g.scale(ratio, ratio);
  const style = getComputedStyle(document.body);
  const color = name => style.getPropertyValue('--' + name).trim();
  if (!past.length || width < 50) return;

  const end = time(past[past.length - 1].at);
  const window = Math.min(300e3, Math.max(60e3, end - time(past[0].at)));
  const total = p => states.reduce((n, s) => n + p[s], 0);
  const top = nice(Math.max(4, ...past.map(total)));
  const [x0, x1, y0, y1] = [10 + 7 * top.toLocaleString('en').length, width - 6, height - 20, 8];
  const x = t => x1 - (end - t) / window * (x1 - x0);
  const y = n => y0 - n / top * (y0 - y1);

  g.font = '11px system-ui, sans-serif';
  g.lineWidth = 1;
  g.textAlign = 'right';
  g.textBaseline = 'middle';
  for (let i = 0; i <= 4; i++) {
    const n = top / 4 * i;
    g.strokeStyle = color('line');
    g.beginPath();
    g.moveTo(x0, Math.round(y(n)) + 0.5);
    g.lineTo(x1, Math.round(y(n)) + 0.5);
    g.stroke();
    g.fillStyle = color('dim');
    if (i % 2 === 0) g.fillText(n.toLocaleString('en'), x0 - 7, y(n));
  }
  g.textBaseline = 'alphabetic';
  const step = window > 120e3 ? 60e3 : window > 60e3 ? 30e3 : 15e3;
  for (let back = 0; back <= window; back += step) {
    g.textAlign = back === 0 ? 'right' : 'center';
    g.fillStyle = color('dim');
    if (back === 0 || x(end - back) > x0 + 15) g.fillText(back === 0 ? 'now' : back % 60e3 ? back / 1e3 + ' s' : back / 60e3 + ' min', x(end - back), height - 5);
  }

  g.save();
  g.beginPath();
  g.rect(x0, 0, x1 - x0, y0);
  g.clip();
  const base = past.map(() => 0);
  for (const s of states) {
    g.beginPath();
    past.forEach((p, i) => g.lineTo(x(time(p.at)), y(base[i])));
    for (let i = past.length - 1; i >= 0; i--) g.lineTo(x(time(past[i].at)), y(base[i] + past[i][s]));
    g.closePath();
    g.globalAlpha = 0.82;
    g.fillStyle = color(s);
    g.fill();
    g.globalAlpha = 1;
    past.forEach((p, i) => { base[i] += p[s]; });
  }
  const drain = last && (last.phases || []).find(p => p.phase === 'draining');
  if (drain) mark(g, x(time(drain.at)), y0, color('warn'), 'drain');
  g.restore();
  canvas.setAttribute('aria-label', `connections over ${span(window * 1e6)}: now ${states.map(s => past[past.length - 1][s] + ' ' + s).join(', ')}`);

  const out = $('canvas').querySelector('output');
  out.hidden = pointer == null || pointer < x0 || pointer > x1;
  if (out.hidden) return;
  const near = past.reduce((a, b) => Math.abs(x(time(b.at)) - pointer) < Math.abs(x(time(a.at)) - pointer) ? b : a);
  mark(g, x(time(near.at)), y0, color('dim'), '');
  out.textContent = clock(time(near.at)) + '\n' + states.filter(s => near[s]).map(s => near[s].toLocaleString('en').padStart(7) + ' ' + s).join('\n');
  const right = x(time(near.at)) > width / 2;
  out.style.left = right ? 'auto' : x(time(near.at)) + 10 + 'px';
  out.style.right = right ? width - x(time(near.at)) + 10 + 'px' : 'auto';
}

// nice is a number for the axis' end, that four divide.
function nice(n) {
  const unit = 10 ** Math.floor(Math.log10(n));
  return [0.4, 0.8, 1.2, 1.6, 2, 3.2, 4, 6, 8, 10].map(f => f * unit).find(m => m >= n && m >= 4 && Number.isInteger(m / 4)) || 20 * unit;
}

function mark(g, x, y0, color, text) {
  g.strokeStyle = color;
  g.setLineDash([3, 3]);
  g.beginPath();
  g.moveTo(x, 4);
  g.lineTo(x, y0);
  g.stroke();
  g.setLineDash([]);
  g.fillStyle = color;
  g.textAlign = 'right';
  g.font = '600 11px system-ui, sans-serif';
  g.strokeStyle = getComputedStyle(document.body).getPropertyValue('--card');
  g.lineWidth = 4;
  g.strokeText(text, x - 6, 14);
  g.fillText(text, x - 6, 14);
}

// Once is a slip.
let sure = 0;
$('drain').onclick = async () => {
  const b = $('drain');
  if (!b.classList.contains('sure')) {
    b.classList.add('sure');
    b.textContent = 'Really drain?';
    sure = setTimeout(calm, 4000);
    return;
  }
  calm();
  b.disabled = true;
  try {
    const answer = await fetch(location.pathname, { method: 'POST' });
    if (!answer.ok) b.title = await answer.text();
  } catch (e) {
    b.title = String(e);
  }
  b.disabled = false;
};
function calm() {
  clearTimeout(sure);
  $('drain').classList.remove('sure');
  $('drain').textContent = 'Drain';
}

let typing = 0;
$('filter').oninput = e => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    query.q = e.target.value.trim();
    connect();
  }, 200);
};
$('limit').onchange = e => {
  query.limit = e.target.value;
  connect();
};
$('canvas').onpointermove = e => {
  pointer = e.clientX - $('canvas').getBoundingClientRect().left;
  plot();
};
$('canvas').onpointerleave = () => {
  pointer = null;
  plot();
};
addEventListener('resize', plot);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', plot);
head();
connect();
