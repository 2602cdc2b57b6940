"use strict";
// Draws the charts of the page when they come into sight, and shows one model or both.
const report = { prepare: [], drawn: [], charts: new Map(), show: "both" };

report.seen = (model) => report.show === "both" || model === null || model === undefined || String(model) === report.show;

report.draw = async (chart) => {
  if (report.charts.has(chart)) return;
  const figure = JSON.parse(chart.querySelector("script").textContent);
  report.charts.set(chart, figure);
  report.prepare.forEach((step) => step(figure));
  figure.data.forEach((trace) => { trace.visible = report.seen((trace.meta || {}).model); });
  const place = chart.querySelector("div");
  // Nothing of a report leaves the machine: the button that sends a chart away is not there.
  await Plotly.newPlot(place, figure.data, figure.layout, { responsive: true, displaylogo: false, showSendToCloud: false,
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]] });
  report.drawn.forEach((step) => step(place, figure));
};

report.choose = (show) => {
  report.show = show;
  document.querySelectorAll("[data-of]").forEach((element) => { element.hidden = !report.seen(element.dataset.of); });
  report.charts.forEach((figure, chart) => {
    const place = chart.querySelector("div");
    if (place.data) Plotly.restyle(place, { visible: figure.data.map((trace) => report.seen((trace.meta || {}).model)) });
  });
  document.dispatchEvent(new Event("report:choose"));
};

document.addEventListener("DOMContentLoaded", () => {
  const charts = [...document.querySelectorAll(".chart")];
  const watch = new IntersectionObserver((entries) => entries.filter((one) => one.isIntersecting).forEach((one) => {
    watch.unobserve(one.target);
    report.draw(one.target);
  }), { rootMargin: "300px" });
  charts.forEach((chart) => watch.observe(chart));
  window.addEventListener("beforeprint", () => charts.forEach(report.draw));
  document.querySelectorAll(".switch input").forEach((input) => {
    input.addEventListener("change", () => report.choose(input.value));
    if (input.checked) report.choose(input.value);
  });
});
