"""The report's style sheet, inside the page: it is one file that can be mailed."""

from typing import Final

STYLE: Final = """
:root { --ink: #1d2733; --soft: #5b6876; --line: #dfe4ea; --paper: #fff; --ground: #f3f5f8; --warn: #8a5300; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1140px; margin: 0 auto; padding: 28px 24px 60px; }
header h1 { margin: 0; font-size: 25px; font-weight: 650; letter-spacing: -0.01em; }
header p { margin: 4px 0 0; color: var(--soft); overflow-wrap: anywhere; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 20px 24px 22px;
  margin-top: 18px; }
h2 { margin: 0 0 4px; font-size: 18px; font-weight: 650; }
h3 { margin: 20px 0 4px; font-size: 14px; font-weight: 650; }
.note { margin: 0 0 12px; color: var(--soft); font-size: 13.5px; max-width: 92ch; }
.warning { margin-top: 16px; padding: 10px 16px; border: 1px solid #efcf9a; border-left: 5px solid #e59b23;
  border-radius: 8px; background: #fff8ea; color: var(--warn); overflow-wrap: anywhere; }
.warning p { margin: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(158px, 1fr)); gap: 12px; margin-top: 12px; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px 11px; }
.tile b { display: block; font-size: 23px; font-weight: 650; letter-spacing: -0.01em; line-height: 1.25; }
.tile b small { font-size: 14px; font-weight: 500; color: var(--soft); }
.tile span { color: var(--soft); font-size: 13px; display: block; line-height: 1.35; }
.tile.of { border-top: 3px solid var(--of); }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
th { text-align: right; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--line); padding: 5px 10px;
  vertical-align: bottom; }
td { text-align: right; padding: 4px 10px; border-bottom: 1px solid #eef1f4; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.absent td { color: #9aa5b1; }
tr.sum td { font-weight: 650; border-bottom: none; }
tr.sum.first td { border-top: 1px solid var(--line); }
td.bar { width: 26%; min-width: 150px; }
.track { display: flex; align-items: center; gap: 9px; justify-content: flex-end; }
.track i { flex: 1; height: 9px; border-radius: 3px; background: #edf0f4; overflow: hidden; }
.track i u { display: block; height: 100%; text-decoration: none; }
.track em { font-style: normal; min-width: 46px; }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 8px;
  vertical-align: -1px; border: 1px solid rgba(0,0,0,.18); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 13px; color: var(--soft); margin: 6px 0; }
.dot { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 6px; }
svg { display: block; width: 100%; height: auto; margin-top: 4px; }
svg text { font-size: 12px; fill: var(--soft); font-family: inherit; }
svg .grid { stroke: #e9edf1; } svg .axis { stroke: #aab4bf; }
svg .gap { stroke: #d03b3b; stroke-width: 1.6; }
.frame { margin-top: 16px; } .frame p { margin: 0 0 6px; font-size: 13.5px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 8px; }
figure { margin: 0; } figure img { width: 100%; display: block; border-radius: 5px; background: #000; }
figure img.labels { image-rendering: pixelated; }
figcaption { font-size: 12.5px; color: var(--soft); margin-top: 2px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 8px 0 0; font-size: 13.5px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.narrow { max-width: 480px; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 6px 36px; }
footer { color: var(--soft); font-size: 12.5px; margin-top: 20px; }
@media print { body { background: #fff; } main { padding: 0; max-width: none; } section { break-inside: avoid; } }
"""
