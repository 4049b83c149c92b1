// What remains of a run: its summary as text, as JSON, and as a page that needs nothing from elsewhere. They
// are written into the folder that REPORT names; the text is printed as well.
import { ALWAYS } from './load.js';

// k6 measures these too; the JSON and the page have them, the text tells what people ask for.
const DETAILS =
  /^(data_|vus|http_req_(blocked|connecting|tls_handshaking|sending|waiting|receiving)|iteration_duration)/;

// Two decimals at most, thousands apart; k6 has no Intl.
function number(value) {
  const [whole, decimals] = String(Math.round(value * 100) / 100).split('.');
  const apart = whole.replace(/\B(?=(\d{3})+$)/g, ' ');
  return decimals ? `${apart}.${decimals}` : apart;
}

// k6 tells them in any order.
const WORDS = ['count', 'rate', 'value', 'min', 'avg', 'med', 'p(95)', 'p(99)', 'max'];

// The figures of a metric as pairs of a word and a text.
function figures({ type, contains, values }) {
  if (type === 'rate') {
    const all = values.passes + values.fails;
    return [
      ['rate', `${number(values.rate * 100)} %`],
      ['count', `${number(values.passes)} of ${number(all)}`],
    ];
  }
  const unit = contains === 'time' ? ' ms' : '';
  // A rate of arrivals is told as one a second; a gauge's and a trend's values have the metric's unit.
  const told = (name) => (name === 'rate' ? `${number(values[name])}/s` : number(values[name]) + unit);
  return WORDS.filter((name) => name in values).map((name) => [name, told(name)]);
}

// One row a threshold, without those that ask for figures alone.
const thresholdsOf = (metrics) =>
  Object.entries(metrics).flatMap(([metric, { thresholds = {} }]) =>
    Object.entries(thresholds)
      .filter(([wanted]) => wanted !== ALWAYS)
      .map(([wanted, { ok }]) => ({ metric, wanted, ok })),
  );

// Checks of all groups, those of setup and teardown too.
const checksOf = ({ checks, groups }) => [...checks, ...groups.flatMap(checksOf)];

const byName = ([left], [right]) => (left < right ? -1 : 1);

function gather(flow, profile, data) {
  const thresholds = thresholdsOf(data.metrics).sort((left, right) => byName([left.metric], [right.metric]));
  return {
    title: `${flow}, profile ${profile.name}: ${number(profile.rate)} a second for ${profile.seconds} s`,
    ended: new Date().toISOString(),
    passed: thresholds.every(({ ok }) => ok),
    thresholds,
    checks: checksOf(data.root_group),
    metrics: Object.entries(data.metrics).sort(byName),
  };
}

function text({ title, passed, thresholds, checks, metrics }) {
  const mark = (ok) => (ok ? 'ok  ' : 'FAIL');
  const told = metrics.filter(([name]) => !DETAILS.test(name));
  const width = Math.max(...told.map(([name]) => name.length));
  return [
    `${title}: ${passed ? 'passed' : 'FAILED'}`,
    '',
    ...thresholds.map(({ metric, wanted, ok }) => `  ${mark(ok)} ${metric}: ${wanted}`),
    '',
    ...checks.map(({ name, passes, fails }) => `  ${mark(!fails)} ${name}: ${passes} of ${passes + fails}`),
    '',
    ...told.map(([name, metric]) => {
      const pairs = figures(metric).map(([word, value]) => `${word} ${value}`);
      return `  ${name.padEnd(width)}  ${pairs.join(', ')}`;
    }),
    '',
  ].join('\n');
}

const STYLE = `
  :root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
  body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
  th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; }
  td.number { text-align: right; white-space: nowrap; }
  .ok { color: #18794e; } .failed { color: #ce2c31; font-weight: 600; }
  @media (prefers-color-scheme: dark) { .ok { color: #33b074; } .failed { color: #ff9592; } }`;

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escaped = (value) => String(value).replace(/[&<>"]/g, (sign) => ESCAPES[sign]);
const verdict = (ok) => `<span class="${ok ? 'ok' : 'failed'}">${ok ? 'passed' : 'failed'}</span>`;

function table(heads, rows) {
  const head = heads.map((name) => `<th scope="col">${escaped(name)}</th>`).join('');
  const body = rows.map((cells) => `<tr>${cells.join('')}</tr>`).join('\n');
  return `<table><thead><tr>${head}</tr></thead><tbody>\n${body}\n</tbody></table>`;
}

const cell = (value) => `<td>${escaped(value)}</td>`;
const numeric = (value) => `<td class="number">${escaped(value)}</td>`;
const judged = (ok) => `<td>${verdict(ok)}</td>`;

function trends(metrics) {
  const rows = metrics.filter(([, { type }]) => type === 'trend');
  if (rows.length === 0) return '';
  const heads = figures(rows[0][1]).map(([word]) => word);
  const row = ([name, metric]) => [cell(name), ...figures(metric).map(([, value]) => numeric(value))];
  return table(['', ...heads], rows.map(row));
}

function others(metrics) {
  const rows = metrics.filter(([, { type }]) => type !== 'trend');
  const told = (metric) => figures(metric).map(([word, value]) => `${word} ${value}`).join(', ');
  return table(['', ''], rows.map(([name, metric]) => [cell(name), cell(told(metric))]));
}

function page({ title, ended, passed, thresholds, checks, metrics }) {
  const wanted = thresholds.map((one) => [cell(one.metric), cell(one.wanted), judged(one.ok)]);
  const asked = checks.map((one) => [
    cell(one.name),
    numeric(number(one.passes)),
    numeric(number(one.fails)),
    judged(one.fails === 0),
  ]);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escaped(title)}</title>
<meta name="viewport" content="width=device-width"><style>${STYLE}</style></head><body>
<h1>${escaped(title)}: ${verdict(passed)}</h1>
<p>Ended ${escaped(ended)}.</p>
<h2>Thresholds</h2>
${table(['metric', 'wanted', ''], wanted)}
<h2>Checks</h2>
${table(['check', 'passes', 'fails', ''], asked)}
<h2>Times</h2>
${trends(metrics)}
<h2>Counts</h2>
${others(metrics)}
</body></html>
`;
}

// The `handleSummary` of a flow.
export function summary(flow, profile) {
  // What setup made stays out: there are tokens in it.
  return ({ setup_data: _, ...data }) => {
    const found = gather(flow, profile, data);
    const told = text(found);
    const folder = __ENV.REPORT;
    if (!folder) return { stdout: told };
    return {
      stdout: told,
      [`${folder}/summary.txt`]: told,
      [`${folder}/summary.json`]: JSON.stringify({ flow, profile, passed: found.passed, ...data }, null, 2),
      [`${folder}/report.html`]: page(found),
    };
  };
}
