// The keys of the Label tab. Each stands for a press of the button that carries it, so that there is one way only in
// which a judgment is made. They do nothing while someone types, and nothing on the other tabs.
(() => {
  const buttons = {
    '1': 'judge-relevant', '0': 'judge-not-relevant', ' ': 'judge-cannot-tell', l: 'judge-later', u: 'judge-undo',
    f: 'judge-flag', ArrowLeft: 'judge-back', ArrowRight: 'judge-forward',
  };
  const isShown = (element) => element && element.offsetParent !== null;
  const isTyping = (target) =>
    target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName);
  // Somebody who moves with the tab key presses what is focused with the space bar.
  const pressesFocused = (event) =>
    event.key === ' ' && document.activeElement?.matches('button:focus-visible, summary:focus-visible, a:focus-visible');
  // The arrows belong to the row of tabs while one of them is focused by the keyboard.
  const movesTabs = (event) =>
    event.key.startsWith('Arrow') && document.activeElement?.matches('[role="tab"]:focus-visible');

  // What was pressed with the mouse lets go of the keyboard: else the next space bar would press it again.
  document.addEventListener('click', (event) => {
    if (event.detail > 0) event.target.closest?.('[role="tab"], .judge-button')?.blur();
  });

  document.addEventListener('keydown', (event) => {
    if (!isShown(document.getElementById('label-tab-body')) || isTyping(event.target)) return;
    if (event.repeat || event.altKey || event.metaKey || event.isComposing) return;
    const isUndo = event.ctrlKey && event.key.toLowerCase() === 'z' && !event.shiftKey;
    if (event.ctrlKey && !isUndo) return;
    if (event.key === '?') {
      const help = document.getElementById('keys-help');
      if (help) help.open = !help.open;
      event.preventDefault();
      return;
    }
    const id = isUndo ? 'judge-undo' : buttons[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    const button = id && document.getElementById(id);
    if (!isShown(button) || pressesFocused(event) || movesTabs(event)) return;
    event.preventDefault();
    if (!button.disabled) button.click();
  });
})();
