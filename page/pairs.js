// Judging pair by pair. The pairs that come next are on the page before they are needed: a press shows the next one at
// once, and the server hears of it behind that (page/conversation.js). A press is about the pair on the screen, and
// for the annotator whose name is on the screen.
// Enough for the time that a restart of the server takes, or another network.
const AHEAD = 5;
const MOST_SEEN = 500;
const words = {
  'relevant': ['✓ you said relevant', 'yes'], 'not-relevant': ['✗ you said not relevant', 'no'],
  'cannot-tell': ['? you could not tell', ''], 'later': ['↷ put off until now', ''],
};
const box = element.querySelector('#task');
const noteBox = element.querySelector('#note-box');
const renewAfter = Number(element.querySelector('.pair').dataset.renew) * 1000;

// The pairs that were on the screen, in order, with the place of the one that is; and those that come next.
let who = '';
let strategy = '';
let seen = [];
let place = 0;
let ahead = [];
// What is shown where nothing is left; null while more may come.
let nothingLeft = null;
let isAsking = false;
// Whether this annotator may not judge here.
let isRefused = false;
let shownAt = 0;
let heardAt = 0;

const same = (one, other) => one[0] === other[0] && one[1] === other[1];
const find = (key) => seen.find((pair) => same(pair.key, key)) ?? ahead.find((pair) => same(pair.key, key));
const current = () => seen[place];
const draftOf = (pair) => pair && workbench.notes.get(who, pair.key);
const noteOf = (pair) => draftOf(pair) ?? pair?.note ?? '';
const isOpen = (pair) => pair && (pair.state === 'open' || pair.isBack);
const notJudged = () => [...seen, ...ahead].filter(isOpen).map((pair) => pair.key);
const wanted = () => Math.max(0, AHEAD + (current() ? 0 : 1) - ahead.length);
const more = () => ({
  strategy: workbench.strategy(), shown: [...notJudged(), ...workbench.pressed()], want: wanted(),
});

function tell(message) {
  const line = element.querySelector('#judge-message');
  line.hidden = !message;
  line.textContent = message;
}

// Draws the pair on the screen, with what was said of it.
function draw() {
  const pair = current();
  element.querySelector('.pair').toggleAttribute('data-nobody', !who || isRefused);
  if (pair) box.innerHTML = pair.html;
  else if (!who) box.innerHTML = element.querySelector('[data-empty]').innerHTML;
  else box.innerHTML = nothingLeft ?? '<div class="empty" aria-busy="true"><p class="empty-title">The next pair is fetched…</p></div>';
  noteBox.value = noteOf(pair);
  shownAt = performance.now();
  describe();
  const top = box.getBoundingClientRect().top;
  if (top < 0) box.scrollIntoView({ block: 'start' });
}

function describe() {
  const pair = current();
  if (!pair) return;
  const [text, kind] = words[pair.state] ?? ['', ''];
  const tag = box.querySelector('[data-said]');
  tag.textContent = text;
  tag.hidden = !text;
  tag.className = `tag ${kind}`;
  box.querySelector('[data-flag]').hidden = !pair.flagged;
  box.querySelector('[data-has-note]').hidden = !pair.note;
  element.querySelector('#judge-flag').setAttribute('aria-pressed', pair.flagged);
}

function drop(pair) {
  const was = current();
  ahead = ahead.filter((other) => other !== pair);
  const at = seen.indexOf(pair);
  if (at < 0) return;
  seen.splice(at, 1);
  if (at < place) place -= 1;
  if (was === pair) show();
}

// Shows what has come into the place, or else the next pair.
function show() {
  if (!current() && ahead.length) {
    seen.push(ahead.shift());
    if (seen.length > MOST_SEEN) seen.shift();
    place = seen.length - 1;
  }
  draw();
  if (!current() && nothingLeft === null) ask();
}

// On to the next pair that is still to be judged.
function advance() {
  const next = seen.findIndex((pair, at) => at > place && isOpen(pair));
  place = next < 0 ? seen.length : next;
  show();
}

// Takes over what an answer says of pairs, and the pairs that come next.
function take(answer) {
  heardAt = performance.now();
  for (const { key, state, note, flagged } of answer.rows ?? []) {
    const pair = find(key);
    if (state !== 'open') workbench.notes.drop(who, key, note);
    if (pair && !pair.waiting) Object.assign(pair, { state, note, flagged, isBack: pair.isBack && state === 'later' });
  }
  for (const pair of answer.tasks ?? []) {
    const known = find(pair.key);
    const isBack = pair.state === 'later';
    if (known?.waiting) continue;
    if (known && (known === current() || ahead.includes(known))) {
      Object.assign(known, { ...pair, isBack }); // undone in one of the lists
      continue;
    }
    // One that was put off comes back at a new place.
    if (known) drop(known);
    ahead.push({ ...pair, isBack });
  }
  if (answer.tasks) nothingLeft = answer.empty ?? null;
  if (current()) describe();
  else show();
}

// Asks for the next pairs, and how those that are here stand now.
function ask(keys = []) {
  if (isAsking || !workbench.annotator()) return;
  isAsking = true;
  const [asked, chosen] = [who, workbench.strategy()];
  workbench.say('pairs', { keys }, {
    more,
    answered(answer) {
      isAsking = false;
      if (who !== asked || workbench.strategy() !== chosen) return begin();
      isRefused = [401, 403].includes(answer.status);
      if (answer.error) {
        nothingLeft = '';
        tell(answer.error);
        return draw();
      }
      const there = answer.rows.map((row) => row.key);
      const before = current();
      const wasOpen = isOpen(before);
      take(answer);
      for (const key of keys.filter((key) => !there.some((other) => same(key, other)))) {
        const gone = find(key);
        if (gone && !gone.waiting) drop(gone);
      }
      for (const pair of ahead.filter((pair) => !isOpen(pair))) drop(pair);
      if (wasOpen && before === current() && !isOpen(before)) advance(); // judged elsewhere in the meantime
      if (wanted() && nothingLeft === null && answer.tasks.length) ask();
    },
  });
}

// The tab has come up, or somebody has said who they are: what is shown is brought up to date.
function begin() {
  if (element.offsetParent === null) return;
  const name = workbench.annotator();
  if (name !== who) {
    [who, seen, place, ahead, nothingLeft] = [name, [], 0, [], null];
    tell('');
    draw();
  }
  if (workbench.strategy() !== strategy) {
    // Another pair comes in the place of one that is not judged yet.
    [strategy, ahead, nothingLeft] = [workbench.strategy(), [], null];
    const pair = current();
    if (isOpen(pair) && !pair.waiting) drop(pair);
  }
  noteBox.value = noteOf(current()); // it may have been typed in one of the lists
  if (who) ask(notJudged());
}

// Whether there is somebody to press, and a pair for it. What was pressed, at the moment `at`, before the pair came up
// is about none: nobody has seen it.
function isReady(at = performance.now()) {
  tell('');
  const isSame = workbench.annotator() === who;
  if (!isSame) begin();
  if (!who) tell(element.querySelector('[data-empty]').content.textContent);
  if (!who || !isSame) return false;
  if (!current() && nothingLeft !== null) tell('There is no pair to judge just now.');
  return Boolean(current()) && at >= shownAt;
}

// Sends what was said of a pair; where the server refuses, the pair is as it was before.
function send(call, pair, data, before, refused) {
  pair.waiting = (pair.waiting ?? 0) + 1;
  const asked = who;
  workbench.say(call, { key: pair.key, ...data }, {
    more,
    answered(answer) {
      pair.waiting -= 1;
      if (answer.error) tell(answer.error);
      if (who !== asked) return;
      if (!answer.error) return take(answer);
      if (!pair.waiting) Object.assign(pair, before);
      if ([404, 409].includes(answer.status)) drop(pair);
      else refused?.();
      describe();
      if (wanted()) ask();
    },
  });
}

function judge(state, at) {
  if (!isReady(at)) return;
  const pair = current();
  const before = { state: pair.state, note: pair.note, isBack: pair.isBack };
  const [note, seconds] = [noteBox.value.trim(), (performance.now() - shownAt) / 1000];
  Object.assign(pair, { state, note, isBack: false });
  send('judge', pair, { state, note, seconds }, before, () => goTo(pair));
  advance();
}

function goTo(pair) {
  if (!seen.includes(pair)) seen.unshift(pair);
  place = seen.indexOf(pair);
  draw();
}

function flag(at) {
  if (!isReady(at)) return;
  const pair = current();
  const before = { flagged: pair.flagged };
  pair.flagged = !pair.flagged;
  send('flag', pair, {}, before);
  describe();
}

// Enter in the box: the note of a pair that is judged already is kept, else it waits for the key.
function keepNote() {
  const pair = current();
  if (!pair) return;
  tell('');
  if (!['relevant', 'not-relevant', 'cannot-tell'].includes(pair.state)) {
    return tell('The note goes with your judgment: press 1 or 0.');
  }
  const before = { note: pair.note };
  pair.note = noteBox.value.trim();
  send('judge', pair, { state: pair.state, note: pair.note }, before);
  describe();
}

function undo() {
  tell('');
  if (workbench.annotator() !== who || !who) return void isReady();
  const asked = who;
  workbench.say('undo', {}, {
    more,
    answered(answer) {
      if (answer.error) return tell(answer.error);
      if (who !== asked) return;
      if (!answer.rows.length) tell('There is nothing to undo.');
      const isUndone = ({ key }) => answer.rows.some((row) => same(row.key, key));
      ahead = ahead.filter((pair) => !isUndone(pair));
      // It is back in its old place among those that were seen, with what was typed.
      for (const pair of seen.filter(isUndone)) workbench.notes.put(who, pair.key, noteOf(pair));
      const [first] = answer.rows;
      take({ ...answer, tasks: answer.tasks?.filter((pair) => !isUndone(pair)) });
      if (first) goTo(find(first.key) ?? { ...first });
    },
  });
}

function move(step) {
  tell('');
  if (place + step < 0) return tell('This is the first pair that you saw since the page was opened.');
  if (place + step >= seen.length && isOpen(current())) {
    return tell('This is the newest pair: judge it, or press l to see it later.');
  }
  if (!current() && step > 0) nothingLeft = null;
  place = Math.min(place + step, seen.length);
  show();
  // It may have been judged otherwise since, in one of the lists.
  if (current() && !isOpen(current())) ask([current().key]);
}

const acts = {
  'relevant': (at) => judge('relevant', at), 'not-relevant': (at) => judge('not-relevant', at),
  'cannot-tell': (at) => judge('cannot-tell', at), 'later': (at) => judge('later', at),
  'back': () => move(-1), 'forward': () => move(1), undo, flag,
};
element.addEventListener('click', (event) => {
  acts[event.target.closest('[data-act]')?.dataset.act]?.(workbench.keyPressedAt ?? event.timeStamp);
});
noteBox.addEventListener('input', () => {
  const pair = current();
  if (pair) workbench.notes.put(who, pair.key, noteBox.value, pair.note ?? '');
});
noteBox.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.isComposing) keepNote();
  if (['Enter', 'Escape'].includes(event.key) && !event.isComposing) {
    event.preventDefault();
    event.stopPropagation();
    noteBox.blur();
  }
});
document.addEventListener('judge-named', begin);
document.addEventListener('strategy-chosen', begin);
// Whoever comes back after a while may find that others have been given the pairs.
for (const sign of ['keydown', 'pointerdown', 'pointermove', 'visibilitychange']) {
  document.addEventListener(sign, () => {
    if (heardAt && performance.now() - heardAt > renewAfter && !document.hidden) {
      heardAt = performance.now();
      begin();
    }
  }, { passive: true });
}
workbench.elsewhere((key) => {
  const pair = find(key);
  if (pair && isOpen(pair) && !pair.waiting) drop(pair);
});
draw();
workbench.whenShown(element, begin);
