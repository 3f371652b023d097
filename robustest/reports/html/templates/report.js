"use strict";
// Search, sort, fold and copy. The page says all it has to say without this script.
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const say = (text) => { one("#said").textContent = text; };

  const table = one("#overview");
  if (table) {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({
      row,
      article: document.getElementById(row.dataset.claim),
      verdict: row.dataset.verdict,
      text: "",
    }));
    for (const entry of rows) {
      const setting = one(".facts", entry.article);
      entry.text = `${entry.row.textContent} ${setting ? setting.textContent : ""}`.toLowerCase();
    }

    const search = one("#search");
    const chips = all(".chip");
    const filter = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.verdict);
      let count = 0;
      for (const { row, article, verdict, text } of rows) {
        const shown = (!wanted.length || wanted.includes(verdict)) && words.every((word) => text.includes(word));
        row.hidden = article.hidden = !shown;
        count += shown;
      }
      one("#shown").textContent = count === rows.length ? `${count} claims` : `${count} of ${rows.length} claims`;
    };
    search.addEventListener("input", filter);
    for (const chip of chips) {
      chip.addEventListener("click", () => {
        chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
        filter();
      });
    }

    const heads = all("th[data-sort]", table);
    const keyOf = (row, column, kind) => {
      const cell = row.cells[column];
      if (kind === "text") return cell.textContent.trim().toLowerCase();
      return cell.dataset.key === "" ? NaN : Number(cell.dataset.key);
    };
    const order = (head, direction) => {
      const column = head.cellIndex;
      const kind = head.dataset.sort;
      const keyed = [...body.rows].map((row) => [keyOf(row, column, kind), row]);
      keyed.sort(([a], [b]) => {
        if (kind === "text") return direction * a.localeCompare(b, "en", { numeric: true });
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // what has no value stays last
        return direction * (a - b);
      });
      body.append(...keyed.map(([, row]) => row));
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    };
    for (const head of heads) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => order(head, head.getAttribute("aria-sort") === "ascending" ? -1 : 1));
    }
    heads[0].setAttribute("aria-sort", "ascending");
    one(".controls").hidden = false;
    one(".fold").hidden = false;
    filter();
  }

  for (const button of all("[data-fold]")) {
    button.addEventListener("click", () => {
      for (const part of all(".claim:not([hidden]) > details")) part.open = button.dataset.fold === "open";
    });
  }

  // A link to a claim unfolds it, and shows it where the search had hidden it.
  const arrive = () => {
    const target = document.getElementById(location.hash.slice(1));
    const part = target && target.matches(".claim") && one("details", target);
    if (!part) return;
    target.hidden = false;
    part.open = true;
    target.scrollIntoView();
    one("summary", target).focus({ preventScroll: true });
  };
  window.addEventListener("hashchange", arrive);
  document.addEventListener("click", (event) => { // the same link twice changes no hash
    const link = event.target.closest("a[href^='#claim-']");
    if (link && link.hash === location.hash) setTimeout(arrive); // after the browser took the focus away
  });
  arrive();

  const select = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  };
  for (const place of all(".replay")) {
    const command = one("code", place);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy the command");
    button.addEventListener("click", async () => {
      let done = false;
      try {
        await navigator.clipboard.writeText(command.textContent);
        done = true;
      } catch {
        select(command); // no right to the clipboard: the command is selected, ready for the keyboard
        done = document.execCommand("copy");
      }
      button.textContent = done ? "Copied" : "Selected";
      say(done ? "Command copied" : "Command selected");
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    place.append(button);
  }

  // On paper there is nothing to unfold: what did not pass is printed with its evidence.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = all(".claim:not(.passed) > details:not([open])");
    for (const part of folded) part.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const part of folded) part.open = false;
  });
})();
