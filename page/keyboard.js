// What gradio leaves out for whoever moves by the keyboard.
(() => {
  // A list of choices goes when its box is left. Gradio looks at the tab key only after the box has been left, and opens
  // the list again, over what comes next.
  document.addEventListener('keydown', (event) => {
    const isLeft = ['Tab', 'Shift'].includes(event.key);
    if (isLeft && event.target.matches?.('input[role="combobox"]')) event.stopPropagation();
  }, true);

  // The radio buttons of one question belong together: one stop of the tab key, between which the arrows move. Gradio
  // gives each a name of its own, and their group none.
  document.addEventListener('keydown', () => {
    for (const group of document.querySelectorAll('fieldset[id]:has(input[type="radio"])')) {
      group.setAttribute('aria-label', group.querySelector('[data-testid="block-info"]').textContent);
      for (const radio of group.querySelectorAll('input[type="radio"]')) radio.name = group.id;
    }
  }, true);

  // The arrows move along a row of tabs; enter opens the one that is focused.
  document.addEventListener('keydown', (event) => {
    const tab = event.target.closest?.('[role="tab"]');
    if (!tab || event.ctrlKey || event.altKey || event.metaKey) return;
    const row = [...tab.parentElement.querySelectorAll('[role="tab"]')];
    const at = row.indexOf(tab);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    row.at(to % row.length).focus();
  });
})();
