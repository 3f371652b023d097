// Keys for those who have many pages to do; every page works without.
"use strict";
const form = document.querySelector("form[data-kind]");
const boxes = form.dataset.kind === "boxes";
const stops = [...form.querySelectorAll(boxes ? "input[type=checkbox]" : "fieldset")];

// Position of the stop in the row above or below whose middle is nearest; the same one where there is no such row.
const beside = (from, down) => {
  const middle = box => { const r = box.closest("label").getBoundingClientRect(); return [r.left + r.width / 2, r.top]; };
  const [x, y] = middle(stops[from]);
  const rows = stops.map((box, at) => [at, ...middle(box)]).filter(([, , top]) => (down ? top > y + 1 : top < y - 1));
  const near = down ? Math.min(...rows.map(r => r[2])) : Math.max(...rows.map(r => r[2]));
  const row = rows.filter(r => Math.abs(r[2] - near) < 2).sort((a, b) => Math.abs(a[1] - x) - Math.abs(b[1] - x));
  return row.length ? row[0][0] : from;
};

const moves = {
  ArrowLeft: at => Math.max(at - 1, 0), ArrowRight: at => Math.min(at + 1, stops.length - 1),
  ArrowUp: at => beside(at, false), ArrowDown: at => beside(at, true), Home: () => 0, End: () => stops.length - 1,
};

// Keys of the choices of an image, in their order: 1 to 9, 0, a to z, A to Z. Arrows reach those beyond.
const letters = "abcdefghijklmnopqrstuvwxyz", keys = [..."1234567890" + letters + letters.toUpperCase()];
// Case by Shift alone: with Caps Lock another choice would be taken. Some keyboards have digits by Shift only.
const keyOf = event => /^[a-z]$/i.test(event.key) ? event.key[event.shiftKey ? "toUpperCase" : "toLowerCase"]() : event.key;

if (!boxes) {
  for (const stop of stops) {
    [...stop.querySelectorAll("input")].slice(0, keys.length).forEach((choice, at) => {
      const key = keys[at], shown = document.createElement("kbd");
      choice.setAttribute("aria-keyshortcuts", /[A-Z]/.test(key) ? `Shift+${key}` : key);
      shown.textContent = key;
      shown.ariaHidden = "true"; // the name of a choice is its label alone
      choice.closest("label").append(shown);
    });
  }
}

form.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "submit") return;
  if (event.key === "Enter") event.preventDefault(); // no page is sent by mistake
  if (boxes && moves[event.key]) {
    event.preventDefault();
    stops[moves[event.key](stops.indexOf(event.target))].focus();
  }
  if (!boxes && keys.includes(keyOf(event))) {
    const here = event.target.closest("fieldset"), choice = here?.querySelectorAll("input")[keys.indexOf(keyOf(event))];
    if (!choice) return;
    event.preventDefault(); // some browsers search the page for what is typed
    choice.checked = true;
    const next = stops[stops.indexOf(here) + 1];
    (next ? next.querySelector("input:checked") || next.querySelector("input") : form.querySelector("button")).focus();
  }
});

document.getElementById("keys").hidden = false;
(document.getElementById("problem") || (boxes ? stops[0] : stops[0].querySelector("input"))).focus();
