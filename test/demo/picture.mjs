// Draws docs/demo.svg from a run of the demo:  DEMO_ONCE=1 test/demo/run.sh | node test/demo/picture.mjs > docs/demo.svg
// It leaves lines out, and breaks those that are too long.
import { readFileSync } from "node:fs";

const all = readFileSync(0, "utf8").replace(/\x1b\[[0-9;]*m/g, "").split("\n");
const find = (text, from = 0) => {
  const i = all.findIndex((l, n) => n >= from && l.includes(text));
  if (i < 0) throw new Error(`the demo does not say "${text}"`);
  return i;
};
const push = find("$ git clone"), card = find("ada$ gatebook approvals", push), why = find("4  Which prompt"), verify = find("The book is whole.");
const kept = (from, to, what) => all.slice(from, to).filter((l) => what.test(l));
const lines = [
  [all[find("you: ")], "title"],
  ["", ""],
  [all[push].trim(), "bold"],
  [all[card], "title"],
  ...kept(card, find("is granted", card), /^(who|pod|target|risk|why) |^      message|^        green|^    paths:|^    - prices/).map((l) => [l, "card"]),
  ["ada$ gatebook approve … --reason \"that is the task\"", "title"],
  ["", ""],
  ...all.slice(why + 2, find("5  Who has seen", why)).filter((l, i, a) => l || (i && a[i - 1])).map((l) => [l, l.startsWith("grace$") ? "title" : ""]),
  ["grace$ gatebook verify --checkpoint kept-elsewhere …", "title"],
  [all[verify - 1].startsWith("NOT") ? all[verify - 2] : all[verify - 1], ""],
  [all[verify], "good"],
];
const width = 108, colour = { title: "#7aa2f7", bold: "#e0e6f0", card: "#e0af68", good: "#9ece6a", "": "#aab2c0" };
const escape = (s) => s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const wrap = (l) => {
  const at = l.length <= width ? -1 : l.lastIndexOf(" ", width);
  return at < 20 ? [l.slice(0, width)] : [l.slice(0, at), ...wrap("    " + l.slice(at + 1))];
};
const rows = lines.flatMap(([l, kind]) => wrap(l).map((r) => [r, kind]));
const height = 46 + rows.length * 18 + 8;
const alt = "The prompt, the push that it caused and that a person let happen, the answer to gatebook why, and the proof";
console.log(`<svg xmlns="http://www.w3.org/2000/svg" width="940" height="${height}" viewBox="0 0 940 ${height}" role="img" aria-label="${alt}">
<rect width="940" height="${height}" rx="8" fill="#1a1b26"/><circle cx="22" cy="18" r="6" fill="#f7768e"/><circle cx="42" cy="18" r="6" fill="#e0af68"/><circle cx="62" cy="18" r="6" fill="#9ece6a"/>
<g font-family="ui-monospace, SFMono-Regular, Menlo, DejaVu Sans Mono, monospace" font-size="13.6" xml:space="preserve">`);
rows.forEach(([l, kind], i) => {
  const head = !kind && /^(prompt|tool call|operation|caused by|decision|approval|effect) +/.exec(l);
  const body = head ? `<tspan fill="#9ece6a">${escape(head[0])}</tspan>${escape(l.slice(head[0].length))}` : escape(l);
  console.log(`<text x="22" y="${46 + i * 18}" fill="${colour[kind]}"${kind === "title" || kind === "bold" ? ' font-weight="bold"' : ""}>${body}</text>`);
});
console.log("</g></svg>");
