"""How the report looks: on screens wide and narrow, light and dark, and on paper."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --text: #1c2430; --soft: #5b6675; --edge: #d5dbe3; --shade: #f3f5f8;
  --bar: #2f6fb5; --second: #b45309; --good: #146c3a; --bad: #b3261e; --warn: #8a5a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14181f; --text: #e6eaf0; --soft: #a3adba; --edge: #39424f; --shade: #1e242d;
    --bar: #6ea8e5; --second: #f0a35e; --good: #6fcf97; --bad: #ff8a80; --warn: #ffc861;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 62rem; padding: 1rem; overflow-wrap: anywhere;
  background: var(--page); color: var(--text); font: 1rem/1.5 system-ui, sans-serif;
}
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .7rem; border-top: 1px solid var(--edge); }
#verdict h2 { border: 0; margin-top: 0; padding: 0; }
p, ul, dl { margin: .5rem 0; max-width: 46rem; }
.verdict { display: flex; gap: .8rem; align-items: flex-start; max-width: none; margin: 1rem 0;
  padding: .8rem 1rem; border: 2px solid; border-left-width: .6rem; border-radius: .3rem; background: var(--shade); }
.verdict strong { display: block; font-size: 1.15rem; }
.verdict span { color: var(--text); }
.icon { font-size: 1.8rem; line-height: 1; font-weight: bold; }
.pass { color: var(--good); } .warn { color: var(--warn); } .fail { color: var(--bad); }
.soft, .none, figcaption, caption { color: var(--soft); }
.scroll { overflow-x: auto; margin: .6rem 0 1rem; }
table { border-collapse: collapse; font-size: .9rem; min-width: min(100%, 30rem); }
caption { text-align: left; padding: .2rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--edge); }
th, td { overflow-wrap: normal; }
td { white-space: nowrap; }
.facts td { white-space: normal; overflow-wrap: anywhere; }
th.n { text-align: right; }
thead th { min-width: 3.5rem; }
thead th { vertical-align: bottom; color: var(--soft); font-weight: 600; }
tbody th { font-weight: 500; min-width: 6rem; overflow-wrap: anywhere; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
code, pre { font: .85rem/1.45 ui-monospace, monospace; background: var(--shade); border-radius: .2rem; }
pre { padding: .7rem; white-space: pre-wrap; }
nav ol { columns: 2; max-width: 46rem; padding-left: 1.4rem; }
a { color: var(--bar); }
figure { margin: .8rem 0; }
img { max-width: 100%; height: auto; display: block; border-radius: .2rem; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; }
.pair img { width: 100%; }
.row { display: flex; flex-wrap: wrap; gap: 0 2.5rem; align-items: flex-start; }
.row > * { flex: 1 1 18rem; max-width: 32rem; min-width: 0; }
.row table { min-width: 100%; }
svg { font: 12px system-ui, sans-serif; fill: var(--text); }
svg.plot { width: 100%; max-width: 32rem; height: auto; display: block; }
svg.bullet { width: 15rem; height: 1.5rem; display: block; }
.graph { max-height: 85vh; overflow: auto; border: 1px solid var(--edge); }
.graph svg { max-width: 100%; height: auto; display: block; margin: 0 auto; }
.bar, .interval { fill: var(--bar); } .interval { opacity: .55; } .track { fill: var(--edge); }
.float { fill: var(--page); stroke: var(--second); stroke-width: 2; }
.dot { fill: var(--text); } .good { fill: var(--good); } .bad { stroke: var(--bad); stroke-width: 3; fill: none; }
.grid { stroke: var(--edge); } .bound { stroke: var(--second); stroke-width: 2; stroke-dasharray: 5 3; }
.line { fill: none; stroke: var(--bar); stroke-width: 2.5; } .line1 { stroke: var(--second); stroke-dasharray: 7 4; }
footer { margin-top: 2.5rem; padding-top: .8rem; border-top: 1px solid var(--edge); font-size: .9rem; }
@media (max-width: 36rem) { nav ol { columns: 1; } .verdict { padding: .7rem; } }
@page { size: A4; margin: 14mm; }
@media print {
  :root {
    color-scheme: light;
    --page: #ffffff; --text: #000000; --soft: #444444; --edge: #bbbbbb; --shade: #f3f5f8;
    --bar: #2f6fb5; --second: #b45309; --good: #146c3a; --bad: #b3261e; --warn: #8a5a00;
  }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 10pt; max-width: none; padding: 0; }
  nav, .graph { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 8.5pt; width: 100%; }
  td { white-space: normal; }
  .pair img { max-height: 68mm; width: auto; }
  thead { display: table-header-group; }
  tr, figure, pre, li, .verdict, .scroll, .row { break-inside: avoid; }
  h2, h2 + p, caption { break-after: avoid; }
  h2 { margin-top: 1.2rem; }
  a { color: inherit; text-decoration: none; }
}
"""
