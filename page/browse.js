// A button says what it does; of a row that is being corrected, what is typed in its boxes goes along.
// What is typed over a text is kept by its pair, since the list is drawn anew with every press, and so may the page be.
const drafts = new Map(workbench.kept('corrections', 1)[0]);
const keyOf = (row) => `${row.dataset.query} ${row.dataset.passage}`;
const rows = () => [...element.querySelectorAll('tr[data-query]:not(.edit-row)')];
function keepDraft(row) {
  const boxes = [...row.querySelectorAll('textarea')];
  if (boxes.some((box) => box.value !== box.defaultValue)) drafts.set(keyOf(row), boxes.map((box) => box.value));
  else drafts.delete(keyOf(row));
  workbench.keep('corrections', [...drafts]);
}
function dropDraft(key) {
  if (drafts.delete(key)) workbench.keep('corrections', [...drafts]);
}
function showDrafts() {
  for (const row of element.querySelectorAll('tr[data-query]')) {
    const draft = drafts.get(keyOf(row));
    if (draft) row.querySelectorAll('textarea').forEach((box, place) => { box.value = draft[place]; });
    const button = row.querySelector('.acts [data-act="edit"]');
    const name = draft ? '✎ Draft' : '✎ Edit';
    if (button && button.textContent !== name) button.textContent = name;
  }
}
// The list is drawn anew after a press, and what was pressed may be gone: the focus goes to the same button of the same
// pair, or of the one that took its place, or else to the head of the list: where another page begins, also one that was
// turned to since nothing was left on this one.
let pressed = null;
const pageShown = () => element.querySelector('.pager')?.dataset.at;
function putFocusBack() {
  if (!pressed) return;
  const { act, key, place, at } = pressed;
  pressed = null;
  const isTurned = act === 'page' || at !== pageShown();
  // Gradio writes the new list into the old elements: a button that has the focus may be another pair's by now.
  const isHere = document.activeElement === document.body || (isTurned && element.contains(document.activeElement));
  if (act !== 'page' && !isHere) return;
  const all = rows();
  const row = all.find((row) => keyOf(row) === key) ?? all[place] ?? (key && all.at(-1));
  const same = !isTurned && (row || element).querySelector(`[data-act="${act}"]`);
  const target = same || (element.querySelector('.found-bar') ?? element.querySelector('[data-act], .empty'));
  target?.focus({ preventScroll: true });
  if (target?.getBoundingClientRect().top < 0) target.scrollIntoView({ block: 'nearest' });
}
element.addEventListener('input', (event) => {
  const row = event.target.closest('.edit-row');
  if (row) keepDraft(row);
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button) return;
  const row = button.closest('tr');
  element.querySelectorAll('.edit-row').forEach(keepDraft);
  // Given up. What is to be saved may be refused, and is kept until it is said to be saved.
  if (row?.matches('.edit-row') && button.dataset.act === 'edit') dropDraft(keyOf(row));
  const { query = null, passage = null } = row?.dataset ?? {};
  const { act, label = null, page = null, step = null } = button.dataset;
  const key = query && keyOf(row);
  const isOfTheBoxes = row?.matches('.edit-row');
  const place = rows().findIndex((other) => keyOf(other) === key);
  pressed = { act: isOfTheBoxes ? 'edit' : act, key, place, at: pageShown() };
  const typed = (name) => row?.querySelector(`textarea[name=${name}]`)?.value ?? null;
  const texts = { query_text: typed('query'), passage_text: typed('passage') };
  trigger('act', { act, query, passage, label, page, step, ...texts });
});
// A question that came up has to be answered first, also by those who do not see it.
new MutationObserver(() => {
  element.querySelector('[data-focus]')?.focus({ preventScroll: true });
  dropDraft(element.querySelector('[data-saved]')?.dataset.saved);
  showDrafts();
  putFocusBack();
}).observe(element, { childList: true, subtree: true });
