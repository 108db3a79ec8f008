// Prints what Claude Code does (--output-format stream-json) as it happens: text, tool calls, the first lines of results.
import { createInterface } from "node:readline";
const cut = (s, indent) => s.trimEnd().split("\n").slice(0, 12).map((l) => `${indent}    ${l.length > 140 ? l.slice(0, 140) + "…" : l}`).join("\n");
const text = (c) => (Array.isArray(c) ? c.find((b) => b.type === "text")?.text : c) ?? "";
for await (const line of createInterface({ input: process.stdin })) {
  let e;
  try { e = JSON.parse(line); } catch { console.log(line); continue; }
  const indent = e.parent_tool_use_id ? "        " : "  ";
  if (!Array.isArray(e.message?.content)) continue;
  for (const c of e.message.content) {
    if (c.type === "text" && e.type === "assistant" && !e.parent_tool_use_id) console.log(`\nagent: ${c.text}`);
    if (c.type === "tool_use") console.log(`${indent}\x1b[1m${c.name === "Bash" ? "$ " + c.input.command : c.name + ": " + (c.input.prompt ?? JSON.stringify(c.input))}\x1b[0m`);
    if (c.type === "tool_result" && text(c.content).trim()) console.log(cut(text(c.content), indent));
  }
}
