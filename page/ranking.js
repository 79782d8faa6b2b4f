// Sends a press of a label button to the server. The list is drawn anew after each label, so the focus and the passages
// that were opened are put back.
const opened = new Set();
let ranking = null;
let focused = null;
// On a phone a new ranking is below all that was typed, and nothing would seem to have happened. The focus goes to what
// is scrolled to, so that the next press of the tab key does not jump back; who types something else goes on.
function show(summary) {
  const { top } = summary.getBoundingClientRect();
  const isSeen = top >= 0 && top < innerHeight * 2 / 3;
  if (isSeen || document.activeElement?.closest('#passages, #annotator')) return;
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  summary.focus({ preventScroll: true });
  summary.scrollIntoView({ behavior: still ? 'instant' : 'smooth', block: 'start' });
}
element.addEventListener('click', (event) => {
  const more = event.target.closest('button[data-more]');
  if (more) {
    const text = more.closest('.body').querySelector('.text');
    const isOpen = text.classList.toggle('open');
    more.textContent = isOpen ? 'Show less' : 'Show all';
    more.setAttribute('aria-expanded', isOpen);
    isOpen ? opened.add(more.dataset.more) : opened.delete(more.dataset.more);
    return;
  }
  const button = event.target.closest('button[data-label]');
  if (!button) return;
  focused = `button[data-index="${button.dataset.index}"][data-label="${button.dataset.label}"]`;
  trigger('judge', {
    ranking: button.closest('[data-ranking]').dataset.ranking,
    index: Number(button.dataset.index),
    label: Number(button.dataset.label),
  });
});
watch('value', () => {
  const section = element.querySelector('[data-ranking]');
  if (!section) return;
  if (section.dataset.ranking !== ranking) {
    ranking = section.dataset.ranking;
    opened.clear();
    focused = null;
    show(section.querySelector('.summary'));
  }
  for (const index of [...opened]) element.querySelector(`button[data-more="${index}"]`)?.click();
  if (focused) element.querySelector(focused)?.focus({ preventScroll: true });
});
