"""The style of the report's page, light and dark, wide and narrow."""

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1a1a1a;--muted:#5b6470;--line:#d5dae0;--field:#f5f7f9;--above:#2074de;
--below:#de6814;--recurrent:#cfe3f7;--weights:#e2eed2;--state:#f7e3c4;--plain:#fff;
--c0:#2074de;--c1:#de6814;--c2:#2b8a3e;--c3:#8a4fc7;--c4:#b3261e;--c5:#687078}
@media (prefers-color-scheme:dark){:root{--paper:#0d1117;--ink:#e6edf3;--muted:#9da7b1;--line:#30363d;--field:#161b22;
--above:#4c94f0;--below:#f0883e;--recurrent:#1d3a5c;--weights:#2c4020;--state:#4d3a1a;--plain:#161b22;
--c0:#58a6ff;--c1:#f0883e;--c2:#56d364;--c3:#bc8cff;--c4:#ff7b72;--c5:#9da7b1}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,"Segoe UI",Helvetica,Arial,sans-serif}
main{max-width:64rem;margin:0 auto;padding:1rem}
h1{font-size:1.7rem;margin:.5rem 0;overflow-wrap:anywhere}h2{font-size:1.25rem;margin:2.2rem 0 .3rem;
overflow-wrap:anywhere}h3{font-size:1rem;margin:1rem 0 .2rem}
p{margin:.3rem 0 .7rem;max-width:46rem}code{font-size:.9em}.note,footer{color:var(--muted);font-size:.9rem}
.scroll{overflow-x:auto}.row{display:grid;grid-template-columns:9rem minmax(0,1fr);gap:.2rem .8rem;margin:.35rem 0}
.row>div:first-child{font-size:.9rem;line-height:1.25}.row small{display:block;color:var(--muted)}
.row img,.row .curves{display:block;width:100%;background:var(--field);border:1px solid var(--line)}
.row img{image-rendering:pixelated}.curves{height:5.5rem}.scale{font-size:.78rem;color:var(--muted)}
.axis{display:flex;justify-content:space-between;font-size:.78rem;color:var(--muted)}
.ids{display:flex;flex-wrap:wrap;gap:.25rem}.ids span{padding:.1rem .35rem;border:1px solid var(--line);
border-radius:4px;font:.85rem ui-monospace,monospace}
.scale,.named{white-space:nowrap}
.key{display:inline-block;width:3.6rem;height:.7rem;vertical-align:-1px;border:1px solid var(--line);margin:0 .35rem}
.key.one{background:linear-gradient(90deg,transparent,var(--above))}
.key.two{background:linear-gradient(90deg,var(--below),transparent,var(--above))}
.panels{display:flex;flex-wrap:wrap;gap:1rem 1.5rem}.panels figure{margin:0;width:17rem;max-width:100%}
figcaption{font-size:.9rem;margin-bottom:.2rem}
.bars text{font-size:10px!important}svg text{fill:var(--muted);font:11px system-ui,Helvetica,Arial,sans-serif}
.points,.bars,.network{width:100%;height:auto;display:block}.points circle{fill:var(--above);fill-opacity:.55}
.bars rect{fill:var(--above)}.frame{fill:none;stroke:var(--muted)}.limit{fill:none;stroke:var(--line)}
.curves polyline{fill:none;stroke-width:1.4;vector-effect:non-scaling-stroke}
.zero{stroke:var(--line);vector-effect:non-scaling-stroke}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}
.c5{stroke:var(--c5)}.dot{display:inline-block;width:.7rem;height:.7rem;border-radius:50%;margin-right:.3rem}
.box rect{stroke:var(--muted);fill:var(--plain)}.box.recurrent rect{fill:var(--recurrent)}
.box.weights rect{fill:var(--weights)}.box.state rect{fill:var(--state)}.box.end rect{fill:var(--field)}
.box text{text-anchor:middle;fill:var(--ink)}.box .name{font-weight:600;font-size:12.5px}
.edge{fill:none;stroke:var(--muted)}.back{stroke-dasharray:4 3}
table{border-collapse:collapse;font-size:.9rem}td,th{padding:.15rem .8rem .15rem 0;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
@media (min-width:40.01rem){.ids.flat{display:grid;grid-template-columns:repeat(var(--n),minmax(0,1fr));gap:0}
.ids.flat span{padding:0;text-align:center;font-size:.72rem;border-radius:0}}
@media (max-width:40rem){.row{grid-template-columns:minmax(0,1fr)}.row small{display:inline}main{padding:.8rem}}
@media print{section{break-inside:avoid}}
""".strip()
