"use strict";
// The frames of a bag: a point of a chart, the slider, the buttons or the page's address (#frame=12) choose one.
(() => {
  const { models, topics, frames, pictures } = JSON.parse(document.getElementById("explorer-data").textContent);
  const $ = (name) => document.getElementById(name);
  const position = new Map(frames.number.map((number, index) => [number, index]));
  const withPicture = Object.keys(pictures.frames).map(Number).sort((a, b) => a - b);
  const share = (value) => (value === null ? "-" : `${(100 * value).toFixed(1)} %`);
  const time = (value) => (value === null ? "-" : `${value.toPrecision(3)} ms`);
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  let now = 0;

  // What a point says when the mouse is over it.
  report.prepare.push((figure) => figure.data.forEach((trace) => {
    if (!trace.customdata || !(trace.hovertemplate || "").includes("%{text}")) return;
    trace.text = trace.customdata.map((number) => {
      const at = position.get(number), model = (trace.meta || {}).model;
      const head = `frame ${number}, ${frames.seconds[at]} s, stamp ${frames.stamp[at]}`;
      if (model === null || model === undefined) return `${plain(trace.name)}: ${head}`;
      const of = frames.models[model];
      const score = of.miou[at] === null ? "" : `mIoU ${share(of.miou[at])}, `;
      return `<b>${plain(models[model])}</b>: ${head}<br>${score}confidence ${share(of.confidence[at])}, ${time(of.ms[at])}`;
    });
  }));
  report.drawn.push((place, figure) => {
    if (!figure.data.some((trace) => trace.customdata)) return;
    place.on("plotly_click", (event) => {
      const point = event.points.find((one) => one.customdata !== undefined);
      if (point) choose(position.get(point.customdata));
    });
    mark();
  });

  function mark() {
    const line = { type: "line", xref: "x", yref: "paper", x0: frames.seconds[now], x1: frames.seconds[now], y0: 0, y1: 1,
      line: { color: "#d03b3b", width: 1, dash: "dot" } };
    report.charts.forEach((figure, chart) => {
      const place = chart.querySelector("div");
      if (place.data && figure.data.some((trace) => trace.customdata)) Plotly.relayout(place, { shapes: [line] });
    });
  }

  function cell(row, text, kind) {
    const made = document.createElement(kind || "td");
    made.textContent = text;
    row.append(made);
  }

  function figures() {
    const table = $("explorer-figures");
    table.tBodies[0].replaceChildren(...models.map((name, index) => {
      const of = frames.models[index], row = document.createElement("tr");
      cell(row, name);
      [of.miou, of.accuracy, of.confidence, of.flicker].forEach((column) => cell(row, share(column[now])));
      cell(row, time(of.ms[now]));
      row.dataset.of = index;
      row.hidden = !report.seen(index);
      return row;
    }));
  }

  function show() {
    const number = frames.number[now], shown = pictures.frames[number] || [];
    const why = frames.refused[number];
    $("explorer-facts").textContent = `Frame ${number} at ${frames.seconds[now]} s on ${topics[frames.topic[now]]}, stamp `
      + `${frames.stamp[now]}${why ? `: not labelled: ${why}` : ""}`;
    $("explorer-slider").setAttribute("aria-valuetext", `frame ${number}`);
    figures();
    const items = shown.map(([title, source]) => {
      const item = document.createElement("figure"), image = document.createElement("img");
      const about = pictures.titles[title];
      image.alt = `${about.title} of frame ${number}`;
      image.src = source;
      if (about.title !== "camera" && about.title !== "confidence") image.className = "labels";
      const caption = document.createElement("figcaption");
      caption.textContent = about.title;
      item.append(image, caption);
      if (about.of !== null) item.dataset.of = about.of;
      item.hidden = !report.seen(about.of);
      return item;
    });
    $("explorer-pictures").replaceChildren(...items);
    const near = items.length || !withPicture.length ? null
      : withPicture.reduce((best, one) => (Math.abs(one - number) < Math.abs(best - number) ? one : best));
    $("explorer-missing").hidden = items.length > 0;
    $("explorer-near").hidden = near === null;
    $("explorer-near").textContent = near === null ? "" : `Show frame ${near}`;
    $("explorer-near").dataset.frame = near;
  }

  let waiting = false;
  function choose(index) {
    if (index === undefined || Number.isNaN(index)) return;
    now = Math.min(Math.max(index, 0), frames.number.length - 1);
    $("explorer-slider").value = now;
    history.replaceState(null, "", `#frame=${frames.number[now]}`);
    show();
    if (waiting) return;
    waiting = true;
    // One line a picture of the screen: dragging the slider asks for more.
    requestAnimationFrame(() => { waiting = false; mark(); });
  }

  function fromAddress(scroll) {
    const asked = /^#frame=(\d+)$/.exec(location.hash);
    if (!asked || !position.has(Number(asked[1]))) return false;
    choose(position.get(Number(asked[1])));
    if (scroll) $("explorer").scrollIntoView();
    return true;
  }

  $("explorer-slider").max = frames.number.length - 1;
  $("explorer-slider").addEventListener("input", (event) => choose(Number(event.target.value)));
  $("explorer").querySelectorAll("button[data-step]").forEach((button) => {
    button.addEventListener("click", () => choose(now + Number(button.dataset.step)));
  });
  $("explorer-near").addEventListener("click", (event) => choose(position.get(Number(event.target.dataset.frame))));
  document.addEventListener("report:choose", show);
  window.addEventListener("hashchange", () => fromAddress(true));
  if (!fromAddress(true)) { now = position.get(withPicture[0]) || 0; $("explorer-slider").value = now; show(); }
})();
