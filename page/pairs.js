// The pair on the Label tab, and the one after it, which is on the page already: a press shows that one at once, and
// the server hears of the press behind it. Its answer holds the next pair, with the one after that.
window.workbench = (() => {
  // The pairs that were pressed and not answered yet, in order; one whose answer takes this long got lost.
  let pending = [];
  const LOST_AFTER = 10_000;
  const isPending = (key) => pending.some((press) => press.key === key && performance.now() - press.at < LOST_AFTER);
  // A pair that came up in this very moment was not seen by whoever pressed, so the press is about none.
  let justCameUp = false;
  let shown = '';
  let since = performance.now();

  const pairOnScreen = () => document.querySelector('#task section[data-query]');
  const keyOf = (pair) => `${pair.dataset.query} ${pair.dataset.passage}`;

  function look(pair) {
    const key = pair ? keyOf(pair) : '';
    if (key !== shown) [shown, since] = [key, performance.now()];
  }

  function showNext(pair) {
    const template = document.querySelector('#task template');
    const next = template?.content.querySelector('section');
    template?.remove();
    if (!next || isPending(keyOf(next))) {
      pair.setAttribute('aria-busy', 'true');
      return;
    }
    pair.replaceWith(next);
    look(next);
    justCameUp = true;
    setTimeout(() => { justCameUp = false; });
  }

  return {
    // What the server is told of a press: the pair it is about and the seconds that it was on the screen; '' where it
    // is about none, since the pair has been pressed before.
    press(judges) {
      const pair = pairOnScreen();
      if (!pair) return '';
      look(pair);
      const key = keyOf(pair);
      const said = `${key} ${((performance.now() - since) / 1000).toFixed(2)}`;
      if (!judges) return said;
      if (justCameUp || isPending(key)) return '';
      pending.push({ key, at: performance.now() });
      showNext(pair);
      return said;
    },
    // The server has answered.
    rendered() {
      const answered = document.querySelector('#task [data-answered]')?.dataset.answered ?? '';
      // It answers in order: what was pressed before that press and is not answered got lost on the way. What answers
      // no press, as when another strategy was chosen, may have been sent before those that wait.
      pending = pending.slice(pending.findIndex((press) => press.key === answered) + 1);
      const pair = pairOnScreen();
      look(pair);
      if (pair && isPending(keyOf(pair))) showNext(pair);
    },
  };
})();
