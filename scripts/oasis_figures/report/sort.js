"use strict";
// A click on a column's head sorts the rows by it: numbers by value, the rest by text; again: the other way round.
function keyOf(row, column) {
  const text = row.cells[column].textContent.trim().replace(/[,×]/g, "").replace(/−/g, "-");
  const number = parseFloat(text.replace(/^[[(]/, ""));
  return Number.isNaN(number) ? text.toLowerCase() : number;
}
function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;  // what is no number comes last
  return a < b ? -1 : a > b ? 1 : 0;
}
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].map((row) => [keyOf(row, head.cellIndex), row]);
    rows.sort((a, b) => (down ? compare(b[0], a[0]) : compare(a[0], b[0])));
    body.append(...rows.map(([, row]) => row));
  });
}
