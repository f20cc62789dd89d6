// Columns sort by a click or a key on their head: up, down, and back to the order of the paper. What is missing comes last.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0], order = [...body.rows];
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const collator = new Intl.Collator("en", { numeric: true });
  const key = (row, column) => {
    const cell = row.cells[column];
    if (!cell || cell.matches(".missing, :has(.missing)") || !cell.textContent.trim()) return null;
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return typeof a === typeof b ? collator.compare(a, b) : typeof a === "number" ? -1 : 1;
  };
  heads.forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = { ascending: "descending", descending: "" }[head.getAttribute("aria-sort")] ?? "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      if (now) head.setAttribute("aria-sort", now);
      const keyed = order.map((row) => [key(row, column), row]);
      const there = keyed.filter(([value]) => value !== null);
      if (now) there.sort(([a], [b]) => (now === "descending" ? compare(b, a) : compare(a, b)));
      const rows = now ? [...there, ...keyed.filter(([value]) => value === null)] : keyed;
      body.append(...rows.map(([, row]) => row));
    });
  });
}
