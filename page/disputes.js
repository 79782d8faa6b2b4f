// The disputes: a key or a button decides the one that is selected. The list is drawn anew after each decision, and the
// dispute that has moved up into the place of the one decided is selected then. gradio writes the new list into the old
// elements, so the boxes keep what was typed by their place: what belongs to which pair is kept here, and is there again
// when a decision is taken back, whoever's it was.
let place = 0;
let selected = '';
const drafts = workbench.drafts('decisions');
const rows = () => [...element.querySelectorAll('[data-row]')];
const keyOf = (row) => `${row.dataset.query} ${row.dataset.passage}`;

function select(number, focus = true) {
  const all = rows();
  if (!all.length) return;
  place = Math.max(0, Math.min(all.length - 1, number));
  all.forEach((row) => row.removeAttribute('aria-current'));
  all[place].setAttribute('aria-current', 'true');
  selected = keyOf(all[place]);
  if (focus) {
    all[place].focus({ preventScroll: true });
    all[place].scrollIntoView({ block: 'nearest' });
  }
}

function decide(row, label) {
  if (!row || row.hasAttribute('aria-busy')) return;
  row.setAttribute('aria-busy', 'true');
  setTimeout(() => row.removeAttribute('aria-busy'), 3000); // refused or lost: it can be pressed again
  const note = drafts.get(keyOf(row))?.trim() || null;
  trigger('decide', { query: row.dataset.query, passage: row.dataset.passage, label, note });
}

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
element.addEventListener('input', (event) => drafts.put(keyOf(event.target.closest('[data-row]')), event.target.value));
element.addEventListener('focusin', (event) => {
  if (event.target.matches('.decision-note')) select(rows().indexOf(event.target.closest('[data-row]')), false);
});

function redrawn() {
  const all = rows();
  const isTyping = document.activeElement?.matches('.decision-note');
  for (const row of all) row.querySelector('.decision-note').value = drafts.get(keyOf(row)) ?? '';
  const still = all.findIndex((row) => keyOf(row) === selected);
  const isSeen = element.offsetParent !== null;
  select(still < 0 ? place : still, isSeen);
  // The button that decided the last one is gone.
  if (!all.length && isSeen && document.activeElement === document.body) element.querySelector('.empty')?.focus();
  if (isTyping && still >= 0) all[still].querySelector('.decision-note').focus();
}
watch('value', () => setTimeout(redrawn));
