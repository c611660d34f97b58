// Curves over a common axis: how a training went.

function drawPage() {
  return [
    el("h1", {}, DATA.title),
    DATA.charts.map(({ label, series }) => chart({ label, xAxis: DATA.x_axis, yAxis: label, height: 320,
      series: Object.entries(series).map(([name, points], i) => ({ name, kind: i ? "dashed" : "line", points: points.map((point) => point.map(toNumber)) })) })),
    el("footer", {}, `page by npbert ${DATA.npbert}`),
  ];
}
