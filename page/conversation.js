// The Label tab's one conversation with the server. What is pressed is kept in the browser and sent, one call at a time
// and in order, until the server has answered: over a lost connection, a restart of the server and a reload of the page.
// Each press has a name, under which the server stores it once however often it arrives. What an answer says is shown
// before the next call goes out, so no answer is overtaken by another.
window.workbench = (() => {
  const STORED = 'rerank-workbench-unsaved ';
  const NAME = 'rerank-workbench-name';
  const CHANGES = ['judge', 'flag', 'rest', 'undo'];
  // In milliseconds. A call that is not answered for so long is taken for lost.
  const SILENCE = 20_000;
  const LONGEST_PAUSE = 15_000;
  const UNNOTICED = 700;
  // A server that is there, but fails at one and the same call: the others go on without it then.
  const FAILURES = 6;
  // In bytes. A browser refuses to send more than 64 KiB that outlive the page, in all calls that are under way.
  const OUTLIVES = 32_768;
  const visit = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
  const outbox = [];
  let said = 0;
  let isSending = false;
  let wakeUp = null;
  // What an earlier visit has pressed and the server does not take: nothing else on the page would show it.
  let refused = [];
  // While it waits to ask again: for how many seconds, and after how many failures.
  let pausing = null;
  let strategy = null;
  let since = 0;

  const watched = new Map();
  const sizes = new ResizeObserver(() => {
    const changed = [...watched].filter(([element, { wasShown }]) => (element.offsetParent !== null) !== wasShown);
    for (const [, one] of changed) one.wasShown = !one.wasShown;
    for (const [, { wasShown, gone }] of changed) if (!wasShown) gone();
    for (const [, { wasShown, act }] of changed) if (wasShown) act();
  });

  const input = (id) => document.querySelector(`#${id} :is(input, textarea)`)?.value.trim() ?? '';
  const changes = () => outbox.filter((message) => CHANGES.includes(message.call));

  // Where labelling is closed to visitors, those who have the API token may.
  function authorization() {
    const token = input('api-token');
    return /^[ -~]+$/.test(token) ? { Authorization: `Bearer ${token}` } : {};
  }

  function keep(message) {
    try {
      if (CHANGES.includes(message.call)) localStorage.setItem(STORED + message.press, JSON.stringify(message));
    } catch { /* no room, or not allowed: it is sent all the same */ }
  }

  function forget(message) {
    try { localStorage.removeItem(STORED + message.press); } catch { /* it was not kept either */ }
  }

  // What an earlier visit, or another tab, has not got through yet. Sent twice it counts once.
  function unsent() {
    try {
      return Object.keys(localStorage).filter((name) => name.startsWith(STORED)).sort()
        .map((name) => ({ ...JSON.parse(localStorage.getItem(name)), isOfBefore: true }));
    } catch { return []; }
  }

  // Puts a call behind those that wait. `more` gives what is to be said as it is when the call goes out; `answered` is
  // told the answer, which has an `error` where the server has refused.
  function say(call, data, { more, answered } = {}) {
    const press = `${visit}-${String(said++).padStart(6, '0')}`;
    const message = { press, call, data: { annotator: input('annotator'), ...data } };
    keep(message);
    outbox.push(message);
    Object.defineProperties(message, { more: { value: more }, answered: { value: answered } });
    if (pausing) show();
    send();
    return message;
  }

  // Asks how far the team has come, for whoever has typed no name; with one, every answer tells it.
  function team() {
    if (!input('annotator')) say('team', {});
  }

  async function send() {
    if (isSending) return;
    isSending = true;
    since = performance.now();
    for (let failed = 0; outbox.length;) {
      const message = outbox[0];
      const slow = setTimeout(show, UNNOTICED);
      const answer = await deliver(message);
      clearTimeout(slow);
      if (!answer) {
        await pause(Math.min(500 * 2 ** failed, LONGEST_PAUSE), ++failed);
        continue;
      }
      failed = 0;
      since = performance.now();
      outbox.shift();
      // Whoever may not say it now may do so once the token is typed, or they have signed in.
      const isKept = message.isOfBefore && [401, 403].includes(answer.status);
      if (!isKept) forget(message);
      if (message.isOfBefore && answer.error) refused.push({ message, isKept, why: answer.error });
      if (answer.progress) document.querySelectorAll('.team').forEach((team) => { team.outerHTML = answer.progress; });
      try { message.answered?.(answer); } catch (error) { console.error(error); }
      show();
    }
    isSending = false;
  }

  // The answer; null while there is none.
  async function deliver(message) {
    const { press, call, data, more } = message;
    try {
      const body = JSON.stringify({ ...data, ...more?.(), press });
      const response = await fetch(new URL(`judging/${call}`, location.origin + location.pathname.replace(/\/*$/, '/')), {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...authorization() },
        body,
        signal: AbortSignal.timeout(SILENCE),
        keepalive: new Blob([body]).size <= OUTLIVES, // also when the page is closed right after the key
      });
      const answer = await response.json();
      if (response.ok) return answer;
      const why = answer.error.message;
      const isFinal = response.status < 500 && ![408, 425, 429].includes(response.status);
      message.failures = (message.failures ?? 0) + 1;
      return isFinal || message.failures >= FAILURES ? { error: why, status: response.status } : null;
    } catch {
      return null;
    }
  }

  function pause(milliseconds, failed) {
    return new Promise((resolve) => {
      const seconds = Math.ceil(milliseconds / 1000);
      pausing = { seconds, failed };
      show();
      const timer = setTimeout(resolve, milliseconds);
      wakeUp = () => { clearTimeout(timer); resolve(); };
    }).finally(() => { wakeUp = pausing = null; });
  }

  // Says what waits: nothing while all goes well.
  function show() {
    const line = document.getElementById('saving');
    if (!line) return;
    const waiting = changes().length;
    const counted = (count) => `${count} ${count === 1 ? 'judgment' : 'judgments'}`;
    const [text, button] = [line.firstElementChild, line.lastElementChild];
    line.dataset.failed = pausing?.failed ?? refused.length;
    button.textContent = pausing ? 'Try now' : 'Close';
    if (pausing) {
      const kept = waiting ? `${counted(waiting)} kept here; sent again` : 'Asking again';
      text.textContent = `⚠ The server does not answer. ${kept} in ${pausing.seconds} s.`;
    } else if (refused.length) {
      const { why } = refused.at(-1);
      text.textContent = `⚠ Not stored: ${counted(refused.length)} of an earlier visit. ${why}`;
    } else text.textContent = waiting ? `… Saving ${counted(waiting)}.` : '… Waiting for the server.';
    const isNoticed = pausing || performance.now() - since >= UNNOTICED;
    line.hidden = !refused.length && !(outbox.length && isNoticed);
  }

  // Says once more what was refused for want of the right to say it.
  function sayAgain() {
    // Before what was pressed since, but for what is under way.
    outbox.splice(Number(isSending), 0, ...refused.filter(({ isKept }) => isKept).map(({ message }) => message));
    refused = refused.filter(({ isKept }) => !isKept);
    send();
  }

  document.addEventListener('input', (event) => {
    if (!event.target.closest?.('#annotator')) return;
    try { localStorage.setItem(NAME, event.target.value.trim()); } catch { /* it is asked again next time */ }
  });
  addEventListener('online', () => wakeUp?.());
  document.addEventListener('click', (event) => {
    if (!event.target.closest?.('#saving button')) return;
    if (!wakeUp) refused = [];
    wakeUp?.();
    show();
  });
  addEventListener('beforeunload', (event) => { if (wakeUp && changes().length) event.preventDefault(); });
  outbox.push(...unsent());
  if (outbox.length) send();

  return {
    // When the key was pressed that a click stands for; null where it is one of the mouse.
    keyPressedAt: null,
    say,
    // How many calls are not answered yet.
    waiting: () => outbox.length,
    annotator: () => input('annotator'),
    // The name that was typed last; what somebody has typed by then stays, since the box is given nothing.
    remembered(typed) {
      try { return typed ? undefined : localStorage.getItem(NAME) ?? undefined; } catch { return undefined; }
    },
    // The way in which the next pair is chosen; '' is the one that the server takes by itself.
    strategy: () => (strategy ??= workbench.kept('strategy', 1)[0] ?? ''),
    // The pairs that calls which wait behind the one under way are about.
    pressed: () => outbox.slice(1).flatMap(({ data }) => [...(data.key ? [data.key] : []), ...(data.keys ?? [])]),
    // Somebody else may judge now, or other pairs are wanted: whatever is on the screen hears of it.
    named() {
      sayAgain();
      team();
      document.dispatchEvent(new CustomEvent('judge-named'));
    },
    team,
    // Gradio says that something was chosen when a drop-down is left, too.
    choose(chosen, byItself) {
      if (chosen === (workbench.strategy() || byItself)) return;
      strategy = chosen;
      workbench.keep('strategy', chosen);
      document.dispatchEvent(new CustomEvent('strategy-chosen'));
    },
    // Calls `act` now if the element is on the screen, and whenever it comes up again; and `gone` when it goes. Where one
    // goes and another comes, the one that goes is told first.
    whenShown(element, act, gone = () => {}) {
      watched.set(element, { wasShown: false, act, gone });
      sizes.observe(element);
    },
    // Tells `act` of each pair that this annotator has pressed on another tab of this browser.
    elsewhere(act) {
      addEventListener('storage', ({ key, newValue }) => {
        if (!key?.startsWith(STORED) || !newValue) return;
        const { call, data } = JSON.parse(newValue);
        if (data.annotator !== input('annotator') || !['judge', 'rest'].includes(call)) return;
        for (const pair of data.key ? [data.key] : data.keys) act(pair);
      });
    },
  };
})();
