// The disputes: a key or a button decides the one that is selected. The list is drawn anew after each decision, and the
// dispute that has moved up into the place of the one decided is selected then.
let place = 0;
// The note that is being written on each dispute. The boxes stay when the list is drawn anew, and stand beside another
// pair then: what is in them does not say whose note it is.
const notes = new Map();
const keyOf = (row) => `${row.dataset.query} ${row.dataset.passage}`;
const rows = () => [...element.querySelectorAll('[data-row]')];

function select(number, focus = true) {
  const all = rows();
  if (!all.length) return;
  place = Math.max(0, Math.min(all.length - 1, number));
  all.forEach((row) => row.removeAttribute('aria-current'));
  all[place].setAttribute('aria-current', 'true');
  if (focus) {
    all[place].focus({ preventScroll: true });
    all[place].scrollIntoView({ block: 'nearest' });
  }
}

function decide(row, label) {
  if (!row || row.hasAttribute('aria-busy')) return;
  row.setAttribute('aria-busy', 'true');
  setTimeout(() => row.removeAttribute('aria-busy'), 3000); // refused or lost: it can be pressed again
  const note = notes.get(keyOf(row))?.trim() || null;
  trigger('decide', { query: row.dataset.query, passage: row.dataset.passage, label, note });
}

function showNotes() {
  const all = rows();
  for (const row of all) row.querySelector('.decision-note').value = notes.get(keyOf(row)) ?? '';
  const waiting = new Set(all.map(keyOf));
  for (const key of notes.keys()) if (!waiting.has(key)) notes.delete(key);
}

element.addEventListener('input', ({ target }) => {
  if (target.matches('.decision-note')) notes.set(keyOf(target.closest('[data-row]')), target.value);
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-decide]');
  const row = event.target.closest('[data-row]');
  if (row) select(rows().indexOf(row), !event.target.closest('input, button'));
  if (button) decide(button.closest('[data-pair]'), { relevant: 1, 'not-relevant': 0, withdraw: null }[button.dataset.decide]);
});
element.addEventListener('judgekey', ({ detail }) => {
  if (detail === 'up' || detail === 'down') select(place + (detail === 'up' ? -1 : 1));
  else if (detail === 'note') rows()[place]?.querySelector('.decision-note')?.focus();
  else if (detail === 'relevant' || detail === 'not-relevant') decide(rows()[place], detail === 'relevant' ? 1 : 0);
});
element.addEventListener('keydown', (event) => {
  if (event.target.matches('.decision-note') && ['Enter', 'Escape'].includes(event.key)) select(place);
});
watch('value', () => setTimeout(() => {
  showNotes();
  select(place, element.offsetParent !== null);
}));
