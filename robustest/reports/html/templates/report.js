"use strict";
// Search, sort, fold and copy. Without this script every claim stands in the table, and all evidence below it: in
// noscript elements, which a browser with scripts reads as one text each. A card is made of its text when it is opened.
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Before the body is read, so that nothing is laid out that will be folded.
  document.documentElement.classList.add("live");
  document.addEventListener("DOMContentLoaded", () => {
    if (one("#overview")) claims();
  });

  // The words of a claim's markup, in small letters: without tags, and with the five characters that templates escape.
  const CHARACTERS = { lt: "<", gt: ">", "#34": '"', "#39": "'", amp: "&" };
  const wordsOf = (markup) => markup.replace(/<wbr>/g, "").replace(/<[^>]*>/g, " ")
    .replace(/&(lt|gt|#34|#39|amp);/g, (_, name) => CHARACTERS[name]).toLowerCase();

  // Parts that are made when they are opened: curves that did not fit.
  document.addEventListener("toggle", (event) => {
    const kept = event.target.matches("details.later[open]") && one("noscript", event.target);
    if (kept) kept.outerHTML = kept.textContent;
  }, true); // a toggle does not bubble

  function claims() {
    const table = one("#overview");
    const evidence = new Map(all("noscript[data-of]").map((kept) => [kept.dataset.of, kept]));
    const groups = [...table.tBodies].map((body) => ({
      body, unfold: one(".unfold", body), folded: body.matches(".family"),
    }));
    // A claim: its row, the row of its card once that is made, and its group. A kept claim is shown in a folded family.
    const entries = groups.flatMap((group) => all("tr[data-claim]", group.body).map((row) => ({
      row, group, link: one(".what a", row), card: null, open: false, kept: false, words: null,
    })));
    const entryOf = new Map(entries.map((entry) => [entry.row.dataset.claim, entry]));

    // A row's value in a column, for sorting; a cell without a value has NaN.
    const heads = all("th[data-sort]", table);
    const keyOf = ({ row }, head) => {
      const cell = row.cells[head.cellIndex];
      if (head.dataset.sort === "text") return cell.textContent.trim().toLowerCase();
      return cell.dataset.key === "" ? NaN : Number(cell.dataset.key);
    };
    // Claims stand in their groups; or all in one list in the first group, sorted, if a search or a column asks for one.
    const WORST_FIRST = { head: heads[0], direction: 1 };
    let by = WORST_FIRST;
    let arranged = null; // the order of the list; null for groups
    const arrange = (order) => {
      if (order === arranged) return;
      arranged = order;
      let list = entries;
      if (order) {
        const { head, direction } = order;
        const compared = ([a], [b]) => {
          if (typeof a === "string") return direction * a.localeCompare(b, "en", { numeric: true });
          if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // last, both ways
          return direction * (a - b);
        };
        list = entries.map((entry) => [keyOf(entry, head), entry]).sort(compared).map(([, entry]) => entry);
      }
      for (const { row, card, group } of list) (order ? groups[0] : group).body.append(row, ...(card ? [card] : []));
      table.classList.toggle("listing", Boolean(order));
    };

    const search = one("#search");
    const chips = all(".chip");
    const isPressed = (chip) => chip.getAttribute("aria-pressed") === "true";
    const draw = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = new Set(chips.filter(isPressed).map((chip) => chip.dataset.verdict));
      const filtered = words.length > 0 || wanted.size > 0;
      arrange(filtered || by !== WORST_FIRST ? by : null);
      let count = 0;
      for (const entry of entries) {
        const { row, group, card } = entry;
        if (words.length) {
          entry.words ??= `${row.textContent.toLowerCase()} ${wordsOf(evidence.get(row.dataset.claim).textContent)}`;
        }
        const fits = (!wanted.size || wanted.has(row.dataset.verdict)) && words.every((word) => entry.words.includes(word));
        const shown = fits && (arranged !== null || entry.kept || !group.folded);
        row.classList.toggle("shown", shown);
        card?.classList.toggle("shown", shown && entry.open);
        count += fits;
      }
      for (const group of groups) group.unfold?.setAttribute("aria-expanded", String(!group.folded));
      one("#shown").textContent = filtered ? `${count} of ${entries.length} claims` : `${entries.length} claims`;
    };

    // The card of a claim, in a row of its own; its heading is that of the row, for screen readers.
    const make = (entry) => {
      const cell = document.createElement("td");
      cell.colSpan = table.tHead.rows[0].cells.length;
      cell.innerHTML = evidence.get(entry.row.dataset.claim).textContent;
      const article = one("article", cell);
      const heading = one("[role=heading]", article);
      heading.className = "hidden";
      article.removeAttribute("id"); // else the browser scrolls to it, and takes the focus from the row
      article.replaceChildren(heading, one(".body", article));
      all(".replay", article).forEach(copying);
      entry.card = document.createElement("tr");
      entry.card.className = "card";
      entry.card.append(cell);
      entry.row.after(entry.card);
    };
    const unfold = (entry, open) => {
      entry.open = open;
      entry.kept ||= open;
      if (open && !entry.card) make(entry);
      entry.link.setAttribute("aria-expanded", String(open));
    };

    search.addEventListener("input", draw);
    for (const chip of chips) {
      chip.addEventListener("click", () => {
        chip.setAttribute("aria-pressed", String(!isPressed(chip)));
        draw();
      });
    }
    for (const group of groups) {
      group.unfold?.addEventListener("click", () => {
        group.folded = !group.folded;
        for (const entry of entries) {
          if (entry.group === group && group.folded) Object.assign(entry, { kept: false, open: false });
        }
        draw();
      });
    }
    for (const button of all("[data-fold]")) {
      button.addEventListener("click", () => {
        const open = button.dataset.fold === "open";
        for (const entry of entries) if (!open || entry.row.matches(".shown")) unfold(entry, open);
        draw();
      });
    }
    table.addEventListener("click", (event) => {
      const entry = entryOf.get(event.target.closest("tr")?.dataset.claim);
      const link = event.target.closest("a, button");
      if (!entry || (link && link !== entry.link) || event.ctrlKey || event.metaKey || event.shiftKey) return;
      if (!link && !getSelection().isCollapsed) return; // somebody selects text
      event.preventDefault();
      unfold(entry, !entry.open);
      draw();
    });

    for (const head of heads) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        by = head === heads[0] && direction > 0 ? WORST_FIRST : { head, direction };
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        draw();
      });
    }
    heads[0].setAttribute("aria-sort", "ascending");

    // The tab key enters a map once, and arrows move inside of it: a thousand cells are not a thousand stops.
    for (const map of all(".map")) {
      const cells = all("a.cell", map);
      cells.forEach((cell, at) => { cell.tabIndex = at ? -1 : 0; });
      map.addEventListener("keydown", (event) => {
        const at = cells.indexOf(event.target);
        const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: cells.length - 1 }[event.key];
        if (at < 0 || !cells[to]) return;
        event.preventDefault();
        cells[at].tabIndex = -1;
        cells[to].tabIndex = 0;
        cells[to].focus();
      });
    }

    // A link to a claim opens its card, and ends a search that had hidden it.
    const arrive = () => {
      const entry = entryOf.get(location.hash.slice(1));
      if (!entry) return;
      unfold(entry, true);
      draw();
      if (!entry.row.matches(".shown")) {
        search.value = "";
        for (const chip of chips) chip.setAttribute("aria-pressed", "false");
        draw();
      }
      entry.row.scrollIntoView();
      entry.link.focus({ preventScroll: true });
    };
    window.addEventListener("hashchange", arrive);
    document.addEventListener("click", (event) => { // the same link twice changes no hash
      const link = event.target.closest("a[href^='#claim-']");
      if (link && link.hash === location.hash && !event.defaultPrevented) setTimeout(arrive); // after the browser took the focus away
    });

    // On paper there is nothing to open: every claim is printed, and what did not pass with its evidence.
    let printed = [];
    window.addEventListener("beforeprint", () => {
      printed = entries.filter((entry) => !entry.open && !["passed", "measured"].includes(entry.row.dataset.verdict));
      for (const entry of printed) if (!entry.card) make(entry);
      for (const entry of printed) entry.card.classList.add("printed");
    });
    window.addEventListener("afterprint", () => {
      for (const entry of printed) entry.card.classList.remove("printed");
    });

    for (const entry of entries) {
      entry.link.setAttribute("aria-expanded", "false");
      if ("open" in entry.row.dataset) unfold(entry, true);
    }
    one(".controls").hidden = false;
    draw();
    arrive();
  }

  // A button that copies the command of a card.
  const copying = (place) => {
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
        getSelection().selectAllChildren(command); // no right to the clipboard: the command is ready for the keyboard
        done = document.execCommand("copy");
      }
      button.textContent = done ? "Copied" : "Selected";
      one("#said").textContent = done ? "Command copied" : "Command selected";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    place.append(button);
  };
})();
