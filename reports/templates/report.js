'use strict';
// All of the page is there without this: it hides contenders, reads values off charts and sorts tables.
(() => {
  const all = (what, where = document) => [...where.querySelectorAll(what)];
  const make = (tag, classes, text) => Object.assign(document.createElement(tag), { className: classes, textContent: text ?? '' });

  const significant = (value) => {
    if (value === 0) return '0';
    const short = Number(value.toPrecision(3));
    return Math.abs(short) >= 1000 ? short.toLocaleString('en') : value.toPrecision(3);
  };
  const duration = (ns) => {
    const [scale, unit] = ns < 1e3 ? [1, 'ns'] : ns < 1e6 ? [1e3, 'µs'] : ns < 1e9 ? [1e6, 'ms'] : [1e9, 's'];
    return `${significant(ns / scale)}\u202f${unit}`;
  };
  const read = {
    linear: (at) => significant(at),
    log: (at) => significant(10 ** at),
    'log-ns': (at) => duration(10 ** at),
    tail: (at) => `${(100 * (1 - 10 ** -at)).toPrecision(6).replace(/\.?0+$/, '')}\u202f%`,
  };

  // Contenders: the legend hides and shows them, in charts and tables alike.
  const legend = document.getElementById('contenders');
  const names = new Map();
  const hidden = new Set();
  const status = make('p', 'hidden-count');
  status.setAttribute('role', 'status');
  const apply = () => {
    const gone = new Set([...hidden].map((look) => names.get(look)));
    all('svg [class^=k]').forEach((drawn) => { drawn.style.display = hidden.has(drawn.getAttribute('class')) ? 'none' : ''; });
    all('table tbody tr').forEach((row) => { row.hidden = gone.has(row.firstElementChild.textContent.trim()); });
    status.textContent = gone.size ? `Hidden: ${[...gone].join(', ')}` : '';
  };
  if (legend) {
    all('li', legend).forEach((item) => {
      const look = item.dataset.k;
      names.set(look, item.textContent.trim());
      const button = make('button', 'toggle');
      button.type = 'button';
      button.append(...item.childNodes);
      button.setAttribute('aria-pressed', 'true');
      button.addEventListener('click', () => {
        if (!hidden.delete(look)) hidden.add(look);
        button.setAttribute('aria-pressed', String(!hidden.has(look)));
        apply();
      });
      item.append(button);
    });
    legend.after(status);
  }

  // Charts: the value nearest to the pointer.
  const tip = make('div', 'tip');
  tip.hidden = true;
  document.body.append(tip);
  const points = (drawn) => {
    if (drawn.localName === 'circle') return [[Number(drawn.getAttribute('cx')), Number(drawn.getAttribute('cy'))]];
    if (drawn.localName !== 'polyline') return [];
    return drawn.getAttribute('points').trim().split(/\s+/).map((pair) => pair.split(',').map(Number));
  };
  all('svg[data-scales]').forEach((svg) => {
    const [plots, ...axes] = svg.dataset.scales.split('|');
    const scales = axes.map((axis) => axis.split(',')).map(([kind, from, to]) => ({ kind, from: Number(from), to: Number(to) }));
    const boxes = plots.split(';').map((box) => box.split(',').map(Number));
    const value = ({ kind, from, to }, share) => read[kind]?.(from + share * (to - from));
    svg.addEventListener('pointerleave', () => { tip.hidden = true; });
    svg.addEventListener('pointermove', (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const box = boxes.find(([left, right, top, bottom]) => at.x >= left - 6 && at.x <= right + 6 && at.y >= top - 6 && at.y <= bottom + 6);
      let nearest = null;
      for (const drawn of box ? all('[class^=k]', svg) : []) {
        if (drawn.style.display === 'none' || !names.has(drawn.getAttribute('class'))) continue;
        for (const [x, y] of points(drawn)) {
          const inside = x >= box[0] - 1 && x <= box[1] + 1 && y >= box[2] - 1 && y <= box[3] + 1;
          const far = Math.hypot(x - at.x, y - at.y);
          if (inside && far < 40 && (!nearest || far < nearest.far)) nearest = { far, x, y, look: drawn.getAttribute('class') };
        }
      }
      tip.hidden = !nearest;
      if (!nearest) return;
      const [left, right, top, bottom] = box;
      const across = value(scales[0], (nearest.x - left) / (right - left));
      const up = value(scales[1], (bottom - nearest.y) / (bottom - top));
      tip.textContent = [names.get(nearest.look), across, up].filter(Boolean).join('  ·  ');
      tip.style.left = `${Math.min(event.pageX + 14, scrollX + innerWidth - tip.offsetWidth - 8)}px`;
      tip.style.top = `${event.pageY + 16}px`;
    });
  });

  // Tables: by a click on a column's head, within each group of rows.
  const units = { ns: 1, 'µs': 1e3, ms: 1e6, s: 1e9, MiB: 1, GiB: 1024 };
  const weight = (cell) => {
    const text = (cell?.innerText ?? '').trim();
    const found = /^[≥✓✗?\s]*([-−]?[\d,]*\.?\d+)\s*(ns|µs|ms|s|MiB|GiB)?/.exec(text);
    if (found) return Number(found[1].replaceAll(',', '').replace('−', '-')) * (units[found[2]] ?? 1);
    return text === '–' || text === '' ? undefined : text.toLowerCase();
  };
  const order = (a, b) => {
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    return typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === 'number' ? -1 : 1;
  };
  all('table.cards').forEach((table) => {
    if (table.querySelector('tr.on') || all('tbody tr:not(.label)', table).length < 3) return;
    const groups = [...table.tBodies].map((body) => [body, [...body.rows]]);
    all('thead th', table).forEach((head, column) => {
      const button = make('button', 'sort');
      button.type = 'button';
      button.append(head.firstChild ?? 'Name');
      head.prepend(button);
      button.addEventListener('click', () => {
        const next = { ascending: 'descending', descending: null }[head.getAttribute('aria-sort')];
        const way = next === undefined ? 'ascending' : next;
        all('thead th', table).forEach((other) => other.removeAttribute('aria-sort'));
        if (way) head.setAttribute('aria-sort', way);
        for (const [body, rows] of groups) {
          const [labels, own] = [rows.filter((row) => row.classList.contains('label')), rows.filter((row) => !row.classList.contains('label'))];
          const weighed = own.map((row) => [weight(row.cells[column]), row]);
          const turn = way === 'descending' ? -1 : 1;
          const missing = (pair) => pair[0] === undefined;
          if (way) weighed.sort((a, b) => (missing(a) || missing(b) ? order(a[0], b[0]) : turn * order(a[0], b[0])));
          body.append(...labels, ...weighed.map((pair) => pair[1]));
        }
      });
    });
  });
})();
