// A list of pairs that are judged where they are: those of one query, or those that somebody judged before. What a key
// or a button says is shown at once, and the server hears of it behind that (page/conversation.js); when it refuses,
// the row goes back to what it was, and the reason is shown above the list.
//
// The query that comes next is fetched while this one is judged, so that it is there when it is wanted. Whoever leaves
// the list without having seen it gives it back.
const words = {
  'relevant': '✓ relevant', 'not-relevant': '✗ not relevant', 'cannot-tell': "? can't tell", 'later': '↷ later',
  'open': 'not judged yet',
};
const isDone = (row) => !['open', 'later'].includes(row.dataset.state);
const list = element.querySelector('[data-list]');
const kind = list.dataset.list;
const renewAfter = Number(list.dataset.renew) * 1000;
// Whose list is shown.
let who = null;
let isOpening = false;
// The next query, since when it lies here, and the number of the call that asked for it last.
let ahead = null;
let asked = 0;
// The queries that were left before all of them was judged: they come again when all others were there.
let passed = [];
let selected = null;
let selectedSince = 0;

const rowsIn = (part) => [...part.querySelectorAll('[data-row]')];
const rows = () => rowsIn(list);
const keyOf = (row) => [row.dataset.query, row.dataset.passage];
const rowOf = ([query, passage]) =>
  rows().find((row) => row.dataset.query === query && row.dataset.passage === passage);
const draftOf = (row) => workbench.notes.get(who, keyOf(row));
const keepDraft = (row, text) =>
  workbench.notes.put(who, keyOf(row), text, row.dataset.state === 'open' ? '' : row.dataset.note);
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
  else if (kind === 'query') element.querySelector('.next')?.focus();
}

// Tells the server; what it answers is a state for each row, or an error. A row that was pressed again since is left.
function send(call, data, here = [], undoLocally, more) {
  here.forEach((row) => { row.waiting = (row.waiting ?? 0) + 1; });
  return new Promise((resolve) => {
    workbench.say(call, data, {
      more,
      answered(answer) {
        here.forEach((row) => { row.waiting -= 1; });
        if (answer.error) undoLocally?.();
        // It stays until the next press: the answers to what was pressed before come at once.
        if (answer.error ?? answer.message) say(answer.error ?? answer.message);
        for (const { key, ...state } of answer.rows ?? []) {
          if (state.state !== 'open') workbench.notes.drop(who, key, state.note);
          const row = rowOf(key);
          if (row && state.event) row.dataset.event = state.event;
          if (!row || row.waiting) continue;
          const typed = draftOf(row) ?? row.dataset.note;
          show(row, state);
          // What was typed goes with the next judgment.
          if (call === 'undo' && state.state === 'open') keepDraft(row, typed);
          showDraft(row);
        }
        resolve(answer);
      },
    });
  });
}

// Whether the list is that of whoever judges now; else theirs is fetched, and what was pressed counts for nobody. Nor
// does it while another list is on its way.
function isMine() {
  if (workbench.annotator() === who) return !isOpening;
  open();
  return false;
}

function putBack(row, before) {
  if (row.waiting) return;
  show(row, before);
  showDraft(row);
}

function judge(row, state) {
  const before = stateOf(row);
  show(row, { ...before, state });
  // Where the next one is not selected, who does not see the row hears how it stands now.
  const heard = element.querySelector('.heard');
  if (kind === 'mine') heard.textContent = `${row.getAttribute('aria-label')}: ${words[state]}`;
  const seconds = (performance.now() - selectedSince) / 1000;
  send('judge', { key: keyOf(row), state, note: before.note, seconds }, [row], () => putBack(row, before));
}

function flag(row) {
  const before = stateOf(row);
  show(row, { ...before, flagged: !before.flagged });
  send('flag', { key: keyOf(row) }, [row], () => putBack(row, before));
}

// What was typed on this pair and is not stored yet. Of one that is not judged, it is what goes with the judgment.
function showDraft(row) {
  if (row.dataset.state !== 'open') workbench.notes.drop(who, keyOf(row), row.dataset.note);
  const draft = draftOf(row);
  if (draft === undefined || row.querySelector('.note-box')) return;
  if (row.dataset.state === 'open') show(row, { ...stateOf(row), note: draft.trim() });
  else openNote(row);
}

function note(row) {
  (row.querySelector('.note-box') ?? openNote(row)).focus();
}

function openNote(row) {
  const box = document.createElement('input');
  box.className = 'note-box';
  box.maxLength = 2000;
  box.value = draftOf(row) ?? row.dataset.note;
  box.setAttribute('aria-label', 'Note: enter keeps it, escape drops it');
  box.placeholder = 'A note on this judgment; enter keeps it';
  row.querySelector('.row-buttons').before(box);
  box.addEventListener('input', () => keepDraft(row, box.value));
  box.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' && event.key !== 'Escape') return;
    event.preventDefault();
    event.stopPropagation();
    const before = stateOf(row);
    box.remove();
    select(row);
    if (event.key === 'Escape') return keepDraft(row, row.dataset.note);
    show(row, { ...before, note: box.value.trim() });
    if (before.state !== 'open') {
      const said = { key: keyOf(row), state: before.state, note: row.dataset.note };
      send('judge', said, [row], () => putBack(row, before));
    }
  });
  return box;
}

function rest() {
  const left = rows().filter((row) => row.dataset.state === 'open');
  if (!left.length) return;
  const before = left.map(stateOf);
  left.forEach((row) => show(row, { ...stateOf(row), state: 'not-relevant' }));
  const notes = left.map((row) => row.dataset.note);
  send('rest', { keys: left.map(keyOf), notes }, left, () => left.forEach((row, place) => putBack(row, before[place])));
  advance();
}

async function undo(row) {
  if (kind === 'mine' && !row?.dataset.event) return;
  // A judgment that is still on its way has its number when this goes out.
  const event = () => (kind === 'mine' ? { event: Number(row.dataset.event) } : {});
  const answer = await send('undo', event(), kind === 'mine' ? [row] : [], null, event);
  if (answer.error) return;
  const undone = answer.rows ?? [];
  if (!undone.length) return say('There is nothing to undo.');
  if (kind === 'mine') {
    if (undone[0].state !== 'open') return;
    if (selected === row) move(row.nextElementSibling ? 1 : -1);
    return row.remove();
  }
  const first = rowOf(undone[0].key);
  if (first) select(first);
  else open({ query: undone[0].key[0], first: undone[0].key[1] });
}

const keysOf = (some) => some.map(keyOf);
const notDone = () => keysOf(rows().filter((row) => !isDone(row)));

// On to the next query; what is not judged of this one goes back to the queue.
function next() {
  const left = notDone();
  if (left.length) passed.push(left[0][0]);
  if (!ahead || performance.now() - ahead.since > renewAfter) return open({ left });
  list.replaceChildren(...ahead.part.childNodes);
  begin();
  fetchAhead(left);
}

function fetchAhead(left = []) {
  ahead = null;
  if (kind !== 'query' || !rows().length) return;
  const call = ++asked;
  workbench.say('next_query', {}, {
    // What was pressed since waits behind this call, so the server does not know of it yet.
    more: () => ({ strategy: workbench.strategy(), shown: [...notDone(), ...workbench.pressed()], left, passed }),
    answered(answer) {
      if (answer.error || call !== asked) return;
      const part = document.createElement('div');
      part.innerHTML = answer.html;
      // With none left, the next query is asked for again when it is wanted: there may be one by then.
      if (rowsIn(part).length) ahead = { part, since: performance.now() };
      comesAgain(part);
      if (!element.offsetParent) giveBack();
    },
  });
}

// When one comes again that was passed, all others were there.
function comesAgain(part) {
  if (rowsIn(part).some((row) => passed.includes(row.dataset.query))) passed = [];
}

function giveBack() {
  if (!ahead) return;
  workbench.say('give_back', { annotator: who, keys: keysOf(rowsIn(ahead.part)) });
  ahead = null;
}

// Fetches the list anew: that of the query with the id `data.query`, or of the next one. What of `left` is not judged
// goes back to the queue; with none the list stays where the annotator is.
function open({ left = [], first = null, ...data } = {}) {
  if (isOpening) return;
  const name = workbench.annotator();
  if (name !== who) {
    giveBack();
    passed = [];
  }
  [ahead, asked] = [null, asked + 1];
  if (!name) {
    who = name;
    list.innerHTML = element.querySelector('[data-empty]').innerHTML;
    return;
  }
  isOpening = true;
  workbench.say(kind === 'mine' ? 'mine' : 'next_query', data, {
    more: () => ({ strategy: workbench.strategy(), left, passed }),
    answered(answer) {
      isOpening = false;
      if (answer.error) return refused(answer.error);
      if (workbench.annotator() !== name) return open();
      who = name;
      list.innerHTML = answer.html;
      comesAgain(list);
      begin(first);
      if (element.offsetParent) fetchAhead();
    },
  });
}

// What cannot be fetched is said where the list would be; one that is there stays.
function refused(error) {
  if (rows().length) return say(error);
  list.innerHTML = '<div class="empty"><p class="empty-title"></p></div>';
  list.querySelector('.empty-title').textContent = error;
}

function begin(first = null) {
  const all = rows();
  selected = null;
  all.forEach(showDraft);
  count();
  const wanted = first && all.find((row) => row.dataset.passage === first);
  // Whoever types, or moves by the tab key, is not drawn away.
  const isFree = [null, document.body].includes(document.activeElement) || element.contains(document.activeElement);
  if (all.length) select(wanted || all.find((row) => row.dataset.state === 'open') || all[0], isFree);
}

function act(name, row = selected) {
  say('');
  if (!isMine()) return;
  if (name === 'next') return kind === 'query' && next();
  if (name === 'rest') return kind === 'query' && rest();
  if (name === 'undo') return undo(row);
  if (name === 'up' || name === 'down') return move(name === 'up' ? -1 : 1);
  if (!row) return;
  if (row !== selected) select(row, false);
  if (name === 'flag') return flag(row);
  if (name === 'note') return note(row);
  if (name === 'later' && kind === 'mine') return;
  judge(row, name);
  if (kind === 'query') advance();
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
document.addEventListener('judge-named', () => { if (element.offsetParent && workbench.annotator() !== who) open(); });
document.addEventListener('strategy-chosen', () => { if (element.offsetParent && kind === 'query') open(); });
workbench.whenShown(element, () => open(), giveBack);
