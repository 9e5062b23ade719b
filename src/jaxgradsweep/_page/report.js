// Sorts a table by the column whose title is chosen: numbers by size, the largest first; words from A on.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const titles = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const { by } = row.cells[column].dataset;
    if (by !== undefined) return by === "nan" ? Infinity : by === "inf" ? Infinity : Number(by);
    return row.cells[column].textContent.trim();
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? (a < b ? -1 : a > b ? 1 : 0) : String(a).localeCompare(b);

  titles.forEach((title, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => {
      const rows = [...body.rows];
      const known = rows.filter((row) => value(row, column) !== "-"); // what has no value stays at the end
      const largestFirst = known.some((row) => typeof value(row, column) === "number");
      const was = title.getAttribute("aria-sort");
      const ascending = was ? was === "descending" : !largestFirst;
      known.sort((a, b) => compare(value(a, column), value(b, column)) * (ascending ? 1 : -1));
      titles.forEach((each) => each.removeAttribute("aria-sort"));
      title.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      body.append(...known, ...rows.filter((row) => !known.includes(row)));
    });
  });
}

// What is folded is printed too.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => (each.open = true)));
