// The keys of the Label tab. Each stands for a press of the button that carries it, so that there is one way only in
// which a judgment is made. They do nothing while someone types, and nothing on the other tabs.
(() => {
  const buttons = {
    '1': 'judge-relevant', '0': 'judge-not-relevant', ' ': 'judge-cannot-tell', l: 'judge-later', u: 'judge-undo',
    f: 'judge-flag', ArrowLeft: 'judge-back', ArrowRight: 'judge-forward',
  };
  // In a list of pairs the keys are for the pair that is selected.
  const inLists = {
    '1': 'relevant', '0': 'not-relevant', ' ': 'cannot-tell', l: 'later', u: 'undo', f: 'flag', n: 'note', r: 'rest',
    Enter: 'next', ArrowUp: 'up', ArrowLeft: 'up', ArrowDown: 'down', ArrowRight: 'down',
  };
  const isShown = (element) => element && element.offsetParent !== null;
  const shownList = () => [...document.querySelectorAll('[data-judge-list]')].find(isShown);
  const isTyping = (target) =>
    target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName);
  // Somebody who moves with the tab key presses what is focused with the space bar or enter.
  const pressesFocused = (event) =>
    [' ', 'Enter'].includes(event.key)
    && document.activeElement?.matches('button:focus-visible, summary:focus-visible, a:focus-visible');
  // The arrows belong to the row of tabs while one of them is focused by the keyboard.
  const movesTabs = (event) =>
    event.key.startsWith('Arrow') && document.activeElement?.matches('[role="tab"]:focus-visible');

  // A long passage is read on in its box; the arrows do so where they do not move along a list. Whatever the box has no
  // more of is left to the page.
  const pages = { PageDown: 0.9, PageUp: -0.9 };
  const lines = { ArrowDown: 0.1, ArrowUp: -0.1 };
  function readsOn(key) {
    const list = shownList();
    const passage = list ? list.querySelector('[aria-current] .passage') : document.querySelector('#task .passage');
    const step = pages[key] ?? (list ? 0 : lines[key]);
    if (!isShown(passage) || !step) return false;
    const before = passage.scrollTop;
    passage.scrollTop += step * passage.clientHeight;
    return passage.scrollTop !== before;
  }

  // What was pressed with the mouse lets go of the keyboard: else the next space bar would press it again.
  document.addEventListener('click', (event) => {
    if (event.detail > 0) event.target.closest?.('[role="tab"], .judge-button')?.blur();
  });

  // Whoever has said who they are goes on to judge, and the keys would be taken for more of the name.
  document.addEventListener('keydown', (event) => {
    if (['Enter', 'Escape'].includes(event.key) && !event.isComposing && event.target.closest?.('#annotator')) {
      setTimeout(() => event.target.blur()); // once gradio has heard of it
    }
  });

  document.addEventListener('keydown', (event) => {
    if (!isShown(document.getElementById('label-tab-body'))) return;
    const note = document.querySelector('#note :is(input, textarea)');
    if (event.target === note && event.key === 'Escape') note.blur();
    if (isTyping(event.target)) return;
    if (!event.ctrlKey && !event.altKey && !event.metaKey && !event.shiftKey && readsOn(event.key)) {
      event.preventDefault();
      return;
    }
    if (event.repeat || event.altKey || event.metaKey || event.isComposing) return;
    const isUndo = event.ctrlKey && event.key.toLowerCase() === 'z' && !event.shiftKey;
    if (event.ctrlKey && !isUndo) return;
    if (event.key === '?') {
      const help = [...document.querySelectorAll('.keys')].find(isShown);
      if (help) help.open = !help.open;
      event.preventDefault();
      return;
    }
    const key = isUndo ? 'u' : event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (pressesFocused(event) || movesTabs(event)) return;
    const list = shownList();
    if (list) {
      if (!inLists[key]) return;
      event.preventDefault();
      list.dispatchEvent(new CustomEvent('judgekey', { detail: inLists[key], bubbles: true }));
      return;
    }
    if (key === 'n' && isShown(note)) {
      event.preventDefault();
      note.focus();
      return;
    }
    const button = document.getElementById(buttons[key]);
    if (!isShown(button)) return;
    event.preventDefault();
    workbench.keyPressedAt = event.timeStamp;
    button.click();
    workbench.keyPressedAt = null;
  });
})();
