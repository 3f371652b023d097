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
  ArrowUp: at => beside(at, false), ArrowDown: at => beside(at, true),
};

form.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "submit") return;
  if (event.key === "Enter") event.preventDefault(); // no page is sent by mistake
  if (boxes && moves[event.key]) {
    event.preventDefault();
    stops[moves[event.key](stops.indexOf(event.target))].focus();
  }
  if (!boxes && /^[0-9]$/.test(event.key)) {
    const here = event.target.closest("fieldset"), choice = here.querySelectorAll("input")[(Number(event.key) + 9) % 10];
    if (!choice) return;
    choice.checked = true;
    const next = stops[stops.indexOf(here) + 1];
    (next ? next.querySelector("input:checked") || next.querySelector("input") : form.querySelector("button")).focus();
  }
});

document.getElementById("keys").hidden = false;
(document.getElementById("problem") || (boxes ? stops[0] : stops[0].querySelector("input"))).focus();
