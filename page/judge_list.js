// A list of pairs that are judged where they are: those of one query, or those that somebody judged before. What a key
// or a button says is shown at once and sent to the server behind it, one after the other; when the server refuses it,
// the row goes back to what it was, and the reason is shown above the list.
const words = {
  'relevant': '✓ relevant', 'not-relevant': '✗ not relevant', 'cannot-tell': "? can't tell", 'later': '↷ later',
  'open': 'not judged yet',
};
const isDone = (row) => !['open', 'later'].includes(row.dataset.state);
let sending = Promise.resolve();
let selected = null;
let selectedSince = 0;

const rows = () => [...element.querySelectorAll('[data-row]')];
const kind = () => element.querySelector('[data-judge-list]')?.dataset.judgeList;
const annotator = () => document.querySelector('#annotator input, #annotator textarea')?.value.trim() ?? '';
const strategy = () => (document.querySelector('#strategy input')?.value ?? '').split(':')[0];
const keyOf = (row) => [row.dataset.query, row.dataset.passage];
const stateOf = (row) => ({
  state: row.dataset.state, note: row.dataset.note, flagged: !row.querySelector('[data-flag]').hidden,
});

function say(message) {
  const status = element.querySelector('.list-status');
  if (!status) return;
  status.hidden = !message;
  status.textContent = message;
}

function show(row, { state, note, flagged, event }) {
  row.dataset.state = state;
  row.dataset.note = note ?? '';
  if (event) row.dataset.event = event;
  row.querySelector('.row-state').textContent = words[state];
  row.querySelector('[data-flag]').hidden = !flagged;
  row.querySelector('[data-has-note]').hidden = !note;
  row.querySelector('.note-text').textContent = note ?? '';
  for (const button of row.querySelectorAll('[data-say]')) {
    if (button.dataset.say === 'flag') button.setAttribute('aria-pressed', flagged);
    else if (words[button.dataset.say]) button.setAttribute('aria-pressed', button.dataset.say === state);
  }
  count();
}

function count() {
  const all = rows();
  const done = all.filter(isDone).length;
  const counter = element.querySelector('[data-count]');
  if (counter) counter.textContent = `${done} of ${all.length} judged`;
  element.querySelector('.next')?.classList.toggle('ready', done === all.length);
  const rest = element.querySelector('[data-say="rest"]');
  if (rest) rest.disabled = done === all.length;
}

function select(row, focus = true) {
  if (!row) return;
  selected?.removeAttribute('aria-current');
  selected = row;
  selectedSince = performance.now();
  row.setAttribute('aria-current', 'true');
  if (focus) row.focus({ preventScroll: true });
  if (focus) row.scrollIntoView({ block: 'nearest' });
}

function move(step) {
  const all = rows();
  const place = all.indexOf(selected) + step;
  select(all[Math.max(0, Math.min(all.length - 1, place))]);
}

// On to the next one below that is not judged yet, or else the first such one, or else the end.
function advance() {
  const all = rows();
  const after = all.slice(all.indexOf(selected) + 1);
  const next = [...after, ...all].find((row) => row.dataset.state === 'open');
  if (next) select(next);
  else if (kind() === 'query') element.querySelector('.next')?.focus();
}

// Calls the server after what was sent before; what it answers is a state for each row, or an error.
function send(call, data, undoLocally) {
  sending = sending.then(async () => {
    let answer;
    try {
      answer = await server[call]({ annotator: annotator(), ...data });
    } catch {
      answer = { error: 'The server did not answer, so this is not stored. Try again.' };
    }
    if (answer.error) undoLocally?.();
    say(answer.error ?? '');
    for (const { query, passage, ...state } of answer.rows ?? []) {
      const row = rows().find((row) => row.dataset.query === query && row.dataset.passage === passage);
      if (row) show(row, state);
    }
    if (answer.progress) document.querySelectorAll('.team').forEach((team) => { team.outerHTML = answer.progress; });
    return answer;
  });
  return sending;
}

function judge(row, state) {
  const before = stateOf(row);
  show(row, { ...before, state });
  const seconds = (performance.now() - selectedSince) / 1000;
  send('judge', { key: keyOf(row), state, note: before.note, seconds }, () => show(row, before));
}

function flag(row) {
  const before = stateOf(row);
  show(row, { ...before, flagged: !before.flagged });
  send('flag', { key: keyOf(row) }, () => show(row, before));
}

function note(row) {
  if (row.querySelector('.note-box')) return;
  const box = document.createElement('input');
  box.className = 'note-box';
  box.value = row.dataset.note;
  box.setAttribute('aria-label', 'Note: enter keeps it, escape drops it');
  box.placeholder = 'A note on this judgment; enter keeps it';
  row.querySelector('.row-buttons').before(box);
  box.focus();
  box.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' && event.key !== 'Escape') return;
    event.preventDefault();
    event.stopPropagation();
    const before = stateOf(row);
    box.remove();
    select(row);
    if (event.key === 'Escape') return;
    show(row, { ...before, note: box.value.trim() });
    if (['relevant', 'not-relevant'].includes(before.state)) {
      send('judge', { key: keyOf(row), state: before.state, note: row.dataset.note, seconds: null }, () => show(row, before));
    }
  });
}

function rest() {
  const left = rows().filter((row) => row.dataset.state === 'open');
  if (!left.length) return;
  const before = left.map(stateOf);
  left.forEach((row) => show(row, { ...stateOf(row), state: 'not-relevant' }));
  send('rest', { keys: left.map(keyOf) }, () => left.forEach((row, place) => show(row, before[place])));
  advance();
}

async function undo(row) {
  const answer = await send('undo', { event: kind() === 'mine' ? Number(row?.dataset.event) : null });
  if (answer.error) return;
  const undone = answer.rows ?? [];
  if (!undone.length) return say('There is nothing to undo.');
  if (kind() === 'mine') return row.remove();
  const here = rows().find((row) => row.dataset.query === undone[0].query && row.dataset.passage === undone[0].passage);
  if (here) select(here);
  else await open({ query: undone[0].query, first: undone[0].passage });
}

async function open(data = {}) {
  const shown = rows().map(keyOf);
  const answer = await send('open', { strategy: strategy(), shown, ...data });
  if (answer.html === undefined) return;
  opened = data.first;
  props.value = answer.html;
  setTimeout(begin);
}

let opened = null;
function begin(focus = true) {
  const all = rows();
  selected = null;
  count();
  const first = opened && all.find((row) => row.dataset.passage === opened);
  opened = null;
  if (all.length) select(first || all.find((row) => row.dataset.state === 'open') || all[0], focus);
}

function act(name, row = selected) {
  if (name === 'next') return kind() === 'query' && open();
  if (name === 'rest') return kind() === 'query' && rest();
  if (name === 'undo') return undo(row);
  if (name === 'up' || name === 'down') return move(name === 'up' ? -1 : 1);
  if (!row) return;
  if (row !== selected) select(row, false);
  if (name === 'flag') return flag(row);
  if (name === 'note') return note(row);
  if (name === 'later' && kind() === 'mine') return;
  judge(row, name);
  if (kind() === 'query') advance();
}

element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-say]');
  const row = event.target.closest('[data-row]');
  if (button) act(button.dataset.say, row ?? selected);
  else if (row && !event.target.closest('input')) select(row);
  if (button && event.detail > 0) button.blur();
});
// keys.js sends the name of what a key stands for to the list that is on the screen.
element.addEventListener('judgekey', (event) => act(event.detail));
watch('value', () => setTimeout(() => begin(element.offsetParent !== null)));
setTimeout(() => begin(false));
